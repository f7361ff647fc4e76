"""The states of all time steps as the root of one equation: the iteration and its adjoint.

Arrays are in the order of processing, with one batch axis: (T, N, n), n entries of a flat state.
See `seqmodels.drivers.newton.driver` for the equations.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.drivers.contract import tree_where
from seqmodels.drivers.linear_call import linear_call
from seqmodels.drivers.linear_scan import linear_scan, multiply
from seqmodels.drivers.newton.flat_state import Layout, StepInputs
from seqmodels.pytrees import (
    combine,
    match_varying_axes,
    partition_floats,
    without_float0,
    zero_tangents,
)
from seqmodels.types import Array, Params


class Solver(NamedTuple):
    """The static settings of a solve.

    `all_steps(params, before, inputs) -> (after, ys)` takes all steps at once, before (T, N, n);
    `one_step` takes one step, before (N, n). The other fields are settings of `sm.newton`.
    """

    all_steps: Callable[[Params, Array, StepInputs], tuple[Array, Any]]
    one_step: Callable[[Params, Array, StepInputs], tuple[Array, Any]]
    layout: Layout
    tolerance: float
    max_iterations: int
    dense: bool
    damping: float
    fallback: bool


class Convergence(NamedTuple):
    """Diagnostics of a solve, as in `Info`."""

    iterations: Array
    residual: Array
    converged: Array


class Solution(NamedTuple):
    """The result of a solve: states (T, N, n), outputs with leaves (T, N, ...), diagnostics."""

    states: Array
    ys: Any
    convergence: Convergence


class _Residuals(NamedTuple):
    """The arrays that the forward pass saves for the backward pass."""

    params: Params
    start: Array
    inputs: StepInputs
    states: Array


def solve(solver: Solver, params: Params, start: Array, inputs: StepInputs) -> Solution:
    """Returns the states after all steps, and the outputs, with the gradient of the exact states.

    Args:
      solver: the static settings.
      params: the parameters, for the functions of `solver`.
      start: (N, n), the state before the first step.
      inputs: `StepInputs` of all steps.
    """

    @jax.custom_jvp
    def solution_of(params: Params, start: Array, inputs: StepInputs) -> Solution:
        return _solve(solver, params, start, inputs)

    @solution_of.defjvp
    def derivative(primals: Any, tangents: Any) -> tuple[Solution, Any]:
        # Not `_solve`, whose loop has no derivative, because this may be differentiated again.
        solution = solution_of(*primals)
        residuals = _Residuals(primals[0], primals[1], primals[2], solution.states)
        dstates, dys = linear_call(
            functools.partial(_tangent, solver),
            functools.partial(_adjoint, solver),
            residuals,
            without_float0(tangents),
            partition_floats((solution.states, solution.ys))[0],
        )
        dys = combine(dys, zero_tangents(partition_floats(solution.ys)[1]))
        return solution, Solution(dstates, dys, zero_tangents(solution.convergence))

    return solution_of(params, start, inputs)


def _solve(solver: Solver, params: Params, start: Array, inputs: StepInputs) -> Solution:
    restarts = _restarts(inputs, start)

    def unfinished(carry: Any) -> Array:
        count, _, error = carry
        return (count < solver.max_iterations) & ~(error <= solver.tolerance)

    def iterate(carry: Any) -> Any:
        count, states, _ = carry
        before = _states_before(start, states)
        after, jacobian = _linearize(solver, params, before, inputs)
        delta = linear_scan(jacobian, after - states, restarts)
        delta = _states_before(jnp.zeros_like(start), delta)
        delta = jnp.where(restarts[..., None], 0, delta)
        # s_t + d_t as f + J_t d_tm1: exact if the states before it are, however large d_t is.
        new = after + multiply(jacobian, delta)
        # A product of many J_t may overflow even if the states do not. A correction that is not
        # finite, or 1 / eps times as large as f, has no significant digits, so f is used. A NaN
        # that a step itself returns is kept.
        size = jnp.max(jnp.abs(after), axis=-1, keepdims=True, initial=1)
        sane = jnp.abs(new) <= size / jnp.finfo(new.dtype).eps
        new = jnp.where(sane | _nonfinite_since_restart(restarts, after), new, after)
        new = _hold_where_not_valid(inputs, start, new)
        after, _ = solver.all_steps(params, _states_before(start, new), inputs)
        return count + 1, new, _loop_residual(solver.layout, inputs.valid, after, new)

    count, error = match_varying_axes((jnp.int32(0), jnp.full((), jnp.inf, start.dtype)), start)
    carry = count, _initial_guess(inputs, start), error
    count, states, _ = jax.lax.while_loop(unfinished, iterate, carry)
    states = solver.layout.round_to_leaf_dtypes(states)
    after, ys = solver.all_steps(params, _states_before(start, states), inputs)
    residual = _residual(solver.layout, inputs.valid, after, states)
    converged = residual <= solver.tolerance
    if solver.fallback:
        one_by_one = lambda: _run_sequentially(solver, params, start, inputs)  # noqa: E731
        states, ys = jax.lax.cond(converged, lambda: (states, ys), one_by_one)
    return Solution(states, ys, Convergence(count, residual, converged))


def _run_sequentially(
    solver: Solver, params: Params, start: Array, inputs: StepInputs
) -> tuple[Array, Any]:
    def body(before: Array, inputs_t: StepInputs) -> tuple[Array, Any]:
        after, y_t = solver.one_step(params, before, inputs_t)
        return after, (after, y_t)

    return jax.lax.scan(body, start, inputs)[1]


def _without_integers(step: Callable[..., tuple[Array, Any]]) -> Callable[..., tuple[Array, Any]]:
    """Returns a step whose outputs are floating alone; None stands for the others."""

    def floating(*arguments: Any) -> tuple[Array, Any]:
        after, ys = step(*arguments)
        return after, partition_floats(ys)[0]

    return floating


def _tangent(solver: Solver, residuals: _Residuals, tangents: Any) -> tuple[Array, Any]:
    """Returns the tangents of (states, ys), step by step at the states of the solution."""
    params, start, inputs, states = residuals
    dparams, dstart, dinputs = tangents
    param_floats, param_others = partition_floats(params)
    input_floats, input_others = partition_floats(inputs)
    one_step = _without_integers(solver.one_step)

    def body(dbefore: Array, step: Any) -> tuple[Array, Any]:
        before_t, floats_t, others_t, dinputs_t = step

        def of_floats(params: Params, before: Array, inputs: StepInputs) -> tuple[Array, Any]:
            return one_step(combine(params, param_others), before, combine(inputs, others_t))

        primals = param_floats, before_t, floats_t
        _, (dafter, dy_t) = jax.jvp(of_floats, primals, (dparams, dbefore, dinputs_t))
        return dafter, (dafter, dy_t)

    steps = _states_before(start, states), input_floats, input_others, dinputs
    return jax.lax.scan(body, dstart, steps)[1]


def _adjoint(solver: Solver, residuals: _Residuals, cotangents: Any) -> Any:
    """Returns the cotangents of the floating leaves of (params, start, inputs).

    With the full J_t, and with g_t the cotangent of s_t itself plus its cotangent through y_tp1,

        l_t = g_t + J_tp1^T l_tp1.
    """
    params, start, inputs, states = residuals
    g_states, g_ys = cotangents
    before = _states_before(start, states)

    one_step, all_steps = map(_without_integers, (solver.one_step, solver.all_steps))

    def body(arriving: Array, step: Any) -> tuple[Array, Array]:
        before_t, inputs_t, g_state, g_y = step
        total = g_state + arriving
        _, transposed = jax.vjp(lambda s: one_step(params, s, inputs_t), before_t)
        return transposed((total, g_y))[0], total

    if solver.dense:
        through_y = jax.vjp(lambda s: all_steps(params, s, inputs)[1], before)[1](g_ys)[0]
        _, jacobian = _linearize(solver._replace(damping=0.0), params, before, inputs)
        restarts = _restarts(inputs, start)
        # From the end to the start: s_t gets its cotangent from step t + 1, unless that restarts.
        later = lambda a, last: jnp.flip(jnp.concatenate([a[1:], last]), 0)  # noqa: E731
        totals = linear_scan(
            later(jnp.swapaxes(jacobian, -1, -2), jacobian[:1]),
            jnp.flip(g_states, 0) + later(through_y, jnp.zeros_like(through_y[:1])),
            later(restarts, jnp.ones_like(restarts[:1])),
        )
        totals = jnp.flip(totals, 0)
    else:
        steps = before, inputs, g_states, g_ys
        _, totals = jax.lax.scan(body, jnp.zeros_like(start), steps, reverse=True)
    _, transposed = jax.vjp(all_steps, params, before, inputs)
    g_params, g_before, g_inputs = without_float0(transposed((totals, g_ys)))
    return g_params, g_before[0], g_inputs


def _restarts(inputs: StepInputs, start: Array) -> Array:
    """Returns bool (T, N), true at the steps that do not read the state of the previous step."""
    first = jnp.zeros((inputs.xs.shape[0], start.shape[0]), bool).at[:1].set(True)
    return first if inputs.resets is None else first | inputs.resets


def _states_before(start: Array, states: Array) -> Array:
    """Returns the state before every step."""
    return jnp.concatenate([start[None], states[:-1]])


def _initial_guess(inputs: StepInputs, start: Array) -> Array:
    """Returns the states as if only resets changed them; finite if they begin finite."""
    states = jnp.broadcast_to(start, (inputs.xs.shape[0], *start.shape))
    if inputs.resets is None:
        return states
    return tree_where(jax.lax.cummax(inputs.resets.astype(jnp.int32)) > 0, inputs.fresh, states)


def _hold_where_not_valid(inputs: StepInputs, start: Array, states: Array) -> Array:
    """Returns the states with exact copies of the last one where steps are not valid."""
    if inputs.valid is None:
        return states
    changed = inputs.valid if inputs.resets is None else inputs.valid | inputs.resets
    last = _last_true_step(changed)
    held = jnp.take_along_axis(states, jnp.maximum(last, 0)[..., None], axis=0)
    return jnp.where(last[..., None] < 0, start[None], held)


def _last_true_step(mask: Array) -> Array:
    """Returns int (T, N), the last step up to t at which the mask is true; -1 before the first."""
    t = jnp.arange(mask.shape[0], dtype=jnp.int32)[:, None]
    return jax.lax.cummax(jnp.where(mask, t, -1))


def _nonfinite_since_restart(restarts: Array, after: Array) -> Array:
    """Returns bool (T, N, 1), true if a step since the last restart was not finite."""
    bad = ~jnp.all(jnp.isfinite(after), axis=-1)
    return (_last_true_step(bad) >= _last_true_step(restarts))[..., None]


def _linearize(
    solver: Solver, params: Params, before: Array, inputs: StepInputs
) -> tuple[Array, Array]:
    """Returns f (T, N, n) and the damped J, (T, N, n, n) or its diagonal (T, N, n)."""
    after, push = jax.linearize(lambda s: solver.all_steps(params, s, inputs)[0], before)
    eye = match_varying_axes(jnp.eye(before.shape[-1], dtype=before.dtype), before)

    def column(unit: Array) -> Array:
        return push(jnp.broadcast_to(unit, before.shape))

    if solver.dense:
        jacobian = jax.vmap(column, out_axes=-1)(eye)
    else:
        # One column at a time, so that the other n^2 - n entries are never stored.
        numbered = jnp.arange(before.shape[-1]), eye
        jacobian = jax.lax.map(lambda e: jnp.take(column(e[1]), e[0], axis=-1), numbered)
        jacobian = jnp.moveaxis(jacobian, 0, -1)
    if solver.damping:
        jacobian = (1 - solver.damping) * jacobian
    return after, jacobian


def _residual(layout: Layout, valid: Array | None, after: Array, states: Array) -> Array:
    """Returns the largest |f - s| of the valid steps, relative to the largest |s| of leaf and row.

    The result is NaN if any entry is NaN.
    """
    errors, sizes = jnp.abs(after - states), jnp.abs(states)
    if valid is not None:
        errors, sizes = tree_where(valid, (errors, sizes), (jnp.zeros_like(errors),) * 2)
    largest = jnp.zeros((), states.dtype)
    for error, size in zip(layout.split_leaves(errors), layout.split_leaves(sizes), strict=True):
        error, size = (jnp.max(a, axis=(0, -1), initial=0) for a in (error, size))
        largest = jnp.maximum(largest, jnp.max(error / jnp.where(error == 0, 1, size), initial=0))
    return largest


def _loop_residual(layout: Layout, valid: Array | None, after: Array, states: Array) -> Array:
    """Returns the residual for the loop: non-finite entries shared by f and s do not block it.

    It is NaN if only one of f and s is finite, which the next iteration may repair.
    """
    shared = ~jnp.isfinite(after) & ~jnp.isfinite(states)
    return _residual(layout, valid, jnp.where(shared, 0, after), jnp.where(shared, 0, states))
