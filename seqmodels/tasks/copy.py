"""The copy problem: symbols to be repeated after a delay."""

import math

import jax
import jax.numpy as jnp

from seqmodels.tasks.task import Batch, Task, check_distance
from seqmodels.types import Array

COPY_LENGTH = 10
COPY_SYMBOLS = 8
COPY_BLANK, COPY_DELIMITER = 0, 9  # the symbols to copy are 1 to 8


def copy(distance: int) -> Task:
    """Returns the copy problem: ten symbols must be repeated `distance` steps later.

    Inputs of T + 20 steps: ten of eight symbols, T - 1 blanks, a delimiter, ten blanks. Targets:
    T + 10 blanks, then the ten symbols. The loss is the cross-entropy over all steps; without
    memory it is 10 ln 8 / (T + 20). Accuracy counts the ten symbols alone. Hochreiter, Schmidhuber
    1997, experiment 2, in the form of Arjovsky, Shah, Bengio 2016 (arXiv 1511.06464).

    Args:
      distance: T, at least 1.

    Returns:
      A `Task`.

    Examples:
      >>> task = copy(distance=10)
      >>> batch = task.sample(jax.random.key(0), 4, "train")
      >>> batch.inputs.shape, batch.targets.shape
      ((30, 4), (30, 4))
    """
    check_distance("copy", distance, 1)
    num_steps = distance + 2 * COPY_LENGTH

    def sample(key: Array, batch_size: int, split: str) -> Batch:
        del split
        symbols = jax.random.randint(key, (COPY_LENGTH, batch_size), 1, COPY_SYMBOLS + 1)
        blanks = jnp.full((num_steps - COPY_LENGTH, batch_size), COPY_BLANK)
        inputs = (
            jnp.concatenate([symbols, blanks]).at[COPY_LENGTH + distance - 1].set(COPY_DELIMITER)
        )
        return Batch(inputs, jnp.concatenate([blanks, symbols]))

    return Task(
        name="copy",
        sample=sample,
        num_steps=num_steps,
        vocabulary_size=COPY_SYMBOLS + 2,
        input_size=None,
        output_size=COPY_SYMBOLS + 1,
        num_targets=num_steps,
        num_scored=COPY_LENGTH,
        tolerance=None,
        chance=1 / COPY_SYMBOLS,
        chance_loss=COPY_LENGTH * math.log(COPY_SYMBOLS) / num_steps,
        far_step=COPY_LENGTH - 1,
    )
