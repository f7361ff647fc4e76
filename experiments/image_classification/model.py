"""Models of the image classification: construction, training, saving and prediction."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import seqmodels as sm
from experiments.common.jobs import Training
from experiments.image_classification.baselines import scores
from experiments.image_classification.config import PROGRAM
from experiments.image_classification.data import SIDES, training_batches
from seqmodels import model_files
from seqmodels.analysis.classification import confusion_matrix
from seqmodels.cells import catalog
from seqmodels.datasets import digit_images
from seqmodels.datasets.digit_images import NUM_CLASSES, Images
from seqmodels.model_files import SavedModel
from seqmodels.models.cnn import cnn
from seqmodels.models.image_reader import image_reader, image_to_sequence, input_size
from seqmodels.training.loop import Inspection
from seqmodels.training.losses import cross_entropy
from seqmodels.training.optimizers import OptimizerSettings
from seqmodels.training.settings import FitSettings
from seqmodels.training.steps import Loss
from seqmodels.training.watch import Reading
from seqmodels.types import Array, Params

WATCHED = 64  # validation images for the option watch


class ModelConfig(NamedTuple):
    """Everything needed to rebuild a model, and the data it was trained on.

    Attributes:
      data: the set of images it was trained on.
      model: "cnn" or a cell.
      reading: "rows" or "pixels"; "" for the CNN.
      hidden: units of the cell, or of the CNN's fully connected layer.
      channels: feature maps of the CNN's convolutions.
      pooling: the outputs of the cell that are read.
      dropout: share that is left out in training.
      precision: dtype of the operands of its matrix products.
    """

    data: str
    model: str
    reading: str
    hidden: int
    channels: tuple[int, ...]
    pooling: str
    dropout: float
    precision: str = "float32"

    @property
    def name(self) -> str:
        """The name in tables and of folders, such as "lstm-rows"."""
        return f"{self.model}-{self.reading}" if self.reading else self.model

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of an image."""
        return SIDES[self.data], SIDES[self.data], 1


class Classifier(NamedTuple):
    """A classifier of images as pure functions.

    Attributes:
      init: `init(key) -> params`.
      apply: `apply(params, images, *, key=None) -> logits`.
    """

    init: Callable[[Array], Params]
    apply: Callable[..., Array]


class Predictor(NamedTuple):
    """A trained model: config, classifier and parameters."""

    config: ModelConfig
    classifier: Classifier
    params: Params


def build(config: ModelConfig, method: str = "auto") -> Classifier:
    """Returns the model of a configuration.

    Args:
      config: the model.
      method: driver of the cell.
    """
    if config.model == "cnn":
        network = cnn(
            config.image_shape,
            output_size=NUM_CLASSES,
            channels=config.channels,
            hidden_size=config.hidden,
            dropout=config.dropout,
            dtype=config.precision,
        )
        return Classifier(network.init, network.apply)
    cell = build_cell(config)
    assert cell is not None
    reader = image_reader(
        sm.dropout(cell, config.dropout) if config.dropout else cell,
        hidden_size=config.hidden,
        output_size=NUM_CLASSES,
        reading=config.reading,
        pooling=config.pooling,
        dtype=config.precision,
    )
    return Classifier(reader.init, functools.partial(reader.apply, method=method))


def build_cell(config: ModelConfig) -> sm.Cell | None:
    """Returns the cell of a configuration, without dropout; None for the CNN."""
    if config.model == "cnn":
        return None
    size = input_size(config.image_shape, config.reading)
    return catalog.CELLS[config.model](size, config.hidden, dtype=config.precision)


def training(
    config: ModelConfig,
    splits: dict[str, Images],
    *,
    batch: int,
    shift: int,
    optimizer: OptimizerSettings,
    fit: FitSettings,
    watching: Callable[..., Inspection | None] = lambda cell, read, batch: None,
) -> Training:
    """Returns the training of one model; the least validation loss chooses the parameters.

    Args:
      config: the model.
      splits: "train", "validation" and "test".
      batch: images a step.
      shift: pixels by which training images are moved at most.
      optimizer: settings of the optimizer.
      fit: settings of the training loop.
      watching: `watching(cell, read, batch)`, of `TrainingConfig`.
    """
    classifier = build(config)

    def loss(params: Params, rows: Images, key: Array, carry: Any) -> Loss:
        key_shift, key_dropout = jax.random.split(key)
        images = digit_images.random_shift(key_shift, jnp.asarray(rows.images), shift)
        labels = jnp.asarray(rows.labels)
        logits = classifier.apply(params, images, key=key_dropout)
        right = jnp.sum(jnp.argmax(logits, axis=-1) == labels)
        total = cross_entropy(logits, labels) * len(labels)
        return Loss(total, len(labels), {"accuracy": right}, carry)

    def evaluate(params: Params) -> dict[str, float]:
        validation = splits["validation"]
        found = probabilities(classifier, params, validation.images)
        return {f"validation_{name}": value for name, value in scores(found, validation).items()}

    def test(seed: int, params: Params) -> dict[str, Any]:
        images = splits["test"]
        found = probabilities(classifier, params, images.images)
        figures = {f"test_{name}": value for name, value in scores(found, images).items()}
        counts = confusion_matrix(images.labels, found.argmax(axis=-1), NUM_CLASSES)
        return {**figures, "confusion": counts.tolist()}

    def read(params: Params, images: Array) -> Reading:
        return Reading(params.cell, image_to_sequence(jnp.asarray(images), config.reading))

    def save(folder: pathlib.Path, seed: int, params: Params) -> None:
        model_files.save(folder, PROGRAM, config._asdict(), params)

    return Training(
        name=config.name,
        init=classifier.init,
        loss=loss,
        batches=functools.partial(training_batches, splits["train"], batch),
        evaluate=evaluate,
        test=test,
        save=save,
        optimizer=optimizer,
        fit=fit._replace(best="validation_loss"),
        watch=watching(build_cell(config), read, lambda: splits["validation"].images[:WATCHED]),
    )


def restore(found: SavedModel) -> Predictor:
    """Returns a saved model, ready to use.

    Raises:
      ValueError: if its parameters are not those of its configuration.
    """
    try:
        config = ModelConfig(**found.config)._replace(channels=tuple(found.config["channels"]))
        classifier = build(config)
    except (TypeError, KeyError) as error:
        raise ValueError(f"model: {found.folder} has another configuration: {error}") from None
    return Predictor(config, classifier, model_files.restore(found, classifier.init))


def probabilities(classifier: Classifier, params: Params, images: np.ndarray) -> np.ndarray:
    """Returns float32 (N, C): the probability of each class for images (N, height, width, 1)."""
    return np.asarray(jax.jit(_softmax, static_argnums=0)(classifier.apply, params, images))


def _softmax(apply: Callable[..., Array], params: Params, images: Array) -> Array:
    return jax.nn.softmax(apply(params, images), axis=-1)
