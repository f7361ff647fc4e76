"""Use of a trained captioner: the user's own picture, a figure, one file to serve."""

import jax
import numpy as np

from experiments.captioning.config import PROGRAM, Actions, DecodingConfig
from experiments.captioning.model import VOCABULARY, Predictor, make_decoder, restore
from experiments.common import actions as common
from experiments.common import saved_models
from experiments.common.errors import UserError
from experiments.common.terminal import say
from seqmodels import plots
from seqmodels.data import image_folder


def use(actions: Actions, how: DecodingConfig) -> None:
    """Captions the user's picture and exports the model, as the actions request.

    Args:
      actions: the requested actions.
      how: options of the search for captions.

    Raises:
      UserError: for a user error, with a message of one line.
    """
    try:
        predictor = restore(saved_models.best(PROGRAM, actions.models.model_dir))
        if actions.predict is not None:
            show(predictor, actions.predict, how, actions.plot)
        if actions.export is not None:
            export(predictor, actions.export, how)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise UserError(str(error)) from error


def show(predictor: Predictor, path: str, how: DecodingConfig, plot: str | None = None) -> None:
    """Prints the caption of a picture, its probability, and the alternatives of a beam.

    Args:
      predictor: the model.
      path: path of the user's picture.
      how: options of the search for the caption.
      plot: a file for the figure; None for none.

    Raises:
      ValueError: if the file is not a picture.
    """
    image = image_folder.read_image(path, predictor.config.image_shape)
    (caption, probability), *_ = captions(predictor, image, how)
    say(f"{path}: {caption} (probability {probability:.3f})")
    found = captions(predictor, image, how.replace(decode="beam"))
    others = [(text, chance) for text, chance in found if text != caption]
    for text, chance in others:
        say(f"  {chance:.3f}  {text}")
    if plot is not None:
        texts, chances = zip((caption, probability), *others, strict=True)
        figure = plots.captioned_picture(
            image, texts, chances, title=f"Captions of your picture, by {predictor.config.cell}"
        )
        common.save_figure(figure, plot)


def captions(
    predictor: Predictor, image: np.ndarray, how: DecodingConfig
) -> list[tuple[str, float]]:
    """Returns the captions that were found for a picture, with their probabilities, best first.

    Args:
      predictor: the model.
      image: uint8 (height, width, channels).
      how: options of the search; only a beam finds several captions.
    """
    decode = make_decoder(predictor.model, predictor.config.steps, how)
    found = decode(predictor.params, image[None], jax.random.key(0))
    tokens = np.asarray(found.tokens).reshape(-1, predictor.config.steps)
    scores = np.asarray(found.scores).reshape(-1)
    return [
        (predictor.vocabulary.decode(row), float(np.exp(score)))
        for row, score in zip(tokens, scores, strict=True)
        if score != -np.inf
    ]


def export(predictor: Predictor, path: str, how: DecodingConfig) -> None:
    """Writes the model with its decoder as one file for `seqmodels.serving.load`.

    It takes images, uint8 (B, height, width, channels), and to sample a seed, uint32; it gives
    tokens, lengths and scores of `seqmodels.models.decoding.Decoded`.
    """
    decode = make_decoder(predictor.model, predictor.config.steps, how)

    def apply(params: object, images: jax.Array, seed: int | jax.Array = 0) -> dict[str, jax.Array]:
        return decode(params, images, jax.random.key(seed))._asdict()

    shape = ", ".join(map(str, predictor.config.image_shape))
    inputs = {"images": (f"B, {shape}", "uint8")}
    common.export(
        path,
        apply,
        predictor.params,
        inputs | ({"seed": ("", "uint32")} if how.decode == "sample" else {}),
        texts={VOCABULARY: predictor.vocabulary.to_str()},
        about={"model": predictor.config._asdict(), "decode": how.decode},
    )
