"""The driver for linear recurrences: all steps at once, by `jax.lax.associative_scan`."""

from typing import Any

import jax
import jax.numpy as jnp

from seqmodels.cells.linear import linear_elements
from seqmodels.cells.stages import reset_state
from seqmodels.drivers.contract import filled, select, vary_like, zero_unless
from seqmodels.drivers.linear_scan import linear_scan
from seqmodels.drivers.stage_analysis import serving
from seqmodels.types import Array, Cell, Contract, Driver, Info, Params, State, Unrolled


def associative() -> Driver:
    """Returns the driver that takes a linear recurrence through all steps in log2(T) rounds.

    It does more arithmetic than `sm.scan` and needs a device with width to spare, such as a GPU; on
    a CPU it is slower. The backward pass is one more such scan, over the visited states. Forward
    mode and second derivatives work.

    A product of a_t over many steps must not overflow: with |a_t| > 1 it may, where a state that is
    zero would have stayed zero step by step.
    """
    return Driver("associative", _run)


def _run(
    cell: Cell,
    params: Params,
    xs: Array,
    state: State,
    contract: Contract,
    keep_states: bool,
) -> Unrolled:
    if cell.elements is None or cell.output is None:
        raise TypeError(
            "associative: got a cell without elements and output (sm.make_linear_cell), "
            f"expected a linear recurrence; for this cell {serving(cell)}"
        )
    valid, resets = contract.valid, contract.resets
    fresh = None
    if resets is not None:
        fresh = vary_like(reset_state(cell, params, state), state)
    xs = filled(valid, xs)
    num_steps = xs.shape[0]
    like = jax.tree.map(lambda s: jax.ShapeDtypeStruct((num_steps, *s.shape), s.dtype), state)
    a, b = linear_elements(cell.elements, params, xs, like)
    b = jax.tree.map(lambda b, s: jnp.broadcast_to(b, s.shape), b, like)
    if valid is not None:  # a step of the padding leaves the state as it is
        a, b = select(valid, a, jax.tree.map(jnp.ones_like, a)), zero_unless(valid, b)
    states = linear_recurrence(a, b, state, resets, fresh, contract.reverse)
    ys = zero_unless(valid, cell.output(params, states, xs))
    final_state = state
    if num_steps:
        final_state = jax.tree.map(lambda s: s[0 if contract.reverse else -1], states)
    return Unrolled(final_state, ys, states if keep_states else None, Info("associative"))


def linear_recurrence(
    a: Any,
    b: Any,
    state: State,
    resets: Array | None = None,
    fresh: State | None = None,
    reverse: bool = False,
) -> State:
    """Returns the states of s_t = a_t * s_tm1 + b_t after every step, all steps at once.

    The derivative solves the same recurrence again, in forward mode, or its transpose, which runs
    the other way, in reverse mode; what an automatic derivative of the scan would save for each of
    its rounds is not saved.

    Args:
      a: pytree like `state`, leaves (T, *batch, ...); an axis may be of size 1 instead.
      b: pytree like `state`, leaves (T, *batch, ...).
      state: the state before the first step, leaves (*batch, ...).
      resets: bool (T, *batch), where true s_tm1 is `fresh`, whatever it was before, NaN included;
        None: never.
      fresh: pytree like `state`; needed with `resets`.
      reverse: whether to go from the last step to the first; s_tm1 is then that of the next step.

    Returns:
      Pytree like `state`, leaves (T, *batch, ...) of its dtypes.
    """
    a, b = (jax.tree.map(lambda leaf, s: leaf.astype(s.dtype), tree, state) for tree in (a, b))
    num_steps = jax.tree.leaves(b)[0].shape[0]
    if num_steps == 0:
        return b
    a = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_steps, *leaf.shape[1:])), a)
    a, b, state, fresh, resets = vary_like(
        (a, b, state, fresh, resets), (a, b, state, fresh, resets)
    )
    first = num_steps - 1 if reverse else 0
    entering = state if resets is None else select(resets[first], fresh, state)
    first_b = jax.tree.map(lambda a, b, s: a[first] * s + b[first], a, b, entering)
    if resets is not None:  # what is reset to goes into b, and nothing passes from before
        from_fresh = jax.tree.map(lambda a, b, s: a * s[None] + b, a, b, fresh)
        a, b = zero_unless(~resets, a), select(resets, from_fresh, b)
    b = jax.tree.map(
        lambda b, b_t: jax.lax.dynamic_update_index_in_dim(b, b_t, first, 0), b, first_b
    )
    # Leaf by leaf, because a derivative may reach one of them and not another.
    return jax.tree.map(lambda a, b: _solved(a, b, resets, reverse), a, b)


def _solved(a: Array, b: Array, resets: Array | None, reverse: bool) -> Array:
    """Returns `linear_scan`, with derivatives by solving once more."""
    if not jnp.issubdtype(b.dtype, jnp.inexact):  # a counter has no derivative
        return linear_scan(a, b, resets, reverse)

    def matvec(states: Array) -> Array:
        passed = a * _delayed(states, reverse)
        return states - (passed if resets is None else zero_unless(~resets, passed))

    def solve(_: Any, b: Array) -> Array:
        return linear_scan(a, b, resets, reverse)

    def transpose_solve(_: Any, b: Array) -> Array:
        late, late_resets = jax.tree.map(lambda leaf: _delayed(leaf, not reverse), (a, resets))
        return linear_scan(late, b, late_resets, not reverse)

    return jax.lax.custom_linear_solve(matvec, b, solve, transpose_solve)


def _delayed(array: Array, reverse: bool) -> Array:
    """Returns the array one step later in the order of processing, with zeros in the first step."""
    zeros = jnp.zeros_like(array[:1])
    parts = [array[1:], zeros] if reverse else [zeros, array[:-1]]
    return jnp.concatenate(parts)
