"""Image captioning: a convolutional encoder whose features start a recurrent decoder.

Vinyals, Toshev, Bengio, Erhan 2015, "Show and Tell", arXiv 1411.4555. The features are also
an input of the decoder at every word, so that its state need not hold the picture.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.cells.stages import new_state
from seqmodels.drivers.unroll import unroll
from seqmodels.models.cnn import CnnParams, cnn
from seqmodels.models.layers import DenseParams, dense, dense_init
from seqmodels.types import Array, Cell, Driver, Params, State


class CaptionerParams(NamedTuple):
    """encoder: parameters of the encoder. start: one layer for each leaf of the decoder's state.

    embedding: (V, D). cell: the decoder's parameters. out: (H, V) and (V,).
    """

    encoder: CnnParams
    start: tuple[DenseParams, ...]
    embedding: Array
    cell: Params
    out: DenseParams


class Captioner(NamedTuple):
    """A captioning model as pure functions.

    Attributes:
      init: `init(key) -> CaptionerParams`.
      apply: `apply(params, images, tokens, lengths=None, *, method="auto") -> logits` (T, B, V) of
        the token after each of `tokens` (T, B), by teacher forcing.
      start: `start(params, images) -> carry` of `decode_step`.
      decode_step: `decode_step(params, carry, token) -> (carry, log_probs)`, the step of
        `seqmodels.models.decoding`: token (B,), log_probs (B, V).
    """

    init: Callable[[Array], CaptionerParams]
    apply: Callable[..., Array]
    start: Callable[[CaptionerParams, Array], Any]
    decode_step: Callable[[CaptionerParams, Any, Array], tuple[Any, Array]]


def captioner(
    make_cell: Callable[[int, int], Cell],
    image_shape: Sequence[int],
    *,
    vocabulary_size: int,
    hidden_size: int = 128,
    embedding_size: int = 64,
    feature_size: int = 128,
    channels: Sequence[int] = (24, 48),
    patch: int = 1,
    dtype: Any = None,
) -> Captioner:
    """Returns the model encoder -> state -> decoder -> words.

    f = relu(encoder(image)). Each leaf of the state before the first word is tanh(f W + b). Then
    x_t = (embedding of word t, f), and the logits of word t + 1 are y_t W_out + b_out.

    Args:
      make_cell: `make_cell(D, H)` makes the decoder's cell, such as `sm.lstm`; the leaves of its
        state are floats (B, ...).
      image_shape: (height, width, channels).
      vocabulary_size: V.
      hidden_size: H, the size of the cell's outputs.
      embedding_size: size of an embedded word.
      feature_size: size of f.
      channels: feature maps of the encoder's convolutions, each followed by pooling. The last maps
        are flattened and not averaged, because positions distinguish "left of" from "above".
      patch: side of the squares of pixels read as one pixel; makes the first convolution cheaper.
      dtype: dtype of the operands of products outside of the cell; None for their common dtype.

    Returns:
      A `Captioner`. It takes images uint8 in [0, 255] or floats in [0, 1].

    Raises:
      ValueError: if `patch` does not divide the image, or it is too small for the convolutions.

    Examples:
      >>> model = captioner(sm.gru, (8, 8, 1), vocabulary_size=5, hidden_size=4, channels=(2,))
      >>> images, tokens = jnp.ones((2, 8, 8, 1)), jnp.zeros((3, 2), jnp.int32)  # tokens (T, B)
      >>> model.apply(model.init(jax.random.key(0)), images, tokens).shape
      (3, 2, 5)
    """
    height, width, depth = image_shape
    if height % patch or width % patch:
        raise ValueError(f"patch: got {patch}, expected a divisor of {height} and of {width}")
    encoder = cnn(
        (height // patch, width // patch, depth * patch**2),
        output_size=feature_size,
        channels=channels,
        hidden_size=feature_size,
        dtype=dtype,
    )
    cell = make_cell(embedding_size + feature_size, hidden_size)

    def init(key: Array) -> CaptionerParams:
        key_encoder, key_start, key_words, key_cell, key_out = jax.random.split(key, 5)
        cell_params = cell.init(key_cell)
        leaves = jax.tree.leaves(
            jax.eval_shape(lambda p: new_state(cell, p, (), None), cell_params)
        )
        keys = jax.random.split(key_start, max(len(leaves), 1))
        return CaptionerParams(
            encoder=encoder.init(key_encoder),
            start=tuple(
                dense_init(k, feature_size, leaf.size)
                for k, leaf in zip(keys, leaves, strict=False)
            ),
            embedding=0.1 * jax.random.normal(key_words, (vocabulary_size, embedding_size)),
            cell=cell_params,
            out=dense_init(key_out, hidden_size, vocabulary_size),
        )

    def encode(params: CaptionerParams, images: Array) -> Array:
        images = jnp.asarray(images)
        if images.ndim != 4 or images.shape[1:] != tuple(image_shape):
            raise ValueError(
                f"images: got shape {images.shape}, expected (B, {height}, {width}, {depth})"
            )
        dtype = params.embedding.dtype
        if jnp.issubdtype(images.dtype, jnp.integer):
            images = images.astype(dtype) / 255
        return jax.nn.relu(encoder.apply(params.encoder, _patches(images.astype(dtype), patch)))

    def start(params: CaptionerParams, images: Array) -> tuple[State, Array]:
        features = encode(params, images)
        state = new_state(cell, params.cell, features.shape[:1], None)
        leaves, structure = jax.tree.flatten(state)
        begun = [
            jnp.tanh(dense(layer, features, dtype=dtype)).reshape(leaf.shape).astype(leaf.dtype)
            for layer, leaf in zip(params.start, leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, begun), features

    def apply(
        params: CaptionerParams,
        images: Array,
        tokens: Array,
        lengths: Array | None = None,
        *,
        method: str | Driver = "auto",
    ) -> Array:
        state, features = start(params, images)
        words = params.embedding[tokens]
        repeated = jnp.broadcast_to(features, (*words.shape[:2], feature_size))
        xs = jnp.concatenate([words, repeated], axis=-1)
        _, ys = unroll(cell, params.cell, xs, state, lengths=lengths, method=method)
        return dense(params.out, ys, dtype=dtype)

    def decode_step(params: CaptionerParams, carry: Any, token: Array) -> tuple[Any, Array]:
        state, features = carry
        x_t = jnp.concatenate([params.embedding[token], features], axis=-1)
        state, y_t = cell.step(params.cell, state, x_t)
        return (state, features), jax.nn.log_softmax(dense(params.out, y_t, dtype=dtype))

    return Captioner(init, apply, start, decode_step)


def _patches(images: Array, patch: int) -> Array:
    """Returns images (B, h, w, c) as (B, h / patch, w / patch, patch * patch * c)."""
    B, height, width, depth = images.shape
    rows, columns = height // patch, width // patch
    squares = images.reshape(B, rows, patch, columns, patch, depth).swapaxes(2, 3)
    return squares.reshape(B, rows, columns, patch * patch * depth)
