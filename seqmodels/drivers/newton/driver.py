"""All time steps at once, by Newton's method on the sequence of states.

The states s_1 .. s_T of a recurrence are the root of r_t = f(s_tm1, x_t) - s_t. Each iteration of
Newton's method is a linear recurrence, which is solved for all t at once:

    d_t = J_t d_tm1 + r_t,    s_t <- s_t + d_t,    J_t = (1 - damping) df / ds (s_tm1, x_t)

with d_0 = 0. The full J_t is DEER: Lim, Zhu, Selfridge, Kasim 2024, "Parallelizing non-linear
sequential models over the sequence length" (arXiv 2309.12252). Its diagonal alone is quasi-DEER:
Gonzalez, Warrington, Smith, Linderman 2024, "Towards Scalable and Stable Parallelization of
Nonlinear RNNs" (arXiv 2407.19115); it converges linearly, not quadratically. They also damp the
step (ELK, by a Kalman smoother); the constant factor here is the cheap form of the same idea.

For any J_t the first k steps are exact after k iterations, so T iterations always suffice. A
recurrence that forgets its past needs far fewer.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqmodels.drivers.contract import zero_unless
from seqmodels.drivers.newton.flat_state import (
    StepInputs,
    flat_step,
    flat_steps,
    prepare_inputs,
    state_layout,
)
from seqmodels.drivers.newton.solver import Convergence, Solver, solve
from seqmodels.drivers.reshape import split_batch
from seqmodels.drivers.scan import run_scan, widen_params
from seqmodels.pytrees import match_varying_axes
from seqmodels.types import Array, Driver, DriverCall, Info, Params, Unrolled

JACOBIANS = ("dense", "diagonal")
FAILURES = ("fallback", "raise", "return")


def newton(
    *,
    tolerance: float | None = None,
    max_iterations: int = 100,
    jacobian: str = "dense",
    damping: float = 0.0,
    on_failure: str = "fallback",
) -> Driver:
    """Returns the driver that solves for the states of all time steps at once.

    It is for devices with idle width: an iteration does far more arithmetic than a pass of
    `sm.scan`, all of it parallel in time. Let n be the numbers in the state of one sequence, 2H for
    an LSTM. A dense iteration takes O(T B n^3 log T) work and O(T B n^2) memory. A diagonal one
    takes n linearized steps and O(T B n) memory. The driver runs any cell whose state has real
    floating-point leaves, and other leaves (counters, masks, keys) that do not depend on them.

    `info.residual` is the largest |f(s_tm1, x_t) - s_t| over all valid steps, rows and entries of
    the state. It is relative to the largest |s_t| of the same leaf and row. It measures how well
    the recurrence holds at every step; a chaotic recurrence amplifies the remaining error.
    `info.converged` is residual <= tolerance, so it is false if a state is NaN or infinite. These
    two and `info.iterations` describe Newton's method even if the fallback computed the result.

    The gradient is exact at the returned states. One linear recurrence backwards with the full J_t
    gives the cotangents of the states, then one derivative of all steps in bulk follows. With a
    diagonal that recurrence runs step by step. Forward mode always does. Second derivatives work in
    every order. Under `jax.vmap` the fallback is always computed.

    Args:
      tolerance: the residual at which to stop; None for 8 eps of the state's coarsest dtype. Raise
        it for matrix products in bfloat16, whose rounding errors are larger.
      max_iterations: the largest number of iterations.
      jacobian: "dense", or "diagonal" for its exact diagonal.
      damping: from 0, Newton's method, to 1, which ignores the derivative. It shrinks products of
        many J_t in an unstable recurrence, and makes convergence linear.
      on_failure: the action if Newton's method has not converged. "fallback" runs the steps one
        after the other and returns their result. "raise" raises FloatingPointError; under jit it is
        raised in a callback, and JAX wraps it in another error. "return" returns the last iterate.

    Returns:
      A `Driver`.

    Raises:
      ValueError: if a setting is out of range.

    Examples:
      >>> cell, xs = sm.rnn(3, 4), jnp.ones((5, 2, 3))
      >>> method = sm.newton(jacobian="dense", on_failure="return")
      >>> info = sm.unroll_full(cell, cell.init(jax.random.key(0)), xs, method=method).info
      >>> bool(info.converged)
      True
    """
    if tolerance is not None and not (_is_real(tolerance) and 0 <= tolerance < np.inf):
        raise ValueError(f"newton: tolerance: got {tolerance!r}, expected None or a number >= 0")
    if isinstance(max_iterations, bool) or not hasattr(max_iterations, "__index__"):
        raise ValueError(f"newton: max_iterations: got {max_iterations!r}, expected an integer")
    if max_iterations < 1:
        raise ValueError(f"newton: max_iterations: got {max_iterations}, expected 1 or more")
    if not _is_real(damping) or not 0 <= damping <= 1:
        raise ValueError(f"newton: damping: got {damping!r}, expected 0 <= damping <= 1")
    for name, given, choices in [
        ("jacobian", jacobian, JACOBIANS),
        ("on_failure", on_failure, FAILURES),
    ]:
        if given not in choices:
            raise ValueError(f"newton: {name}: got {given!r}, expected one of {', '.join(choices)}")
    settings = {
        "tolerance": None if tolerance is None else float(tolerance),
        "max_iterations": int(max_iterations),
        "jacobian": jacobian,
        "damping": float(damping),
        "fallback": on_failure == "fallback",
    }
    check = _raise_unless_converged if on_failure == "raise" else None
    return Driver("newton", _run, tuple(settings.items()), check)


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _raise_unless_converged(info: Info) -> None:
    def check(iterations: Any, residual: Any, converged: Any) -> None:
        for count, error, ok in zip(*map(np.ravel, (iterations, residual, converged)), strict=True):
            if not ok:
                raise FloatingPointError(
                    f"newton: a residual of {error:.3g} is left after {count} iterations: raise "
                    "tolerance, max_iterations or damping, or use method='scan'"
                )

    diagnostics = info.iterations, info.residual, info.converged
    try:
        check(*map(np.asarray, diagnostics))
    except jax.errors.TracerArrayConversionError:
        jax.debug.callback(check, *jax.lax.stop_gradient(diagnostics))


def _run(
    call: DriverCall,
    *,
    tolerance: float | None,
    max_iterations: int,
    jacobian: str,
    damping: float,
    fallback: bool,
) -> Unrolled:
    cell, batch_shape = call.cell, call.batch_shape
    layout = state_layout(call.state, batch_shape)
    if tolerance is None:
        tolerance = 8 * max([float(jnp.finfo(dtype).eps) for dtype in layout.dtypes], default=0.0)
    if call.num_steps == 0:
        full = run_scan(call)
        convergence = Convergence(jnp.int32(0), jnp.zeros((), layout.dtype), jnp.bool_(True))
        return full._replace(info=Info("newton", **convergence._asdict()))
    # As in `sm.scan`, gradients of low-precision parameters are float32 up to here. They vary as
    # the data do, so the transpose of this cast sums them over the devices once.
    wide, narrow = widen_params(call.params)
    reverse = call.contract.reverse
    arrays = wide, call.xs, call.state, call.contract.valid, call.contract.resets
    wide, xs, state, valid, resets = match_varying_axes(arrays, arrays)
    call = call._replace(
        params=narrow(wide),
        xs=xs,
        state=state,
        contract=call.contract._replace(valid=valid, resets=resets),
    )
    start, inputs, others = prepare_inputs(call, layout)

    def all_steps(params: Params, before: Array, inputs: StepInputs) -> tuple[Array, Any]:
        return flat_steps(cell, layout, narrow(params), before, inputs)

    def one_step(params: Params, before: Array, inputs: StepInputs) -> tuple[Array, Any]:
        return flat_step(cell, layout, narrow(params), before, inputs)

    solver = Solver(
        all_steps=all_steps,
        one_step=one_step,
        layout=layout,
        tolerance=tolerance,
        max_iterations=max_iterations,
        dense=jacobian == "dense",
        damping=damping,
        fallback=fallback,
    )
    solution = solve(solver, wide, start, inputs)

    def restore_axes(a: Array) -> Array:
        return split_batch(jnp.flip(a, 0) if reverse else a, 1, batch_shape)

    lead = solution.states.shape[:2]
    states = jax.tree.map(restore_axes, layout.unflatten(solution.states, others, lead))
    final_state = jax.tree.map(lambda a: a[0 if reverse else -1], states)
    ys = zero_unless(valid, jax.tree.map(restore_axes, solution.ys))
    return Unrolled(
        final_state,
        ys,
        states if call.keep_states else None,
        Info("newton", **solution.convergence._asdict()),
    )
