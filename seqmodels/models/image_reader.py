"""Recurrent classifier of images: a cell reads the rows, or the pixels, one by one."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from seqmodels.models.sequence_model import SequenceModelParams, sequence_model
from seqmodels.types import Array, Cell, Driver

READINGS = ("rows", "pixels")
POOLINGS = ("last", "mean")


class ImageReader(NamedTuple):
    """A recurrent classifier of images as pure functions.

    Attributes:
      init: `init(key) -> SequenceModelParams`.
      apply: `apply(params, images, *, key=None, method="auto") -> logits`, images (B, height,
        width, channels) to (B, C); key switches dropout on.
    """

    init: Callable[[Array], SequenceModelParams]
    apply: Callable[..., Array]


def image_to_sequence(images: Array, reading: str) -> Array:
    """Returns images as sequences, time first.

    Args:
      images: (B, height, width, channels).
      reading: "rows": x_t is row t from the top, its pixels from the left. "pixels": x_t is one
        pixel, row by row, as in Le, Jaitly, Hinton 2015 (arXiv 1504.00941).

    Returns:
      Array (height, B, width * channels) or (height * width, B, channels).

    Raises:
      ValueError: if the reading is unknown, or if the images lack four axes or have no pixels.

    Examples:
      >>> image_to_sequence(jnp.ones((2, 8, 6, 1)), "rows").shape  # (T, B, D)
      (8, 2, 6)
      >>> image_to_sequence(jnp.ones((2, 8, 6, 1)), "pixels").shape
      (48, 2, 1)
    """
    if reading not in READINGS:
        raise ValueError(f"reading: got {reading!r}, expected one of {', '.join(READINGS)}")
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise ValueError(
            f"images: got shape {images.shape}, expected (B, height, width, channels) with pixels"
        )
    batch, height, width, depth = images.shape
    steps = height if reading == "rows" else height * width
    return jnp.moveaxis(images.reshape(batch, steps, height * width * depth // steps), 1, 0)


def input_size(image_shape: Sequence[int], reading: str) -> int:
    """Returns D, the size of x_t, for images of shape (height, width, channels).

    Examples:
      >>> input_size((8, 6, 3), "rows"), input_size((8, 6, 3), "pixels")
      (18, 3)
    """
    _, width, depth = image_shape
    return width * depth if reading == "rows" else depth


def image_reader(
    cell: Cell,
    *,
    hidden_size: int,
    output_size: int,
    reading: str,
    pooling: str = "last",
    dtype: Any = None,
) -> ImageReader:
    """Returns the classifier that reads an image as a sequence.

    logits = W y + b, y the cell's last output or the mean of all of them.

    Args:
      cell: reads D = `input_size(image_shape, reading)` features.
      hidden_size: size H of the cell's outputs.
      output_size: C, number of classes.
      reading: "rows" or "pixels".
      pooling: "last" or "mean".
      dtype: dtype of the operands of the readout; None for their common dtype, see `sm.matmul`.

    Returns:
      An `ImageReader`.

    Raises:
      ValueError: if the reading or the pooling is unknown.

    Examples:
      >>> model = image_reader(sm.gru(6, 4), hidden_size=4, output_size=10, reading="rows")
      >>> model.apply(model.init(jax.random.key(0)), jnp.ones((2, 8, 6, 1))).shape
      (2, 10)
    """
    if reading not in READINGS:
        raise ValueError(f"reading: got {reading!r}, expected one of {', '.join(READINGS)}")
    if pooling not in POOLINGS:
        raise ValueError(f"pooling: got {pooling!r}, expected one of {', '.join(POOLINGS)}")
    model = sequence_model(cell, hidden_size=hidden_size, output_size=output_size, dtype=dtype)

    def apply(
        params: SequenceModelParams,
        images: Array,
        *,
        key: Array | None = None,
        method: str | Driver = "auto",
    ) -> Array:
        xs = image_to_sequence(images, reading)
        last = 1 if pooling == "last" else len(xs)
        # The readout is affine, so it commutes with the mean.
        return jnp.mean(model.apply(params, xs, last=last, key=key, method=method), axis=0)

    return ImageReader(model.init, apply)
