"""Everything needed to resume training exactly."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from seqmodels.types import Array, Params


class TrainState(NamedTuple):
    """The complete state of a training; a checkpoint of it resumes exactly.

    Attributes:
      params: parameters.
      opt_state: the optimizer's state, with the schedule's count, accumulated gradients and
        averaged parameters where there are any.
      step: int32 scalar, steps taken.
      key: PRNG key; step n draws from `fold_in(key, n)`.
      cursor: int32 scalar, batches read so far, over all epochs.
      carry: carry of the loss from step to step, such as the recurrent state of truncated
        backpropagation; () for a loss without one.
      stopped: bool scalar; once True, steps change nothing.
    """

    params: Params
    opt_state: optax.OptState
    step: Array
    key: Array
    cursor: Array
    carry: Any
    stopped: Array


def create_train_state(
    init: Callable[[Array], Params],
    optimizer: optax.GradientTransformation,
    key: Array,
    carry: Any = (),
) -> TrainState:
    """Returns the state before the first step; parameters and data have separate keys.

    Args:
      init: `init(key) -> params`.
      optimizer: an optax optimizer.
      key: PRNG key.
      carry: carry of the first step.

    Returns:
      A `TrainState`.
    """
    key_params, key_data = jax.random.split(key)
    params = init(key_params)
    return TrainState(
        params=params,
        opt_state=optimizer.init(params),
        step=jnp.zeros((), jnp.int32),
        key=key_data,
        cursor=jnp.zeros((), jnp.int32),
        carry=carry,
        stopped=jnp.zeros((), bool),
    )
