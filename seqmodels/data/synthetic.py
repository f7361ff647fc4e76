"""The classical long-lag problems, made on the device: adding, copy, temporal order."""

import math

import jax
import jax.numpy as jnp

from seqmodels.data.tasks import Batch, Task
from seqmodels.types import Array

COPY_LENGTH = 10
COPY_SYMBOLS = 8
COPY_BLANK, COPY_DELIMITER = 0, 9  # the symbols to copy are 1 to 8

ORDER_E, ORDER_B, ORDER_X, ORDER_Y, ORDER_PAD = 4, 5, 6, 7, 8  # a, b, c, d are 0 to 3


def adding(distance: int) -> Task:
    """Returns the adding problem: the sum of the two marked numbers of a sequence.

    x_t = (u_t, m_t) with u_t ~ U[0, 1] and two marks m_t = 1, one in each half; the target at the
    last step is the sum of the marked u_t. Hochreiter, Schmidhuber 1997, experiment 4, in the form
    of Arjovsky, Shah, Bengio 2016 (arXiv 1511.06464) and Bai, Kolter, Koltun 2018
    (arXiv 1803.01271). Answering 1 always has a mean squared error of 1/6. An answer counts as
    right when it is within .08 of the sum, which is .04 in the units of the first paper.

    Args:
      distance: T, the length of the sequence, at least 2.

    Returns:
      A `Task`.
    """
    _check_distance("adding", distance, 2)
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


def copy(distance: int) -> Task:
    """Returns the copy problem: ten symbols, `distance` steps later, have to be given back.

    Inputs of T + 20 steps: ten of eight symbols, T - 1 blanks, a delimiter, ten blanks. Targets:
    T + 10 blanks, then the ten symbols. The loss is the cross-entropy over all steps; without
    memory it is 10 ln 8 / (T + 20). Accuracy counts the ten symbols alone. Hochreiter, Schmidhuber
    1997, experiment 2, in the form of Arjovsky, Shah, Bengio 2016 (arXiv 1511.06464).

    Args:
      distance: T, at least 1.

    Returns:
      A `Task`.
    """
    _check_distance("copy", distance, 1)
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


def temporal_order(distance: int) -> Task:
    """Returns the temporal order problem: in which order did X and Y come, among distractors?

    A sequence begins with E and ends with B; all between are distractors a, b, c, d, but for two
    symbols, X or Y each, at t1 in [T/10, 2T/10] and t2 in [5T/10, 6T/10]. Its length is drawn from
    [T, T + T/10]. Classes: XX, XY, YX, YY, asked at B. Hochreiter, Schmidhuber 1997, experiment 6a
    (there T = 100). Shorter sequences are filled in front with a symbol of their own.

    Args:
      distance: T, at least 10.

    Returns:
      A `Task`.
    """
    _check_distance("temporal_order", distance, 10)
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


def _check_distance(task: str, distance: int, least: int) -> None:
    if distance < least:
        raise ValueError(f"{task}: distance: given {distance}, wanted at least {least}")
