"""Streaming: one step at a time, for serving a cell trained on whole sequences."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from seqmodels.cells.stages import new_state, reset_state
from seqmodels.drivers.contract import check_state, check_step, check_steps, tree_where
from seqmodels.types import Array, Cell, Params, State


def stream(
    cell: Cell,
    params: Params,
    state: State | None = None,
    *,
    batch_shape: Sequence[int] | None = None,
) -> tuple[State, Callable[..., tuple[State, Any]]]:
    """Returns a state and a compiled step of the cell.

        state, step = sm.stream(cell, params)
        for x_t in source:
            state, y_t = step(state, x_t)

    The outputs equal those of `sm.unroll` on all of `source` at once. The step compiles once for
    each shape of x_t. The state is donated; do not reuse a state that has been passed in. The first
    state is a copy.

    Args:
      cell: a `Cell`; a bidirectional pair has no step.
      params: its parameters.
      state: the state to begin with, such as the final state of an `sm.unroll` over the past;
        None for the cell's own initial state.
      batch_shape: the batch axes of the new state, () if not given. It cannot be combined with
        `state`, which already has batch axes.

    Returns:
      (state, step), `step(state, x_t, reset_t=None) -> (state, y_t)` with x_t (*batch, D) and
      reset_t bool (*batch). Where reset_t is true, `cell.reset` replaces the state before x_t is
      read.

    Raises:
      TypeError: if `cell` is not a `Cell`. The step raises it for a bidirectional pair.
      ValueError: if the state does not match the cell, or is given with a batch_shape. The step
        raises it if x_t or reset_t does not fit the state.

    Examples:
      >>> cell = sm.lstm(3, 4)
      >>> state, step = sm.stream(cell, cell.init(jax.random.key(0)), batch_shape=(2,))
      >>> for x_t in np.ones((5, 2, 3), np.float32):
      ...     state, y_t = step(state, x_t)
      >>> y_t.shape
      (2, 4)
    """
    if not isinstance(cell, Cell):
        raise TypeError(f"stream: cell: got a {type(cell).__name__}, expected a Cell")
    if isinstance(batch_shape, int):
        raise ValueError(f"stream: batch_shape: got {batch_shape}, expected ({batch_shape},)")
    if state is None:
        state = new_state(cell, params, batch_shape or (), None)
    elif batch_shape is not None:
        raise ValueError("stream: batch_shape: got with a state, expected one of the two")
    else:
        state = jax.tree.map(jnp.asarray, state)
        check_state(cell, params, state, _batch_shape(cell, params, state))
    # A copy, because the state may share memory with the parameters, or the caller may use it.
    state = jax.tree.map(lambda a: jnp.array(a, copy=True), state)
    return state, functools.partial(_step, cell, params)


def _batch_shape(cell: Cell, params: Params, state: State) -> tuple[int, ...]:
    """Returns the batch axes of a state, or () if they cannot be known."""
    own = jax.tree.leaves(jax.eval_shape(lambda p: new_state(cell, p, (), None), params))
    leaves = jax.tree.leaves(state)
    if not own or not leaves or leaves[0].ndim < own[0].ndim:
        return ()
    return leaves[0].shape[: leaves[0].ndim - own[0].ndim]


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def _step(
    cell: Cell, params: Params, state: State, x_t: Array, reset_t: Array | None = None
) -> tuple[State, Any]:
    x_t = jnp.asarray(x_t)
    if x_t.ndim < cell.x_ndim:
        features = ", ".join(["D", "D2", "D3"][: cell.x_ndim])
        raise ValueError(f"x_t: got shape {x_t.shape}, expected (*batch, {features})")
    check_state(cell, params, state, x_t.shape[: x_t.ndim - cell.x_ndim])
    check_step(cell, params, state, x_t)
    if reset_t is not None:
        reset_t = check_steps("reset_t", reset_t, x_t.shape[: x_t.ndim - cell.x_ndim])
        state = tree_where(reset_t, reset_state(cell, params, state), state)
    return cell.step(params, state, x_t)
