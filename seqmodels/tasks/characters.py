"""Next-character prediction on windows of real text, as a task on the device."""

import jax
import jax.numpy as jnp
import numpy as np

from seqmodels.tasks.task import Batch, Task
from seqmodels.types import Array


def characters(splits: dict[str, np.ndarray], vocabulary_size: int, length: int) -> Task:
    """Returns the task of predicting every next character of windows of `length` characters.

    A window of the training split begins anywhere. Windows of the other splits begin at equal
    distances, from the first character to the last possible one. The model without memory reads
    only the current character: it is the table of pairs of the training split, plus one for each
    pair. Its scores are those on the test split.

    Args:
      splits: for "train", "validation" and "test" the characters as int (N,), N > `length`, in
        [0, vocabulary_size).
      vocabulary_size: V.
      length: T, characters that are read, at least 2.

    Returns:
      A `Task` with T targets.

    Raises:
      ValueError: if the length is too small, or a split is shorter than one window.

    Examples:
      >>> splits = {name: np.arange(50) % 5 for name in ("train", "validation", "test")}
      >>> task = characters(splits, vocabulary_size=5, length=8)
      >>> batch = task.sample(jax.random.key(0), 4, "train")
      >>> batch.inputs.shape, batch.targets.shape
      ((8, 4), (8, 4))
    """
    if length < 2:
        raise ValueError(f"characters: length: got {length}, expected at least 2")
    for name, text in splits.items():
        if len(text) <= length:
            raise ValueError(
                f"characters: {name}: got {len(text)} characters, expected more than {length}"
            )
    small = np.uint8 if vocabulary_size <= 256 else np.int32
    stored = {name: np.asarray(text, small) for name, text in splits.items()}
    chance, chance_loss = _pairs(stored["train"], stored["test"], vocabulary_size)

    def sample(key: Array, batch_size: int, split: str) -> Batch:
        text = jnp.asarray(stored[split])
        last = len(text) - length - 1
        if split == "train":
            starts = jax.random.randint(key, (batch_size,), 0, last + 1)
        else:
            starts = jnp.asarray(np.linspace(0, last, batch_size).astype(np.int32))
        windows = text[starts[None, :] + jnp.arange(length + 1)[:, None]].astype(jnp.int32)
        return Batch(windows[:-1], windows[1:])

    return Task(
        name="characters",
        sample=sample,
        num_steps=length,
        vocabulary_size=vocabulary_size,
        input_size=None,
        output_size=vocabulary_size,
        num_targets=length,
        num_scored=length,
        tolerance=None,
        chance=chance,
        chance_loss=chance_loss,
        far_step=0,
        evaluation_size={name: len(text) // length for name, text in stored.items()},
    )


def _pairs(train: np.ndarray, test: np.ndarray, size: int) -> tuple[float, float]:
    """Returns (accuracy, loss in nats) of the table of pairs on the test split."""
    counts = np.ones((size, size))
    np.add.at(counts, (train[:-1], train[1:]), 1)
    right = counts.argmax(-1)[test[:-1]] == test[1:]
    probabilities = counts / counts.sum(-1, keepdims=True)
    return float(right.mean()), float(-np.log(probabilities[test[:-1], test[1:]]).mean())
