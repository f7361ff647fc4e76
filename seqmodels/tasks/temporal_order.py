"""The temporal order problem: the order of two symbols among distractors."""

import math

import jax
import jax.numpy as jnp

from seqmodels.tasks.task import Batch, Task, check_distance
from seqmodels.types import Array

ORDER_E, ORDER_B, ORDER_X, ORDER_Y, ORDER_PAD = 4, 5, 6, 7, 8  # a, b, c, d are 0 to 3


def temporal_order(distance: int) -> Task:
    """Returns the temporal order problem: the order of two symbols X and Y among distractors.

    A sequence begins with E, ends with B, and consists of distractors a, b, c, d. Two of its
    symbols are X or Y each, at t1 in [T/10, 2T/10] and t2 in [5T/10, 6T/10]. Its length is drawn
    from [T, T + T/10]. Classes: XX, XY, YX, YY, asked at B. Hochreiter, Schmidhuber 1997,
    experiment 6a (there T = 100). Shorter sequences are filled in front with a symbol of their own.

    Args:
      distance: T, at least 10.

    Returns:
      A `Task`.

    Examples:
      >>> task = temporal_order(distance=20)
      >>> batch = task.sample(jax.random.key(0), 4, "train")
      >>> batch.inputs.shape, batch.targets.shape
      ((22, 4), (1, 4))
    """
    check_distance("temporal_order", distance, 10)
    tenth = distance // 10
    num_steps = distance + tenth

    def sample(key: Array, batch_size: int, split: str) -> Batch:
        del split
        keys = jax.random.split(key, 5)
        shape = (batch_size,)
        length = jax.random.randint(keys[0], shape, distance, distance + tenth + 1)
        t1 = jax.random.randint(keys[1], shape, tenth, 2 * tenth + 1)
        t2 = jax.random.randint(keys[2], shape, 5 * tenth, 6 * tenth + 1)
        symbols = jax.random.randint(keys[3], (2, batch_size), 0, 2)  # 0 is X, 1 is Y
        inputs = jax.random.randint(keys[4], (num_steps, batch_size), 0, 4)
        t = jnp.arange(num_steps)[:, None] - (num_steps - length)[None]  # 0 at E
        for where, symbol in (
            (t < 0, ORDER_PAD),
            (t == 0, ORDER_E),
            (t == t1[None], ORDER_X + symbols[:1]),
            (t == t2[None], ORDER_X + symbols[1:]),
            (t == length[None] - 1, ORDER_B),
        ):
            inputs = jnp.where(where, symbol, inputs)
        return Batch(inputs, (2 * symbols[0] + symbols[1])[None])

    return Task(
        name="temporal_order",
        sample=sample,
        num_steps=num_steps,
        vocabulary_size=9,
        input_size=None,
        output_size=4,
        num_targets=1,
        num_scored=1,
        tolerance=None,
        chance=1 / 4,
        chance_loss=math.log(4),
        far_step=3 * tenth,
    )
