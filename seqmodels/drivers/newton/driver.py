"""All time steps at once, by Newton's method on the sequence of states.

The states s_1 .. s_T of a recurrence are the root of r_t = f(s_tm1, x_t) - s_t. Newton's method for
it is a sequence of linear recurrences, and a linear recurrence is solved for all t at once:

    d_t = J_t d_tm1 + r_t,    s_t <- s_t + d_t,    J_t = (1 - damping) df / ds (s_tm1, x_t)

with d_0 = 0. The full J_t is DEER: Lim, Zhu, Selfridge, Kasim 2024, "Parallelizing non-linear
sequential models over the sequence length" (arXiv 2309.12252). Its diagonal alone is quasi-DEER:
Gonzalez, Warrington, Smith, Linderman 2024, "Towards Scalable and Stable Parallelization of
Nonlinear RNNs" (arXiv 2407.19115); it converges linearly, not quadratically. They also damp the
step (ELK, by a Kalman smoother); the constant factor here is the cheap form of the same idea.

Whatever J_t is, the first k steps are exact after k iterations, so T iterations always suffice, and
a recurrence that forgets its past needs far fewer.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqmodels.drivers.contract import vary_like, zero_unless
from seqmodels.drivers.newton.flat_state import Inputs, all_steps, flat_step, inputs_of, layout_of
from seqmodels.drivers.newton.solver import Solver, solve
from seqmodels.drivers.reshape import split_batch
from seqmodels.drivers.scan import scan, widened
from seqmodels.types import Array, Cell, Contract, Driver, Info, Params, State, Unrolled

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

    It is for devices with width to spare: an iteration does far more arithmetic than a pass of
    `sm.scan`, all of it parallel in time. With n numbers in the state of one sequence (2H of an
    LSTM) a dense iteration takes O(T B n^3 log T) work and O(T B n^2) memory, a diagonal one n
    linearised steps and O(T B n) memory. Runs any cell whose state is made of floating leaves, and
    of others (counters, masks, keys) that do not depend on them.

    `info.residual` is the largest |f(s_tm1, x_t) - s_t| over all valid steps, rows and entries of
    the state, of each leaf and row relative to the largest |s_t| of that leaf in that row. It says
    how well the recurrence holds at every step; a chaotic recurrence amplifies what is left.
    `info.converged` is residual <= tolerance, so it is false where a state is NaN or infinite.
    These two and `info.iterations` speak of Newton's method also where the result is not its own.

    The gradient is exact at the states that are returned, however they were found: one linear
    recurrence backwards with the full J_t for the states' cotangents, then one derivative of the
    steps in bulk. With a diagonal that recurrence runs step by step. Reverse mode may be taken
    twice; there is no forward mode. Under `jax.vmap` a fallback is always computed.

    Args:
      tolerance: the residual to stop at; None for 8 eps of the state's coarsest dtype. Raise it for
        matrix products in bfloat16, which jump by more than that.
      max_iterations: where to stop in any case.
      jacobian: "dense", or "diagonal" for the exact diagonal of it.
      damping: from 0, Newton's method, to 1, which forgets the derivative. It shrinks products of
        many J_t where a recurrence is unstable, and makes convergence linear.
      on_failure: what to do where Newton's method has not converged. "fallback" runs the steps one
        after the other and returns that. "raise" raises FloatingPointError, inside of jit by way of
        a callback, whose error JAX wraps in its own. "return" returns what there is.

    Returns:
      A `Driver`.

    Raises:
      ValueError: if a setting is out of range.
    """
    if tolerance is not None and not (_is_real(tolerance) and 0 <= tolerance < np.inf):
        raise ValueError(f"newton: tolerance: got {tolerance!r}, expected None or a number >= 0")
    if isinstance(max_iterations, bool) or not hasattr(max_iterations, "__index__"):
        raise ValueError(f"newton: max_iterations: got {max_iterations!r}, expected an integer")
    if max_iterations < 1:
        raise ValueError(f"newton: max_iterations: got {max_iterations}, expected 1 or more")
    if not _is_real(damping) or not 0 <= damping <= 1:
        raise ValueError(f"newton: damping: got {damping!r}, expected 0 <= damping <= 1")
    for name, given, wanted in [
        ("jacobian", jacobian, JACOBIANS),
        ("on_failure", on_failure, FAILURES),
    ]:
        if given not in wanted:
            raise ValueError(f"newton: {name}: got {given!r}, expected one of {', '.join(wanted)}")
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
    def check(converged: Any, residual: Any, iterations: Any) -> None:
        for ok, left, count in zip(*map(np.ravel, (converged, residual, iterations)), strict=True):
            if not ok:
                raise FloatingPointError(
                    f"newton: a residual of {left:.3g} is left after {count} iterations: raise "
                    "tolerance, max_iterations or damping, or use method='scan'"
                )

    told = info.converged, info.residual, info.iterations
    try:
        check(*map(np.asarray, told))
    except jax.errors.TracerArrayConversionError:
        jax.debug.callback(check, *jax.lax.stop_gradient(told))


def _run(
    cell: Cell,
    params: Params,
    xs: Array,
    state: State,
    contract: Contract,
    keep_states: bool,
    *,
    tolerance: float | None,
    max_iterations: int,
    jacobian: str,
    damping: float,
    fallback: bool,
) -> Unrolled:
    batch_shape = xs.shape[1 : xs.ndim - cell.x_ndim]
    layout = layout_of(state, batch_shape)
    if tolerance is None:
        tolerance = 8 * max([float(jnp.finfo(dtype).eps) for dtype in layout.dtypes], default=0.0)
    if xs.shape[0] == 0:
        full = scan().run(cell, params, xs, state, contract, keep_states)
        told = jnp.int32(0), jnp.zeros((), layout.dtype), jnp.bool_(True)
        return full._replace(info=_info(told))
    # As in `sm.scan`: gradients of low-precision parameters are float32 up to here. And varying as
    # the data do, so that the transpose of this cast sums them over the devices, once.
    wide, narrow = widened(params)
    arrays = wide, xs, state, contract.valid, contract.resets
    wide, xs, state, valid, resets = vary_like(arrays, arrays)
    contract = Contract(valid, resets, contract.reverse)
    start, inputs, others = inputs_of(cell, layout, narrow(wide), xs, state, contract)

    def after(params: Params, before: Array, inputs: Inputs) -> tuple[Array, Any]:
        return all_steps(cell, layout, narrow(params), before, inputs)

    def one(params: Params, before: Array, inputs: Inputs) -> tuple[Array, Any]:
        return flat_step(cell, layout, narrow(params), before, inputs)

    dense = jacobian == "dense"
    solver = Solver(after, one, layout, tolerance, max_iterations, dense, damping, fallback)
    solution = solve(solver, wide, start, inputs)

    def out(a: Array) -> Array:
        return split_batch(jnp.flip(a, 0) if contract.reverse else a, 1, batch_shape)

    lead = solution.states.shape[:2]
    states = jax.tree.map(out, layout.state(solution.states, others, lead))
    final_state = jax.tree.map(lambda a: a[0 if contract.reverse else -1], states)
    ys = zero_unless(contract.valid, jax.tree.map(out, solution.ys))
    states = states if keep_states else None
    return Unrolled(final_state, ys, states, _info(solution.told))


def _info(told: tuple[Array, Array, Array]) -> Info:
    iterations, residual, converged = told
    return Info("newton", iterations=iterations, residual=residual, converged=converged)
