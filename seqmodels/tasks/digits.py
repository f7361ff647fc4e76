"""The digits task: a handwritten digit read pixel by pixel, then noise, then a question."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from seqmodels.tasks.task import Batch, Task
from seqmodels.types import Array

NUM_PIXELS = 64
NUM_CLASSES = 10


def load_splits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns scikit-learn's 1,797 digits in a fixed stratified split.

    The data are the test part of the UCI Optical Recognition of Handwritten Digits set (Alpaydin,
    Kaynak 1998), shipped with scikit-learn.

    Returns:
      For "train" (1,257), "validation" (180) and "test" (360) a pair (images, labels): float32
      (N, 64) in [0, 1], row by row, and int32 (N,).

    Raises:
      ModuleNotFoundError: if scikit-learn is not installed.

    Examples:
      >>> {name: images.shape for name, (images, labels) in load_splits().items()}
      {'train': (1257, 64), 'validation': (180, 64), 'test': (360, 64)}
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the task digits needs scikit-learn: pip install 'seqmodels[data]'"
        ) from error
    images, labels = load_digits(return_X_y=True)
    images, labels = (images / 16).astype(np.float32), labels.astype(np.int32)
    x, x_test, y, y_test = train_test_split(
        images, labels, test_size=360, stratify=labels, random_state=0
    )
    x, x_validation, y, y_validation = train_test_split(
        x, y, test_size=180, stratify=y, random_state=0
    )
    return {"train": (x, y), "validation": (x_validation, y_validation), "test": (x_test, y_test)}


def digits(distance: int) -> Task:
    """Returns the digits task: 64 pixels, `distance` steps of noise, one step that asks.

    x_t = (value, question): the pixel, then noise from U[0, 1] with question 0, then (0, 1). A
    batch of the training split is drawn with replacement. Another split gives its images in order
    and repeats after the last, so 360 test samples contain every test image once.

    Args:
      distance: steps of noise, at least 0.

    Returns:
      A `Task`.

    Raises:
      ModuleNotFoundError: if scikit-learn is not installed.
      ValueError: if the distance is negative.

    Examples:
      >>> task = digits(distance=10)
      >>> batch = task.sample(jax.random.key(0), 4, "train")
      >>> batch.inputs.shape, batch.targets.shape
      ((75, 4, 2), (1, 4))
    """
    if distance < 0:
        raise ValueError(f"digits: distance: got {distance}, expected at least 0")
    splits = load_splits()

    def sample(key: Array, batch_size: int, split: str) -> Batch:
        images, labels = (jnp.asarray(array) for array in splits[split])
        key_image, key_noise = jax.random.split(key)
        chosen = jnp.arange(batch_size) % len(labels)
        if split == "train":
            chosen = jax.random.randint(key_image, (batch_size,), 0, len(labels))
        noise = jax.random.uniform(key_noise, (distance, batch_size))
        values = jnp.concatenate([images[chosen].T, noise, jnp.zeros((1, batch_size))])
        asked = jnp.zeros_like(values).at[-1].set(1)
        return Batch(jnp.stack([values, asked], axis=-1), labels[chosen][None])

    return Task(
        name="digits",
        sample=sample,
        num_steps=NUM_PIXELS + distance + 1,
        vocabulary_size=None,
        input_size=2,
        output_size=NUM_CLASSES,
        num_targets=1,
        num_scored=1,
        tolerance=None,
        chance=1 / NUM_CLASSES,
        chance_loss=math.log(NUM_CLASSES),
        far_step=NUM_PIXELS - 1,
        evaluation_size={name: len(y) for name, (_, y) in splits.items()},
    )
