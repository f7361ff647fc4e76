"""Use of a trained sentiment model: the user's own text, a picture, one file to serve."""

import jax
import numpy as np

from experiments.common import actions as common
from experiments.common import saved_models
from experiments.common.errors import UserError
from experiments.common.terminal import say
from experiments.sentiment.config import PROGRAM, Actions
from experiments.sentiment.model import TOKENIZER, Predictor, answer, encode, predict, restore
from seqmodels import plots
from seqmodels.data import word_features
from seqmodels.data.word_features import UNKNOWN

AT_ONCE = 256  # texts


def use(actions: Actions) -> None:
    """Predicts the user's text and exports the model, as the actions request.

    Raises:
      UserError: for a user error, with a message of one line.
    """
    try:
        text = "" if actions.predict is None else common.read_text(actions.predict)
        predictor = restore(saved_models.best(PROGRAM, actions.models.model_dir))
        if actions.predict is not None:
            show(predictor, text, actions.too_long, actions.plot)
        if actions.export is not None:
            export(predictor, actions.export)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise UserError(str(error)) from error


def show(predictor: Predictor, text: str, too_long: str, plot: str | None) -> None:
    """Prints the prediction for a text, and draws it word by word.

    Args:
      predictor: the model.
      text: the user's.
      too_long: treatment of a text with too many words: "truncate" or "refuse".
      plot: a file for the figure; None for none.

    Raises:
      UserError: for a text without words, or one that is refused.
    """
    config = predictor.config
    words, row = encode(predictor, text)
    if not words:
        raise UserError(f"predict: got {text!r:.40}, expected a text with a word in it")
    if len(words) > config.max_words:
        given = f"predict: got {len(words):,} words, expected at most {config.max_words}"
        if too_long == "refuse":
            raise UserError(f"{given} (or too_long truncate)")
        say(f"warning: {given}; the rest was left out", error=True)
        words, row = words[: config.max_words], row[: config.max_words]
    if np.all(row[:, 0] == UNKNOWN):
        say("warning: predict: no word of it was seen in training", error=True)
    found = predict(predictor, [row])[0]
    if config.classes:
        say(f"{config.classes[int(found.argmax())]}")
        for name, probability in zip(config.classes, found, strict=True):
            say(f"  {name} {probability:.3f}")
    else:
        say(f"rating {found[0]:.2f}")
    if plot is not None:
        draw(predictor, words, row, plot)


def draw(predictor: Predictor, words: list[str], row: np.ndarray, path: str) -> None:
    """Writes the figure of the predictions after the first word, the first two, and so on."""
    after = predict(predictor, [row[:length] for length in range(1, len(row) + 1)])
    names = predictor.config.classes or ("rating",)
    figure = plots.prediction_by_word(
        words,
        dict(zip(names, after.T, strict=True)),
        ylabel="probability" if predictor.config.classes else "rating",
        title=f"What the {predictor.config.cell} predicts after each word",
    )
    common.save_figure(figure, path)


def export(predictor: Predictor, path: str) -> None:
    """Writes the model as one file for `seqmodels.serving.load`.

    It takes the features of words, int32 (T, B, K), and lengths, int32 (B,), and gives what
    `predict` does.
    """

    def apply(params: object, features: jax.Array, lengths: jax.Array) -> jax.Array:
        outputs = predictor.model.apply(params, features, lengths, method="scan")
        return answer(predictor.config, outputs)

    common.export(
        path,
        apply,
        predictor.params,
        {"features": (f"T, B, {predictor.features.width}", "int32"), "lengths": ("B", "int32")},
        texts={TOKENIZER: predictor.features.tokenizer.to_str()},
        about=predictor.config._asdict(),
    )


def answers(predictor: Predictor, texts: list[str]) -> np.ndarray:
    """Returns the class, int (N,), or the rating, float (N,), of each text."""
    rows = word_features.encode(predictor.features, texts)
    parts = [rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE)]
    found = [predict(predictor, [row[: predictor.config.max_words] for row in p]) for p in parts]
    whole = np.concatenate(found)
    return whole.argmax(axis=1) if predictor.config.classes else whole[:, 0]
