"""The driver for linear recurrences: all steps at once, by `jax.lax.associative_scan`."""

from typing import Any

import jax
import jax.numpy as jnp

from seqmodels.cells.linear import linear_elements
from seqmodels.cells.stages import reset_state
from seqmodels.drivers.contract import fill_padding, tree_where, zero_unless
from seqmodels.drivers.linear_scan import linear_scan
from seqmodels.drivers.stage_analysis import supported_methods
from seqmodels.pytrees import match_varying_axes
from seqmodels.types import Array, Driver, DriverCall, Info, State, Unrolled


def associative() -> Driver:
    """Returns the driver that solves a linear recurrence for all steps in log2(T) rounds.

    It does more arithmetic than `sm.scan` and needs a device with idle width, such as a GPU; on a
    CPU it is slower. The backward pass is one more such scan, over the visited states. Forward mode
    and second derivatives work.

    A product of a_t over many steps must not overflow. With |a_t| > 1 it may, even if the state is
    zero and would stay zero step by step.

    Examples:
      >>> cell, xs = sm.min_gru(3, 4), jnp.ones((5, 2, 3))
      >>> state, ys = sm.unroll(cell, cell.init(jax.random.key(0)), xs, method=sm.associative())
      >>> ys.shape
      (5, 2, 4)
    """
    return Driver("associative", _run)


def _run(call: DriverCall) -> Unrolled:
    cell, params, xs, state, contract, keep_states = call
    if cell.elements is None or cell.output is None:
        raise TypeError(
            "associative: got a cell without elements and output (sm.make_linear_cell), "
            f"expected a linear recurrence; for this cell {supported_methods(cell)}"
        )
    valid, resets = contract.valid, contract.resets
    fresh = None
    if resets is not None:
        fresh = match_varying_axes(reset_state(cell, params, state), state)
    xs = fill_padding(valid, xs)
    num_steps = xs.shape[0]
    like = jax.tree.map(lambda s: jax.ShapeDtypeStruct((num_steps, *s.shape), s.dtype), state)
    a, b = linear_elements(cell.elements, params, xs, like)
    b = jax.tree.map(lambda b, s: jnp.broadcast_to(b, s.shape), b, like)
    if valid is not None:  # a step in the padding does not change the state
        a, b = tree_where(valid, a, jax.tree.map(jnp.ones_like, a)), zero_unless(valid, b)
    states = linear_recurrence(a, b, state, resets=resets, fresh=fresh, reverse=contract.reverse)
    ys = zero_unless(valid, cell.output(params, states, xs))
    final_state = state
    if num_steps:
        final_state = jax.tree.map(lambda s: s[0 if contract.reverse else -1], states)
    return Unrolled(final_state, ys, states if keep_states else None, Info("associative"))


def linear_recurrence(
    a: Any,
    b: Any,
    state: State,
    *,
    resets: Array | None = None,
    fresh: State | None = None,
    reverse: bool = False,
) -> State:
    """Returns the states of s_t = a_t * s_tm1 + b_t after every step, all steps at once.

    Forward mode solves the same recurrence again; reverse mode solves its transpose, which runs the
    other way. Autodiff of the scan would save arrays for each of its rounds; this does not.

    Args:
      a: pytree like `state`, leaves (T, *batch, ...); an axis may be of size 1 instead.
      b: pytree like `state`, leaves (T, *batch, ...).
      state: the state before the first step, leaves (*batch, ...).
      resets: bool (T, *batch), where true s_tm1 is `fresh`, even if it was NaN; None: never.
      fresh: pytree like `state`; required with `resets`.
      reverse: whether time runs from the last step to the first; then s_tm1 is the state of the
        next step.

    Returns:
      Pytree like `state`, leaves (T, *batch, ...) of its dtypes.
    """
    a, b = (jax.tree.map(lambda leaf, s: leaf.astype(s.dtype), tree, state) for tree in (a, b))
    num_steps = jax.tree.leaves(b)[0].shape[0]
    if num_steps == 0:
        return b
    a = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_steps, *leaf.shape[1:])), a)
    a, b, state, fresh, resets = match_varying_axes(
        (a, b, state, fresh, resets), (a, b, state, fresh, resets)
    )
    first = num_steps - 1 if reverse else 0
    entering = state if resets is None else tree_where(resets[first], fresh, state)
    first_b = jax.tree.map(lambda a, b, s: a[first] * s + b[first], a, b, entering)
    if resets is not None:  # `fresh` goes into b, and a = 0 drops the state before
        from_fresh = jax.tree.map(lambda a, b, s: a * s[None] + b, a, b, fresh)
        a, b = zero_unless(~resets, a), tree_where(resets, from_fresh, b)
    b = jax.tree.map(
        lambda b, b_t: jax.lax.dynamic_update_index_in_dim(b, b_t, first, 0), b, first_b
    )
    # Leaf by leaf, because a derivative may reach one of them and not another.
    return jax.tree.map(lambda a, b: _solve(a, b, resets, reverse), a, b)


def _solve(a: Array, b: Array, resets: Array | None, reverse: bool) -> Array:
    """Returns `linear_scan`, whose derivatives solve once more."""
    if not jnp.issubdtype(b.dtype, jnp.inexact):  # a counter has no derivative
        return linear_scan(a, b, resets, reverse)

    def matvec(states: Array) -> Array:
        passed = a * _delay(states, reverse)
        return states - (passed if resets is None else zero_unless(~resets, passed))

    def solve(_: Any, b: Array) -> Array:
        return linear_scan(a, b, resets, reverse)

    def transpose_solve(_: Any, b: Array) -> Array:
        late, late_resets = jax.tree.map(lambda leaf: _delay(leaf, not reverse), (a, resets))
        return linear_scan(late, b, late_resets, not reverse)

    return jax.lax.custom_linear_solve(matvec, b, solve, transpose_solve)


def _delay(array: Array, reverse: bool) -> Array:
    """Returns the array delayed by one step in the order of processing, zero in the first step."""
    zeros = jnp.zeros_like(array[:1])
    parts = [array[1:], zeros] if reverse else [zeros, array[:-1]]
    return jnp.concatenate(parts)
