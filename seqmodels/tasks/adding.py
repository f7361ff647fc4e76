"""The adding problem: the sum of two marked numbers of a sequence."""

import jax
import jax.numpy as jnp

from seqmodels.tasks.task import Batch, Task, check_distance
from seqmodels.types import Array


def adding(distance: int) -> Task:
    """Returns the adding problem: the sum of the two marked numbers of a sequence.

    x_t = (u_t, m_t) with u_t ~ U[0, 1] and two marks m_t = 1, one in each half. The target at the
    last step is the sum of the marked u_t. Hochreiter, Schmidhuber 1997, experiment 4, in the form
    of Arjovsky, Shah, Bengio 2016 (arXiv 1511.06464) and Bai, Kolter, Koltun 2018 (arXiv
    1803.01271). Answering 1 always has a mean squared error of 1/6. An answer counts as right when
    it is within .08 of the sum, which is .04 in the units of the first paper.

    Args:
      distance: T, the length of the sequence, at least 2.

    Returns:
      A `Task`.

    Examples:
      >>> task = adding(distance=10)
      >>> batch = task.sample(jax.random.key(0), 4, "train")
      >>> batch.inputs.shape, batch.targets.shape
      ((10, 4, 2), (1, 4, 1))
    """
    check_distance("adding", distance, 2)
    tolerance = 0.08

    def sample(key: Array, batch_size: int, split: str) -> Batch:
        del split
        key_u, key_1, key_2 = jax.random.split(key, 3)
        u = jax.random.uniform(key_u, (distance, batch_size))
        first = jax.random.randint(key_1, (batch_size,), 0, distance // 2)
        second = jax.random.randint(key_2, (batch_size,), distance // 2, distance)
        steps = jnp.arange(distance)[:, None]
        marks = ((steps == first[None]) | (steps == second[None])).astype(u.dtype)
        targets = jnp.sum(u * marks, axis=0)
        return Batch(jnp.stack([u, marks], axis=-1), targets[None, :, None])

    return Task(
        name="adding",
        sample=sample,
        num_steps=distance,
        vocabulary_size=None,
        input_size=2,
        output_size=1,
        num_targets=1,
        num_scored=1,
        tolerance=tolerance,
        chance=2 * tolerance - tolerance**2,  # P(|u_1 + u_2 - 1| < tolerance)
        chance_loss=1 / 6,
        far_step=distance // 2 - 1,
    )
