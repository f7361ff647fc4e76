"""The models of the image classification, built from what they are saved with."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

import seqmodels as sm
from seqmodels import model_files
from seqmodels.cells import catalog
from seqmodels.datasets import digit_images
from seqmodels.model_files import SavedModel
from seqmodels.models.cnn import cnn
from seqmodels.models.image_reader import image_reader, input_size
from seqmodels.types import Array, Params

CELLS = {name: catalog.CELLS[name] for name in ("rnn", "gru", "lstm")}
MODELS = ("cnn", *CELLS)
SIDES = {"digits": 8, "mnist": digit_images.MNIST_SIDE}
# The most pixels that a digit of the set is high or wide.
BOXES = {"digits": 8, "mnist": 20}


class Config(NamedTuple):
    """What a model is saved with.

    Attributes:
      data: the set of images it was trained on.
      model: "cnn" or a cell.
      reading: "rows" or "pixels"; "" for the CNN.
      hidden: units of the cell, or of the CNN's fully connected layer.
      channels: feature maps of the CNN's convolutions.
      pooling: which outputs of the cell are read.
      dropout: share that is left out in training.
    """

    data: str
    model: str
    reading: str
    hidden: int
    channels: tuple[int, ...]
    pooling: str
    dropout: float

    @property
    def name(self) -> str:
        """The name in tables and of folders, such as "lstm-rows"."""
        return f"{self.model}-{self.reading}" if self.reading else self.model


class Classifier(NamedTuple):
    """init: `init(key) -> params`. apply: `apply(params, images, *, key=None) -> logits`."""

    init: Callable[[Array], Params]
    apply: Callable[..., Array]


def build(config: Config) -> Classifier:
    """Returns the model of a `Config`."""
    side = SIDES[config.data]
    shape = (side, side, 1)
    if config.model == "cnn":
        network = cnn(
            shape,
            output_size=digit_images.NUM_CLASSES,
            channels=config.channels,
            hidden_size=config.hidden,
            dropout=config.dropout,
        )
        return Classifier(network.init, network.apply)
    cell = CELLS[config.model](input_size(shape, config.reading), config.hidden)
    reader = image_reader(
        sm.dropout(cell, config.dropout) if config.dropout else cell,
        hidden_size=config.hidden,
        output_size=digit_images.NUM_CLASSES,
        reading=config.reading,
        pooling=config.pooling,
    )
    return Classifier(reader.init, reader.apply)


def restore(found: SavedModel) -> tuple[Config, Classifier, Params]:
    """Returns a saved model, ready to use.

    Raises:
      ValueError: if its parameters are not those of its configuration.
    """
    try:
        config = Config(**found.config)._replace(channels=tuple(found.config["channels"]))
        classifier = build(config)
    except (TypeError, KeyError) as error:
        raise ValueError(f"model: {found.folder} has another configuration: {error}") from None
    return config, classifier, model_files.restore(found, classifier.init)


def probabilities(classifier: Classifier, params: Params, images: np.ndarray) -> np.ndarray:
    """Returns float32 (N, C): the probability of each class for images (N, height, width, 1)."""
    return np.asarray(jax.jit(_softmax, static_argnums=0)(classifier.apply, params, images))


def _softmax(apply: Callable[..., Array], params: Params, images: Array) -> Array:
    return jax.nn.softmax(apply(params, images), axis=-1)


def settings(config: Config) -> dict[str, Any]:
    """Returns a `Config` as JSON."""
    return config._asdict()
