"""The entry points `unroll` and `unroll_full`: run a cell through time under any driver."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqmodels.cells.products import is_fast_on_cpu, is_low
from seqmodels.cells.stages import new_state
from seqmodels.drivers.auto import choose_driver, find_driver
from seqmodels.drivers.contract import (
    check_key,
    check_lengths,
    check_state,
    check_step,
    check_steps,
    check_xs,
    hold_last_outputs,
    valid_steps,
    zero_unless,
)
from seqmodels.drivers.wide_sequences import run_wide
from seqmodels.pytrees import match_varying_axes
from seqmodels.types import Array, Cell, Contract, Driver, DriverCall, Info, Params, State, Unrolled

MOST_CELLS = 64  # cells, with driver and flags, whose programs are kept


def unroll(
    cell: Cell,
    params: Params,
    xs: Any,
    state: State | None = None,
    *,
    lengths: Any = None,
    mask: Any = None,
    hold_outputs: bool = False,
    resets: Any = None,
    reverse: bool = False,
    key: Array | None = None,
    method: str | Driver = "auto",
) -> tuple[State, Any]:
    """Runs a cell through time: `state, y_t = cell.step(params, state, x_t)` for every t.

    A call outside of jit compiles one program for a cell and keeps it while the cell is among the
    last 64 that were used. Make a cell once and pass the same object to every call: a cell that is
    made anew has new functions, and compiles anew.

    Args:
      cell: a `Cell`.
      params: its parameters.
      xs: inputs (T, *batch, D), with zero or more batch axes; T may be 0.
      state: the state before the first step, leaves (*batch, ...); None for the cell's own initial
        state.
      lengths: int (*batch), 0 <= length <= T: the number of valid steps of each sequence. Outputs
        after the end are exactly zero. The final state is the state after the last valid step.
        Padded inputs get a gradient of exactly zero, even if they are NaN.
      mask: bool (T, *batch), true where a step counts; it may have gaps anywhere. A masked step
        (false) does not change the state, and its output is zero. Its input, which may be NaN, gets
        a gradient of exactly zero. With lengths, a step counts if both agree.
      hold_outputs: whether the output of a masked step is not zero but repeats the last valid
        output since the last reset, in the order of processing. Padding stays zero.
      resets: bool (T, *batch): where true the state is replaced by `cell.reset` (by default the
        cell's own initial state) before `x_t` is read. So several sequences can be packed into one
        row. A reset at a masked step counts; one in the padding does not. A NaN state does not
        survive a reset, but the parameters' gradient through the NaN steps is NaN.
      reverse: whether time runs from the last step to the first. Outputs stay at the place of
        their inputs, padding is skipped, and "before" refers to the order of processing.
      key: PRNG key for random values of a whole sequence, such as dropout masks; short for
        `state=cell.initial_state(params, batch_shape, key=key)`. Without a key there is no dropout.
        In `shard_map`, fold `jax.lax.axis_index` into it, or every device draws the same masks;
        `sm.data_parallel` does that with the entry "key" of `in_axes`.
      method: "auto", the name of a driver, or a driver with its settings such as
        `sm.fused(chunk=64)`. "auto" chooses the driver that was measured to train fastest. For
        cells in stages that is `sm.fused`, or `sm.chunked` if keeping all states would take more
        than 4 GiB; for other cells `sm.scan`.

    Returns:
      (final_state, ys), ys (T, *batch, H).

    Raises:
      TypeError: if `cell` is not a `Cell`, or if the driver cannot run it.
      ValueError: if an argument has a wrong shape, dtype or value, or if both `state` and `key` are
        given. Also if a step returns a state of other shapes or dtypes. Lengths out of range are
        detected only if their values are known, so not under jit.

    Examples:
      >>> cell, xs = sm.lstm(input_size=3, hidden_size=4), jnp.ones((5, 2, 3))  # (T, B, D)
      >>> params = cell.init(jax.random.key(0))
      >>> state, ys = sm.unroll(cell, params, xs, lengths=jnp.array([5, 2]))
      >>> state.c.shape, ys.shape, float(jnp.sum(ys[2:, 1]))
      ((2, 4), (5, 2, 4), 0.0)
    """
    full = unroll_full(
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
        states=False,
    )
    return full.final_state, full.ys


def unroll_full(
    cell: Cell,
    params: Params,
    xs: Any,
    state: State | None = None,
    *,
    lengths: Any = None,
    mask: Any = None,
    hold_outputs: bool = False,
    resets: Any = None,
    reverse: bool = False,
    key: Array | None = None,
    method: str | Driver = "auto",
    states: bool = True,
) -> Unrolled:
    """Returns all that `unroll` returns, the state after every step, and diagnostics.

    Args:
      cell: see `unroll`.
      params: see `unroll`.
      xs: see `unroll`.
      state: see `unroll`.
      lengths: see `unroll`.
      mask: see `unroll`.
      hold_outputs: see `unroll`.
      resets: see `unroll`.
      reverse: see `unroll`.
      key: see `unroll`.
      method: see `unroll`.
      states: whether to return the states; False saves their memory.

    Returns:
      `Unrolled`: (final_state, ys, states, info), leaves of states (T, *batch, ...), or None.

    Raises:
      TypeError: see `unroll`.
      ValueError: see `unroll`.

    Examples:
      >>> cell, xs = sm.lstm(3, 4), jnp.ones((5, 2, 3))
      >>> full = sm.unroll_full(cell, cell.init(jax.random.key(0)), xs, method="scan")
      >>> full.states.c.shape, full.info.method
      ((5, 2, 4), 'scan')
    """
    if not isinstance(cell, Cell):
        raise TypeError(f"unroll: cell: got a {type(cell).__name__}, expected a Cell")
    if not isinstance(reverse, bool | np.bool_):
        raise ValueError(f"reverse: got {reverse!r}, expected True or False")
    if not isinstance(hold_outputs, bool | np.bool_):
        raise ValueError(f"hold_outputs: got {hold_outputs!r}, expected True or False")
    if hold_outputs and mask is None:
        raise ValueError("hold_outputs: got True without a mask, expected a mask")
    driver = find_driver(method)
    arrays = _check_arrays(cell, _Arrays(params, xs, state, lengths, mask, resets, key))
    flags = _Flags(bool(reverse), bool(hold_outputs), bool(states))
    try:
        full = _compiled(cell, driver, flags)(arrays)
    except TypeError as error:
        is_cudnn = driver is not None and driver.name == "cudnn"
        if not is_cudnn or "forward-mode" not in str(error):
            raise
        raise TypeError("cudnn: forward mode: not served; use method='scan'") from error
    if driver is not None and driver.check is not None:
        # Outside of `_run`, because JAX wraps an error that is raised inside of jit.
        for info in jax.tree.leaves(full.info, is_leaf=lambda a: isinstance(a, Info)):
            driver.check(info)
    return full


class _Flags(NamedTuple):
    """The arguments of `_run` that are true or false."""

    reverse: bool
    hold_outputs: bool
    keep_states: bool


class _Arrays(NamedTuple):
    """The arguments of `_run` that hold arrays."""

    params: Params
    xs: Array
    state: State | None
    lengths: Array | None
    mask: Array | None
    resets: Array | None
    key: Array | None


def _check_arrays(cell: Cell, arrays: _Arrays) -> _Arrays:
    """Returns JAX arrays; raises ValueError if one has a wrong shape, dtype or value."""
    params, xs, state, lengths, mask, resets, key = arrays
    xs = check_xs(cell, xs)
    batch_shape = xs.shape[1 : xs.ndim - cell.x_ndim]
    if state is not None:
        if key is not None:
            raise ValueError("key: got with a state, expected one of the two: the state holds it")
        state = jax.tree.map(jnp.asarray, state)
    if key is not None:
        key = check_key(key)
    if lengths is not None:
        lengths = check_lengths(lengths, xs.shape[0], batch_shape)
    steps_shape = xs.shape[: 1 + len(batch_shape)]
    if mask is not None:
        mask = check_steps("mask", mask, steps_shape)
    if resets is not None:
        resets = check_steps("resets", resets, steps_shape)
    return _Arrays(params, xs, state, lengths, mask, resets, key)


# Compiled here, so that a call outside of jit compiles once for a cell and not at every call. The
# programs of cells that were not used for a long time are dropped.
@functools.lru_cache(maxsize=MOST_CELLS)
def _compiled(cell: Cell, driver: Driver | None, flags: _Flags) -> Callable[[_Arrays], Unrolled]:
    def run(arrays: _Arrays) -> Unrolled:
        return _run(cell, driver, flags, arrays)

    return jax.jit(run)


def _run(cell: Cell, driver: Driver | None, flags: _Flags, arrays: _Arrays) -> Unrolled:
    params, xs, state, lengths, mask, resets, key = arrays
    valid = valid_steps(lengths, xs.shape[0])
    if valid is not None and resets is not None:
        resets = resets & valid
    if mask is not None:
        valid = mask if valid is None else valid & mask
    batch_shape = xs.shape[1 : xs.ndim - cell.x_ndim]
    if state is None:
        state = new_state(cell, params, batch_shape, key)
    else:
        state = check_state(cell, params, state, batch_shape)
    state = match_varying_axes(state, params, xs, valid, resets, state)
    # Zeroed once here, so that combinators can rely on zeros where no step is valid.
    xs = zero_unless(valid, xs)

    def run(call: DriverCall) -> Unrolled:
        if call.cell.unroll is not None:
            return call.cell.unroll(run, call)
        check_step(call.cell, call.params, call.state, call.x_t)
        chosen, reason = (driver, "asked for") if driver else choose_driver(call)
        run_driver = functools.partial(chosen.run, **dict(chosen.settings))
        # cuDNN has no loop of this library, and its driver checks the dtypes of the call.
        full = run_driver(call) if chosen.name == "cudnn" else run_wide(run_driver, call)
        reason += _slow_products(full.ys)
        return full._replace(
            ys=hold_last_outputs(call.contract, full.ys),
            info=dataclasses.replace(full.info, reason=reason),
        )

    contract = Contract(valid, resets, flags.reverse, lengths, mask is not None, flags.hold_outputs)
    return run(DriverCall(cell, params, xs, state, contract, flags.keep_states))


def _slow_products(ys: Any) -> str:
    """Returns a note if the outputs have a low dtype that `sm.matmul` computes in float32 here."""
    floats = {a.dtype for a in jax.tree.leaves(ys) if jnp.issubdtype(a.dtype, jnp.floating)}
    slow = sorted(d.name for d in floats if is_low(d) and not is_fast_on_cpu(d))
    if not slow or jax.default_backend() != "cpu":
        return ""
    return f"; products in {', '.join(slow)} run in float32, which this CPU multiplies faster"
