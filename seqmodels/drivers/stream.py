"""One step at a time, for serving: the same cell that was trained over whole sequences."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from seqmodels.cells.stages import new_state, reset_state
from seqmodels.drivers import contract as rules
from seqmodels.types import Array, Cell, Params, State


def stream(
    cell: Cell,
    params: Params,
    state: State | None = None,
    *,
    batch_shape: Sequence[int] = (),
) -> tuple[State, Callable[..., tuple[State, Any]]]:
    """Returns a state and a compiled step that takes the cell from x_t to y_t.

        state, step = sm.stream(cell, params)
        for x_t in source:
            state, y_t = step(state, x_t)

    The outputs are those of `sm.unroll` on all of `source` at once. The step compiles at its first
    call, once for each shape of x_t. It is given the state for good (its memory is used for the new
    state), so a state that has been passed in must not be used again; the first one is a copy.

    Args:
      cell: a `Cell`; a bidirectional pair has no step.
      params: its parameters.
      state: where to begin, such as the final state of an `sm.unroll` over the past; None for the
        cell's own.
      batch_shape: how many sequences to step side by side, if `state` is None.

    Returns:
      (state, step), `step(state, x_t, reset_t=None) -> (state, y_t)`, x_t (*batch, D), reset_t bool
      (*batch): where true, the state is replaced by `cell.reset` before x_t is read.

    Raises:
      TypeError: if `cell` is not a `Cell`.
      ValueError: if the state is none of the cell's; from a step, if x_t or reset_t does not fit
        the state.
    """
    if not isinstance(cell, Cell):
        raise TypeError(f"stream: cell: given a {type(cell).__name__}, wanted a Cell")
    if state is None:
        state = new_state(cell, params, batch_shape, None)
    # A copy, because a state may share memory with the parameters, or be wanted by the caller.
    state = jax.tree.map(lambda a: jnp.array(a, copy=True), state)
    return state, functools.partial(_checked_step, cell, params)


def _checked_step(
    cell: Cell, params: Params, state: State, x_t: Any, reset_t: Any = None
) -> tuple[State, Any]:
    x_t = rules.check_xs(cell, jnp.asarray(x_t)[None])[0]
    batch_shape = x_t.shape[: x_t.ndim - cell.x_ndim]
    if reset_t is not None:
        reset_t = rules.check_resets(reset_t, batch_shape)
    return _step(cell, params, state, x_t, reset_t)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def _step(
    cell: Cell, params: Params, state: State, x_t: Array, reset_t: Array | None
) -> tuple[State, Any]:
    rules.check_step(cell, params, state, x_t[None])
    if reset_t is not None:
        state = rules.select(reset_t, reset_state(cell, params, state), state)
    return cell.step(params, state, x_t)
