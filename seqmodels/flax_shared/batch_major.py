"""The call of a Flax module that unrolls a `Cell`: axes moved, and dropout of a given state."""

from typing import Any

import jax
import jax.numpy as jnp

from seqmodels.cells.stages import new_state
from seqmodels.drivers.unroll import unroll
from seqmodels.flax_shared.noise import with_noise, without_noise
from seqmodels.types import Array, Cell, Driver, Params, State


def unroll_batch_major(
    cell: Cell,
    params: Params,
    inputs: Any,
    state: State | None,
    key: Array | None,
    *,
    time_major: bool,
    lengths: Any,
    mask: Any,
    hold_outputs: bool,
    resets: Any,
    reverse: bool,
    method: str | Driver,
) -> tuple[State, Any]:
    """Unrolls a cell over a sequence whose time axis stands behind the batch axes.

    There is dropout if and only if there is a key. Masks that a given state holds are then used
    again, so that the pieces of a sequence have the same masks. Other masks are drawn from the key.

    Args:
      cell: the cell.
      params: its parameters.
      inputs: (*batch, T, ...), or (T, *batch, ...) if time-major.
      state: the state before the first step; None for the cell's own.
      key: the key of the dropout; None for no dropout.
      time_major: whether the first axis of inputs, outputs, `mask` and `resets` is time.
      lengths: see `sm.unroll`.
      mask: bool (*batch, T), or (T, *batch) if time-major.
      hold_outputs: see `sm.unroll`.
      resets: bool like `mask`.
      reverse: see `sm.unroll`.
      method: see `sm.unroll`.

    Returns:
      (final state, outputs), with the axes of the outputs as those of the inputs.

    Raises:
      TypeError: see `sm.unroll`.
      ValueError: see `sm.unroll`.
    """
    inputs = jnp.asarray(inputs)
    time_axis = 0 if time_major else inputs.ndim - cell.x_ndim - 1
    xs = jnp.moveaxis(inputs, time_axis, 0)
    if state is not None:
        batch_shape = xs.shape[1 : xs.ndim - cell.x_ndim]
        state, key = _with_dropout(cell, params, batch_shape, state, key), None
    mask, resets = (
        None if steps is None else jnp.moveaxis(jnp.asarray(steps), 0 if time_major else -1, 0)
        for steps in (mask, resets)
    )
    final, ys = unroll(
        cell,
        params,
        xs,
        state,
        lengths=lengths,
        mask=mask,
        hold_outputs=hold_outputs,
        resets=resets,
        reverse=reverse,
        key=key,
        method=method,
    )
    return final, jax.tree.map(lambda a: jnp.moveaxis(a, 0, time_axis), ys)


def _with_dropout(
    cell: Cell, params: Params, batch_shape: tuple[int, ...], state: State, key: Array | None
) -> State:
    """Returns a given state as a call with this key, or without one, reads it."""
    if key is None:
        return without_noise(state)
    return with_noise(state, new_state(cell, params, batch_shape, key))
