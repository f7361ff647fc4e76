"""The captioning study's models: built, trained, decoded, saved and loaded."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqmodels import model_files
from seqmodels.cells import catalog
from seqmodels.data import vocabulary
from seqmodels.data.captions import CaptionBatch
from seqmodels.data.vocabulary import BOS, EOS, Vocabulary
from seqmodels.models import decoding
from seqmodels.models.captioner import Captioner, captioner
from seqmodels.models.decoding import Decoded
from seqmodels.training.steps import Loss
from seqmodels.types import Array, Params

CELLS = {name: catalog.CELLS[name] for name in ("rnn", "gru", "lstm")}
DECODERS = ("greedy", "sample", "beam")
VOCABULARY = "vocabulary.json"
ROWS = 256  # pictures that are captioned at once


class Config(NamedTuple):
    """All that is needed to build a model again; fields as in `captioner`, and of its data.

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


class Decoding(NamedTuple):
    """How captions are found.

    Attributes:
      method: one of `DECODERS`.
      width: of the beam.
      length_penalty: of the beam.
      temperature: of sampling.
      top_k: of sampling; None for all words.
    """

    method: str = "greedy"
    width: int = 4
    length_penalty: float = 0.0
    temperature: float = 1.0
    top_k: int | None = None


def build(config: Config) -> Captioner:
    """Returns the model."""
    return captioner(
        CELLS[config.cell],
        config.image_shape,
        vocabulary_size=config.vocabulary_size,
        hidden_size=config.hidden,
        embedding_size=config.embedding,
        feature_size=config.features,
        channels=config.channels,
        patch=config.patch,
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


def make_decoder(model: Captioner, steps: int, how: Decoding) -> Callable[..., Decoded]:
    """Returns the compiled `decode(params, images, key) -> Decoded` of some pictures.

    Args:
      model: the model.
      steps: the most words.
      how: a `Decoding`; only a beam has several captions for each picture.
    """

    @jax.jit
    def decode(params: Params, images: Array, key: Array) -> Decoded:
        step = functools.partial(model.decode_step, params)
        carry = model.start(params, images)
        if how.method == "beam":
            return decoding.beam_search(
                step, carry, BOS, EOS, steps, width=how.width, length_penalty=how.length_penalty
            )
        if how.method == "sample":
            return decoding.sample(
                step, carry, BOS, EOS, steps, key=key, temperature=how.temperature, top_k=how.top_k
            )
        return decoding.greedy(step, carry, BOS, EOS, steps)

    return decode


def caption(
    decode: Callable[..., Decoded], words: Vocabulary, params: Params, images: np.ndarray
) -> list[str]:
    """Returns the best caption of each picture.

    Args:
      decode: of `make_decoder`.
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


def save(
    folder: Any, kind: str, config: Config, params: Params, words: Vocabulary, about: dict[str, Any]
) -> None:
    """Saves a model; `about` says what it was trained on."""
    texts = {VOCABULARY: words.to_str()}
    model_files.save(folder, kind, {"model": config._asdict(), **about}, params, texts)


def restore(found: model_files.SavedModel) -> tuple[Config, Captioner, Params, Vocabulary]:
    """Returns a saved model; ValueError, in one line, if it does not fit together."""
    fields = dict(found.config["model"])
    fields["image_shape"] = tuple(fields["image_shape"])
    fields["channels"] = tuple(fields["channels"])
    config = Config(**fields)
    model = build(config)
    params = model_files.restore(found, model.init)
    return config, model, params, vocabulary.from_str(found.texts[VOCABULARY])


def exact_match(captions: Sequence[str], wanted: Sequence[str]) -> float:
    """Returns the share of captions that are the wanted ones, word by word."""
    return float(np.mean([one == other for one, other in zip(captions, wanted, strict=True)]))
