"""Models of the captioning study: construction, training, decoding and saving."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.captioning.baselines import scores
from experiments.captioning.config import PROGRAM, DecodingConfig
from experiments.captioning.data import Data
from experiments.common.jobs import Training
from seqmodels import model_files
from seqmodels.cells import catalog
from seqmodels.data import vocabulary
from seqmodels.data.batches import Batches
from seqmodels.data.captions import CaptionBatch
from seqmodels.data.vocabulary import BOS, EOS, Vocabulary
from seqmodels.models import decoding
from seqmodels.models.captioner import Captioner, captioner
from seqmodels.models.decoding import Decoded
from seqmodels.training.optimizers import OptimizerSettings
from seqmodels.training.settings import FitSettings
from seqmodels.training.steps import Loss
from seqmodels.types import Array, Params

VOCABULARY = "vocabulary.json"
ROWS = 256  # pictures that are captioned at once
SHOWN = 24  # test pictures whose captions are recorded


class ModelConfig(NamedTuple):
    """Everything needed to rebuild a model; fields as in `captioner`, and of its data.

    Attributes:
      cell: name of the decoder's cell.
      image_shape: (height, width, channels).
      vocabulary_size: V.
      hidden: units of the decoder.
      features: size of the encoder's features.
      embedding: size of an embedded word.
      channels: feature maps of each convolution.
      patch: side of the squares of pixels that are read as one.
      steps: the most words of a caption, with its end.
      precision: dtype of the operands of its matrix products.
    """

    cell: str
    image_shape: tuple[int, int, int]
    vocabulary_size: int
    hidden: int
    features: int
    embedding: int
    channels: tuple[int, ...]
    patch: int
    steps: int
    precision: str = "float32"


class Predictor(NamedTuple):
    """A trained model: config, model, parameters and vocabulary."""

    config: ModelConfig
    model: Captioner
    params: Params
    vocabulary: Vocabulary


def build(config: ModelConfig) -> Captioner:
    """Returns the model of a configuration."""
    return captioner(
        functools.partial(catalog.CELLS[config.cell], dtype=config.precision),
        config.image_shape,
        vocabulary_size=config.vocabulary_size,
        hidden_size=config.hidden,
        embedding_size=config.embedding,
        feature_size=config.features,
        channels=config.channels,
        patch=config.patch,
        dtype=config.precision,
    )


def make_loss(model: Captioner) -> Callable[[Params, CaptionBatch, Array, Any], Loss]:
    """Returns the cross-entropy of the words of a batch by teacher forcing, end included."""

    def loss(params: Params, batch: CaptionBatch, key: Array, carry: Any) -> Loss:
        del key
        tokens, targets = batch.tokens[:-1], batch.tokens[1:]
        lengths = batch.lengths - 1
        log_probs = jax.nn.log_softmax(model.apply(params, batch.images, tokens, lengths))
        taken = jnp.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0]
        valid = jnp.arange(len(targets))[:, None] < lengths[None]
        return Loss(-jnp.sum(jnp.where(valid, taken, 0)), jnp.sum(lengths), carry=carry)

    return loss


def make_decoder(model: Captioner, steps: int, how: DecodingConfig) -> Callable[..., Decoded]:
    """Returns the compiled `decode(params, images, key) -> Decoded` of some pictures.

    Args:
      model: the model.
      steps: the most words.
      how: options of the search; only a beam has several captions for each picture.
    """

    @jax.jit
    def decode(params: Params, images: Array, key: Array) -> Decoded:
        step = functools.partial(model.decode_step, params)
        carry = model.start(params, images)
        if how.decode == "beam":
            return decoding.beam_search(
                step, carry, BOS, EOS, steps, width=how.beam, length_penalty=how.length_penalty
            )
        if how.decode == "sample":
            return decoding.sample(
                step, carry, BOS, EOS, steps, key=key, temperature=how.temperature, top_k=how.top_k
            )
        return decoding.greedy(step, carry, BOS, EOS, steps)

    return decode


def training(
    config: ModelConfig,
    data: Data,
    how: DecodingConfig,
    *,
    batch: int,
    about: dict[str, Any],
    optimizer: OptimizerSettings,
    fit: FitSettings,
) -> Training:
    """Returns the training of one model.

    Parameters are chosen by exact match of greedy search, and by chrF where that is equal.

    Args:
      config: the model.
      data: the training, validation and test data.
      how: options of the search for test captions.
      batch: pictures a step.
      about: description of the training data, saved with the model.
      optimizer: settings of the optimizer.
      fit: settings of the training loop.
    """
    model = build(config)
    greedy = make_decoder(model, config.steps, DecodingConfig())
    decode = make_decoder(model, config.steps, how)

    def batches(seed: int, process: int, num_processes: int) -> Batches:
        return data.batches(seed, batch, process, num_processes)

    def evaluate(params: Params) -> dict[str, float]:
        found = caption(greedy, data.vocabulary, params, data.validation.images)
        found_scores = scores(found, data.validation.captions)
        return {f"validation_{name}": found_scores[name] for name in ("exact", "chrf")}

    def save(folder: pathlib.Path, seed: int, params: Params) -> None:
        saved = {"model": config._asdict(), "data": about, "seed": seed}
        model_files.save(folder, PROGRAM, saved, params, {VOCABULARY: data.vocabulary.to_str()})

    return Training(
        name=config.cell,
        init=model.init,
        loss=make_loss(model),
        batches=batches,
        evaluate=evaluate,
        test=lambda seed, params: tested(decode, data, params),
        save=save,
        optimizer=optimizer,
        fit=fit._replace(best="validation_exact", best_mode="max", best_tie="validation_chrf"),
    )


def tested(decode: Callable[..., Decoded], data: Data, params: Params) -> dict[str, Any]:
    """Returns the figures of the test pictures, and the first captions of the unseen ones.

    Args:
      decode: the result of `make_decoder`.
      data: data with the test pictures.
      params: the model's.
    """
    figures: dict[str, Any] = {}
    for name, test in data.tests.items():
        found = caption(decode, data.vocabulary, params, test.images)
        if name == "unseen":
            figures["captions"] = found[:SHOWN]
        found_scores = scores(found, test.captions)
        figures |= {f"{name}_{figure}": value for figure, value in found_scores.items()}
    return figures


def caption(
    decode: Callable[..., Decoded], words: Vocabulary, params: Params, images: np.ndarray
) -> list[str]:
    """Returns the best caption of each picture.

    Args:
      decode: the result of `make_decoder`.
      words: the vocabulary.
      params: the model's.
      images: uint8 (N, height, width, channels).
    """
    found: list[str] = []
    for number, first in enumerate(range(0, len(images), ROWS)):
        rows = images[first : first + ROWS]
        # Filled up, so that one program serves all.
        filled = np.concatenate([rows, np.zeros((ROWS - len(rows), *rows.shape[1:]), rows.dtype)])
        tokens = np.asarray(decode(params, filled, jax.random.key(number)).tokens)
        if tokens.ndim == 3:
            tokens = tokens[:, 0]
        found.extend(words.decode(row) for row in tokens[: len(rows)])
    return found


def restore(found: model_files.SavedModel) -> Predictor:
    """Returns a saved model; ValueError in one line if it cannot be built from its files."""
    try:
        fields = dict(found.config["model"])
        shape, channels = tuple(fields["image_shape"]), tuple(fields["channels"])
        config = ModelConfig(**fields)._replace(image_shape=shape, channels=channels)
        words = vocabulary.from_str(found.texts[VOCABULARY])
        model = build(config)
    except (TypeError, KeyError) as error:
        raise ValueError(f"model: {found.folder} has another configuration: {error}") from None
    return Predictor(config, model, model_files.restore(found, model.init), words)
