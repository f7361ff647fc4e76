"""Use of a trained classifier: the user's own image, a picture, one file to serve."""

import jax

from experiments.common import actions as common
from experiments.common import saved_models
from experiments.common.errors import UserError
from experiments.common.terminal import say
from experiments.image_classification.config import PROGRAM, Actions
from experiments.image_classification.data import BOXES, CLASSES, SIDES
from experiments.image_classification.model import Predictor, build, probabilities, restore
from seqmodels import plots
from seqmodels.data import image_files


def use(actions: Actions) -> None:
    """Predicts the user's image and exports the model, as the actions request.

    Raises:
      UserError: for a user error, with a message of one line.
    """
    try:
        predictor = restore(saved_models.best(PROGRAM, actions.models.model_dir))
        if actions.predict is not None:
            show(predictor, actions.predict, actions.plot)
        if actions.export is not None:
            export(predictor, actions.export)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise UserError(str(error)) from error


def show(predictor: Predictor, path: str, plot: str | None = None) -> None:
    """Prints the probability of each class for an image file, and draws them.

    Args:
      predictor: the model.
      path: path of the user's image.
      plot: a file for the figure; None for none.

    Raises:
      ValueError: if the file is not an image of a digit.
    """
    config, classifier, params = predictor
    image = image_files.read_digit(path, SIDES[config.data], BOXES[config.data])
    found = probabilities(classifier, params, image[None])
    say(f"{path}: {found[0].argmax()} (by {config.name}, trained on {config.data})")
    for digit, probability in zip(CLASSES, found[0], strict=True):
        say(f"  {digit}  {probability:.4f}  {'#' * round(40 * float(probability))}".rstrip())
    if plot is not None:
        figure = plots.image_probabilities(
            image[None, :, :, 0],
            [""],
            {config.name: found},
            CLASSES,
            title="Your image as the model sees it",
        )
        common.save_figure(figure, plot)


def export(predictor: Predictor, path: str) -> None:
    """Writes the model as one file for `seqmodels.serving.load`.

    It takes images, float32 (B, height, width, 1) in [0, 1] with ink 1, and gives probabilities
    (B, C).
    """
    config = predictor.config
    classifier = build(config, method="scan")

    def apply(params: object, images: jax.Array) -> jax.Array:
        return jax.nn.softmax(classifier.apply(params, images), axis=-1)

    shape = ", ".join(map(str, config.image_shape))
    common.export(
        path,
        apply,
        predictor.params,
        {"images": (f"B, {shape}", "float32")},
        about={**config._asdict(), "classes": CLASSES, "box": BOXES[config.data]},
    )
