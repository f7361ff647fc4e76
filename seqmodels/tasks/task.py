"""The `Task` type: batches on demand, and the rule for a correct answer."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from seqmodels.types import Array


class Batch(NamedTuple):
    """inputs: tokens int (T, B) or features (T, B, D). targets: int (K, B) or float (K, B, 1)."""

    inputs: Array
    targets: Array


class Task(NamedTuple):
    """A source of batches whose answer depends on something `distance` steps back.

    Attributes:
      name: the task's name, such as "sky".
      sample: `sample(key, batch_size, split) -> Batch`, pure; split is a static string, "train",
        "validation" or "test".
      num_steps: T.
      vocabulary_size: V if the inputs are tokens, None if they are features.
      input_size: D if the inputs are features, None if they are tokens.
      output_size: C classes, or 1 for a real number.
      num_targets: K, the last steps whose output is trained.
      num_scored: the last of those K steps that count for accuracy.
      tolerance: None for classes; for a real number the error below which it counts as right.
      chance: accuracy of the best model without memory.
      chance_loss: loss of the best model without memory.
      far_step: the first step at which every sample has read the earliest item to remember.
      evaluation_size: sequences of the "validation" and "test" splits, None if unlimited.
      words: the V words of the vocabulary by token, if tokens are words.
      answers: names of the C classes, if they have names.
    """

    name: str
    sample: Callable[[Array, int, str], Batch]
    num_steps: int
    vocabulary_size: int | None
    input_size: int | None
    output_size: int
    num_targets: int
    num_scored: int
    tolerance: float | None
    chance: float
    chance_loss: float
    far_step: int
    evaluation_size: dict[str, int] | None = None
    words: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()

    def limited(self, split: str, requested: int) -> int:
        """Returns the number of sequences of a split to evaluate, none of them twice."""
        return (
            requested
            if self.evaluation_size is None
            else min(requested, self.evaluation_size[split])
        )


def accuracy(task: Task, outputs: Array, targets: Array) -> Array:
    """Returns the share of correct answers among the scored ones.

    Args:
      task: a `Task`.
      outputs: (K, B, C) logits or (K, B, 1) real numbers.
      targets: (K, B) or (K, B, 1).

    Returns:
      A scalar in [0, 1].

    Examples:
      >>> from seqmodels.tasks.adding import adding
      >>> outputs, targets = jnp.array([[[1.0], [0.5]]]), jnp.array([[[1.05], [1.0]]])  # (K, B, 1)
      >>> float(accuracy(adding(distance=10), outputs, targets))
      0.5
    """
    outputs, targets = outputs[-task.num_scored :], targets[-task.num_scored :]
    if task.tolerance is None:
        return jnp.mean(jnp.argmax(outputs, axis=-1) == targets)
    return jnp.mean(jnp.abs(outputs - targets) < task.tolerance)


def check_distance(task: str, distance: int, least: int) -> None:
    """Raises ValueError unless the distance is at least `least`.

    Examples:
      >>> check_distance("adding", 10, least=2)
    """
    if distance < least:
        raise ValueError(f"{task}: distance: got {distance}, expected at least {least}")
