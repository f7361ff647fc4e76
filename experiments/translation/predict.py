"""Use of a trained translator: your own text, a picture of the attention, one file to serve."""

import os

import jax.numpy as jnp
import numpy as np

from experiments.common import actions as common
from experiments.common import saved_models
from experiments.common.config import absolute_path
from experiments.common.errors import UserError
from experiments.common.terminal import say
from experiments.translation.config import PROGRAM, Actions
from experiments.translation.data import tokens
from experiments.translation.model import TrainedTranslator, restore, shifted, translations
from experiments.translation.translate import Translation, cut, make_decode
from seqmodels import plots
from seqmodels.data import subwords
from seqmodels.types import Array, Params


def use(actions: Actions) -> None:
    """Translates the user's text and exports the model, as the actions request.

    Raises:
      UserError: for a user error, with a message of one line.
    """
    try:
        text = "" if actions.predict is None else common.read_text(actions.predict)
        if actions.predict is not None and not text.strip():
            raise UserError("predict: got an empty text, expected one or more words")
        trained = restore(saved_models.best(PROGRAM, actions.models.model_dir))
        if actions.predict is not None:
            show(trained, text, actions)
        if actions.export is not None:
            export(trained, actions.export)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise UserError(str(error)) from error


def show(trained: TrainedTranslator, text: str, actions: Actions) -> None:
    """Prints the translations that the beam holds, and draws the attention of the best.

    Args:
      trained: the model.
      text: the user's, with a word in it.
      actions: the treatment of a text that is too long, and the file of the picture.

    Raises:
      UserError: for a text that is not Unicode or is refused, or a picture that cannot be drawn.
    """
    config = trained.config
    if actions.plot is not None and config.attention == "none":
        raise UserError("plot: got a model without attention, expected one with attention")
    try:
        length = len(tokens(trained.tokenizers.source, [text])[0])
    except ValueError as error:
        raise UserError(f"predict: {error}") from None
    if length > config.max_tokens:
        if actions.too_long == "refuse":
            raise UserError(
                f"predict: got {length} tokens, expected at most {config.max_tokens} (or too_long "
                "cut)"
            )
        say(f"predict: {length} tokens, cut after {config.max_tokens}", error=True)
    found = translations(trained, [text])[0]
    for number, translation in enumerate(found):
        say(f"{translation.score:8.2f}  {translation.text}" + ("" if number else "  <- best"))
    if config.attention != "none":
        draw(trained, text, found[0], actions.plot or absolute_path(actions.picture))


def draw(
    trained: TrainedTranslator,
    text: str,
    translation: Translation,
    path: str | os.PathLike[str],
) -> None:
    """Writes the figure of the attention of a translation, and prints its path."""
    weights, source, target = attention_of(trained, text, translation.tokens)
    title = f"{trained.config.attention.capitalize()} attention of each word written"
    common.save_figure(plots.attention_map(weights, source, target, title=title), path, "attention")


def attention_of(
    trained: TrainedTranslator, text: str, target: np.ndarray
) -> tuple[np.ndarray, list[str], list[str]]:
    """Returns (weights (T, S), source tokens, target tokens) of a translation, its end included."""
    source = cut(tokens(trained.tokenizers.source, [text])[0], trained.config.max_tokens)
    target = np.append(target, np.int32(subwords.EOS))
    carry = trained.model.encode(trained.params, source[:, None], np.array([len(source)]))
    inputs = shifted(jnp.asarray(target)[:, None])
    _, weights = trained.model.apply(trained.params, carry, inputs)
    labels = [
        [subwords.decode(tokenizer, [token]) if token != subwords.EOS else "(end)" for token in row]
        for tokenizer, row in zip(trained.tokenizers, (source, target), strict=True)
    ]
    return np.asarray(weights)[:, 0], labels[0], labels[1]


def export(trained: TrainedTranslator, path: str) -> None:
    """Writes the model with its beam search as one file for `seqmodels.serving.load`.

    It takes the tokens of one source, int32 (max_tokens, 1), with EOS at its end and zeros after
    it. The second argument is the length, int32 (1,), EOS included. It returns the tokens (1, beam,
    L), lengths and scores (1, beam) of the translations, the best first.
    """
    config = trained.config
    decode = make_decode(
        trained.model, config.max_tokens, width=config.beam, length_penalty=config.length_penalty
    )

    def apply(params: Params, sources: Array, lengths: Array) -> tuple[Array, Array, Array]:
        found = decode(params, sources, lengths)
        return found.tokens, found.lengths, found.scores

    common.export(
        path,
        apply,
        trained.params,
        {"sources": (f"{config.max_tokens}, 1", "int32"), "lengths": ("1", "int32")},
        texts=trained.tokenizers.texts(),
        about=config._asdict(),
    )
