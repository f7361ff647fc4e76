"""The states of all time steps as the root of one equation: the iteration and its adjoint.

Arrays are in the order of processing, with the batch axes made one: (T, N, n), n entries of a flat
state. See `seqmodels.drivers.newton.driver` for the equations.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.drivers.contract import select, vary_like
from seqmodels.drivers.linear_scan import linear_scan, times
from seqmodels.drivers.newton.flat_state import Inputs, Layout
from seqmodels.types import Array, Params


class Solver(NamedTuple):
    """What is static while the states are solved for."""

    after: Callable[[Params, Array, Inputs], tuple[Array, Any]]  # all steps at once
    one: Callable[[Params, Array, Inputs], tuple[Array, Any]]  # one step
    layout: Layout
    tolerance: float
    max_iterations: int
    dense: bool
    damping: float
    fallback: bool


class Solution(NamedTuple):
    """What comes of it; `told` is iterations, residual, converged."""

    states: Array  # (T, N, n)
    ys: Any  # leaves (T, N, ...)
    told: tuple[Array, Array, Array]  # iterations, residual, converged


def solve(solver: Solver, params: Params, start: Array, inputs: Inputs) -> Solution:
    """Returns the states after all steps, and the outputs, with the gradient of the true states.

    Args:
      solver: what is static.
      params: the parameters, for the functions of `solver`.
      start: (N, n), the state before the first step.
      inputs: `Inputs` of all steps.
    """

    @jax.custom_vjp
    def solution_of(params: Params, start: Array, inputs: Inputs) -> Solution:
        return _solve(solver, params, start, inputs)

    def forward(params: Params, start: Array, inputs: Inputs) -> tuple[Solution, Any]:
        # Not by _solve, whose loop has no derivative: this may be differentiated once more.
        solution = solution_of(params, start, inputs)
        return solution, (params, start, inputs, solution.states)

    def backward(saved: Any, cotangents: Solution) -> Any:
        params, start, inputs, states = saved
        return _adjoint(solver, params, start, inputs, states, cotangents.states, cotangents.ys)

    solution_of.defvjp(forward, backward)
    return solution_of(params, start, inputs)


def _solve(solver: Solver, params: Params, start: Array, inputs: Inputs) -> Solution:
    begins = _begins(inputs, start)

    def unfinished(carry: Any) -> Array:
        count, _, error = carry
        return (count < solver.max_iterations) & ~(error <= solver.tolerance)

    def iterate(carry: Any) -> Any:
        count, states, _ = carry
        before = _shifted(start, states)
        after, jacobian = _linearised(solver, params, before, inputs)
        moved = linear_scan(jacobian, after - states, begins)
        moved = _shifted(jnp.zeros_like(start), moved)
        moved = jnp.where(begins[..., None], 0, moved)
        # s_t + d_t as f + J_t d_tm1: exact where the states before it are, however large d_t is.
        new = after + times(jacobian, moved)
        # A product of many J_t may explode where the states do not. A correction that is 1 / eps of
        # what it corrects, or not finite, has no digit of truth: there f alone is taken. But what
        # is NaN because a step made it so stays NaN.
        size = jnp.max(jnp.abs(after), axis=-1, keepdims=True, initial=1)
        sane = jnp.abs(new) <= size / jnp.finfo(new.dtype).eps
        new = jnp.where(sane | _spoilt(begins, after), new, after)
        new = _held(inputs.valid, start, new)
        after, _ = solver.after(params, _shifted(start, new), inputs)
        return count + 1, new, _unsettled(solver.layout, inputs.valid, after, new)

    count, error = vary_like((jnp.int32(0), jnp.full((), jnp.inf, start.dtype)), start)
    carry = count, _guess(inputs, start), error
    count, states, _ = jax.lax.while_loop(unfinished, iterate, carry)
    states = solver.layout.rounded(states)
    after, ys = solver.after(params, _shifted(start, states), inputs)
    residual = _residual(solver.layout, inputs.valid, after, states)
    converged = residual <= solver.tolerance
    if solver.fallback:
        one_by_one = lambda: _one_by_one(solver, params, start, inputs)  # noqa: E731
        states, ys = jax.lax.cond(converged, lambda: (states, ys), one_by_one)
    return Solution(states, ys, (count, residual, converged))


def _one_by_one(solver: Solver, params: Params, start: Array, inputs: Inputs) -> tuple[Array, Any]:
    def body(before: Array, inputs_t: Inputs) -> tuple[Array, Any]:
        after, y_t = solver.one(params, before, inputs_t)
        return after, (after, y_t)

    return jax.lax.scan(body, start, inputs)[1]


def _adjoint(
    solver: Solver,
    params: Params,
    start: Array,
    inputs: Inputs,
    states: Array,
    g_states: Array,
    g_ys: Any,
) -> Any:
    """Returns the cotangents of (params, start, inputs).

    With g_t what reaches s_t from its own cotangent and by way of y_tp1, and J_t in full,

        l_t = g_t + J_tp1^T l_tp1.
    """
    before = _shifted(start, states)

    def body(arriving: Array, step: Any) -> tuple[Array, Array]:
        before_t, inputs_t, g_state, g_y = step
        total = g_state + arriving
        _, transposed = jax.vjp(lambda s: solver.one(params, s, inputs_t), before_t)
        return transposed((total, g_y))[0], total

    if solver.dense:
        by_y = jax.vjp(lambda s: solver.after(params, s, inputs)[1], before)[1](g_ys)[0]
        _, jacobian = _linearised(solver._replace(damping=0.0), params, before, inputs)
        begins = _begins(inputs, start)
        # From the end to the start: what s_t gets from step t + 1, and nothing over a reset.
        later = lambda a, last: jnp.flip(jnp.concatenate([a[1:], last]), 0)  # noqa: E731
        totals = linear_scan(
            later(jnp.swapaxes(jacobian, -1, -2), jacobian[:1]),
            jnp.flip(g_states, 0) + later(by_y, jnp.zeros_like(by_y[:1])),
            later(begins, jnp.ones_like(begins[:1])),
        )
        totals = jnp.flip(totals, 0)
    else:
        steps = before, inputs, g_states, g_ys
        _, totals = jax.lax.scan(body, jnp.zeros_like(start), steps, reverse=True)
    _, transposed = jax.vjp(solver.after, params, before, inputs)
    g_params, g_before, g_inputs = transposed((totals, g_ys))
    return g_params, g_before[0], g_inputs


def _begins(inputs: Inputs, start: Array) -> Array:
    """Returns bool (T, N), true at the steps that do not read the state of the step before."""
    first = jnp.zeros((inputs.xs.shape[0], start.shape[0]), bool).at[:1].set(True)
    return first if inputs.resets is None else first | inputs.resets


def _shifted(start: Array, states: Array) -> Array:
    """Returns the state before every step."""
    return jnp.concatenate([start[None], states[:-1]])


def _guess(inputs: Inputs, start: Array) -> Array:
    """Returns the states if nothing but a reset changed them; finite wherever they begin finite."""
    states = jnp.broadcast_to(start, (inputs.xs.shape[0], *start.shape))
    if inputs.resets is None:
        return states
    return select(jax.lax.cummax(inputs.resets.astype(jnp.int32)) > 0, inputs.fresh, states)


def _held(valid: Array | None, start: Array, states: Array) -> Array:
    """Returns the states with exact copies of the last valid one in the padding."""
    if valid is None:
        return states
    last = _latest(valid)
    taken = jnp.take_along_axis(states, jnp.maximum(last, 0)[..., None], axis=0)
    return jnp.where(last[..., None] < 0, start[None], taken)


def _latest(mask: Array) -> Array:
    """Returns int (T, N), the last step up to each at which the mask held, -1 before the first."""
    t = jnp.arange(mask.shape[0], dtype=jnp.int32)[:, None]
    return jax.lax.cummax(jnp.where(mask, t, -1))


def _spoilt(begins: Array, after: Array) -> Array:
    """Returns bool (T, N, 1), true where a step since the last beginning gave no finite number."""
    bad = ~jnp.all(jnp.isfinite(after), axis=-1)
    return (_latest(bad) >= _latest(begins))[..., None]


def _linearised(
    solver: Solver, params: Params, before: Array, inputs: Inputs
) -> tuple[Array, Array]:
    """Returns f (T, N, n) and J, (T, N, n, n) or its diagonal (T, N, n), damped."""
    after, push = jax.linearize(lambda s: solver.after(params, s, inputs)[0], before)
    eye = vary_like(jnp.eye(before.shape[-1], dtype=before.dtype), before)

    def column(unit: Array) -> Array:
        return push(jnp.broadcast_to(unit, before.shape))

    if solver.dense:
        jacobian = jax.vmap(column, out_axes=-1)(eye)
    else:
        # One column at a time, so that the other n^2 - n entries are never held.
        numbered = jnp.arange(before.shape[-1]), eye
        jacobian = jax.lax.map(lambda e: jnp.take(column(e[1]), e[0], axis=-1), numbered)
        jacobian = jnp.moveaxis(jacobian, 0, -1)
    if solver.damping:
        jacobian = (1 - solver.damping) * jacobian
    return after, jacobian


def _residual(layout: Layout, valid: Array | None, after: Array, states: Array) -> Array:
    """Returns the largest |f - s| of the valid steps, relative to the largest |s| of leaf and row.

    NaN if any of them is.
    """
    errors, sizes = jnp.abs(after - states), jnp.abs(states)
    if valid is not None:
        errors, sizes = select(valid, (errors, sizes), (jnp.zeros_like(errors),) * 2)
    largest = jnp.zeros((), states.dtype)
    for error, size in zip(layout.split(errors), layout.split(sizes), strict=True):
        error, size = (jnp.max(a, axis=(0, -1), initial=0) for a in (error, size))
        largest = jnp.maximum(largest, jnp.max(error / jnp.where(error == 0, 1, size), initial=0))
    return largest


def _unsettled(layout: Layout, valid: Array | None, after: Array, states: Array) -> Array:
    """Returns the residual for the loop: a state that rightly is not finite is no reason to go on.

    It is NaN where only one of f and s is finite, which the next iteration may mend.
    """
    lost = ~jnp.isfinite(after) & ~jnp.isfinite(states)
    return _residual(layout, valid, jnp.where(lost, 0, after), jnp.where(lost, 0, states))
