"""A convolutional classifier of images: convolution, max pooling, fully connected layers."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.models.layers import DenseParams, dense, dense_init
from seqmodels.models.layers import dropout as apply_dropout
from seqmodels.types import Array

POOL = 2


class CnnParams(NamedTuple):
    """convs: one `DenseParams` a convolution. hidden and out: the fully connected layers."""

    convs: tuple[DenseParams, ...]
    hidden: DenseParams
    out: DenseParams


class Cnn(NamedTuple):
    """A convolutional network as pure functions.

    Attributes:
      init: `init(key) -> CnnParams`.
      features: `features(params, images) -> maps`, the maps after the last pooling. images are (B,
        height, width, channels), maps (B, height / 2^n, width / 2^n, features), with n
        convolutions.
      apply: `apply(params, images, *, key=None) -> logits` (B, C); key switches dropout on.
    """

    init: Callable[[Array], CnnParams]
    features: Callable[[CnnParams, Array], Array]
    apply: Callable[..., Array]


def cnn(
    image_shape: Sequence[int],
    *,
    output_size: int,
    channels: Sequence[int] = (16, 32),
    hidden_size: int = 128,
    kernel_size: int = 3,
    dropout: float = 0.0,
    dtype: Any = None,
) -> Cnn:
    """Returns the network of LeCun, Bottou, Bengio, Haffner 1998, in today's form.

    Per convolution: maps = max_pool(relu(conv(maps))); then hidden = relu(flat @ W + b) and
    logits = hidden @ W' + b', with dropout before both products.

    Args:
      image_shape: (height, width, channels) of an image.
      output_size: C, number of classes.
      channels: feature maps of each convolution; each is followed by pooling that halves the size.
      hidden_size: units of the fully connected layer.
      kernel_size: height and width of each convolution's kernel.
      dropout: rate of dropout before the fully connected layers, in training.
      dtype: dtype of the operands of matrix products, see `sm.matmul`; None for their common dtype.

    Returns:
      A `Cnn`.

    Raises:
      ValueError: if the images are too small for the convolutions, or dropout is out of range.

    Examples:
      >>> model = cnn((8, 8, 1), output_size=5, channels=(2, 3), hidden_size=4)
      >>> model.apply(model.init(jax.random.key(0)), jnp.ones((2, 8, 8, 1))).shape
      (2, 5)
    """
    height, width, depth = image_shape
    shrunk = POOL ** len(channels)
    if min(height, width) < shrunk:
        raise ValueError(
            f"image_shape: got {height}x{width}, expected at least {shrunk}x{shrunk} for "
            f"{len(channels)} convolutions"
        )
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout: got {dropout}, expected 0 <= dropout < 1")
    depths = (depth, *channels)
    flat_size = (height // shrunk) * (width // shrunk) * depths[-1]

    def init(key: Array) -> CnnParams:
        *keys, key_hidden, key_out = jax.random.split(key, len(channels) + 2)
        he_normal = jax.nn.initializers.he_normal()
        return CnnParams(
            convs=tuple(
                DenseParams(
                    he_normal(key, (kernel_size, kernel_size, inputs, outputs)), jnp.zeros(outputs)
                )
                for key, inputs, outputs in zip(keys, depths[:-1], depths[1:], strict=True)
            ),
            hidden=dense_init(key_hidden, flat_size, hidden_size, he_normal),
            out=dense_init(key_out, hidden_size, output_size),
        )

    def features(params: CnnParams, images: Array) -> Array:
        images = jnp.asarray(images)
        if images.ndim != 4 or images.shape[1:] != (height, width, depth):
            raise ValueError(
                f"images: got shape {images.shape}, expected (B, {height}, {width}, {depth})"
            )
        maps = images
        for layer in params.convs:
            maps = max_pool(jax.nn.relu(conv(layer, maps, dtype=dtype)))
        return maps

    def apply(params: CnnParams, images: Array, *, key: Array | None = None) -> Array:
        keys = (None, None) if key is None else jax.random.split(key)
        # shape[0], because len() is not known where the batch size is exported as a letter.
        flat = features(params, images).reshape(jnp.shape(images)[0], flat_size)
        flat = apply_dropout(keys[0], flat, dropout)
        hidden = jax.nn.relu(dense(params.hidden, flat, dtype=dtype))
        return dense(params.out, apply_dropout(keys[1], hidden, dropout), dtype=dtype)

    return Cnn(init, features, apply)


def conv(params: DenseParams, maps: Array, *, dtype: Any = None) -> Array:
    """Returns the convolution with zeros around the image, so that its size stays.

    Args:
      params: w (height, width, inputs, outputs), b (outputs,).
      maps: (B, height, width, inputs).
      dtype: dtype of the operands of the product, see `sm.matmul`; None for their common dtype.

    Returns:
      Array (B, height, width, outputs).

    Examples:
      >>> params = DenseParams(jnp.ones((3, 3, 1, 4)), jnp.zeros(4))
      >>> conv(params, jnp.ones((2, 8, 8, 1))).shape
      (2, 8, 8, 4)
    """
    rows, columns, _, outputs = params.w.shape
    _, height, width, _ = maps.shape
    around = [((size - 1) // 2, size // 2) for size in (rows, columns)]
    padded = jnp.pad(maps.astype(params.w.dtype), ((0, 0), *around, (0, 0)))
    # The patch of each pixel is one row of one matrix product. On a CPU under `lax.scan`, where
    # training runs, that is many times as fast as `lax.conv_general_dilated` (JAX 0.10.2).
    patches = [
        padded[:, y : y + height, x : x + width] for y in range(rows) for x in range(columns)
    ]
    weights = params.w.reshape(-1, outputs)
    return dense(DenseParams(weights, params.b), jnp.concatenate(patches, axis=-1), dtype=dtype)


def max_pool(maps: Array, size: int = POOL) -> Array:
    """Returns the largest value of each size x size square.

    Args:
      maps: (B, height, width, channels).
      size: side of a square.

    Returns:
      Array (B, height // size, width // size, channels); rows and columns left over are dropped.

    Examples:
      >>> max_pool(jnp.ones((2, 8, 8, 4))).shape
      (2, 4, 4, 4)
    """
    batch, height, width, depth = maps.shape
    rows, columns = height // size, width // size
    # Faster than a window reduction, whose gradient is a scatter.
    squares = maps[:, : rows * size, : columns * size].reshape(
        batch, rows, size, columns, size, depth
    )
    return jnp.max(squares, axis=(2, 4))
