"""The one entry: take a cell through time."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqmodels.cells.stages import new_state
from seqmodels.drivers import contract as rules
from seqmodels.drivers.auto import choose, find_driver
from seqmodels.types import Array, Cell, Contract, Driver, Info, Params, State, Unrolled


def unroll(
    cell: Cell,
    params: Params,
    xs: Any,
    state: State | None = None,
    *,
    lengths: Any = None,
    resets: Any = None,
    reverse: bool = False,
    key: Array | None = None,
    method: str | Driver = "auto",
) -> tuple[State, Any]:
    """Takes a cell through time: `state, y_t = cell.step(params, state, x_t)` for every t.

    Args:
      cell: a `Cell`.
      params: its parameters.
      xs: inputs (T, *batch, D), with any number of batch axes, also none; T may be 0.
      state: the state before the first step, leaves (*batch, ...); None for the cell's own.
      lengths: int (*batch), 0 <= length <= T: how many steps of each sequence are valid. Outputs
        after the end are exactly zero, the final state is the one after the last valid step, and
        padded inputs get a gradient of exactly zero, whatever they hold, NaN included.
      resets: bool (T, *batch): where true the state is replaced by `cell.reset` (by default the
        cell's own initial state) before `x_t` is read, so that several sequences can be packed into
        one row. A NaN state does not survive a reset; the parameters' gradient through the steps
        that were NaN is NaN all the same.
      reverse: whether to go from the last step to the first. Outputs stay where their inputs are,
        padding is passed over, and "before" is meant in the order of processing.
      key: PRNG key for what is random over a whole sequence, such as dropout masks; short for
        `state=cell.initial_state(params, batch_shape, key=key)`. Without it there is no dropout. In
        `shard_map`, fold `jax.lax.axis_index` into it, or every device draws the same masks.
      method: "auto", the name of a driver, or a driver with its settings such as
        `sm.fused(chunk=64)`. "auto" takes the one that was measured to train fastest: `sm.fused`
        for cells in stages, `sm.chunked` where keeping all states would take more than 4 GiB,
        otherwise `sm.scan`.

    Returns:
      (final_state, ys), ys (T, *batch, H).

    Raises:
      TypeError: if `cell` is not a `Cell`, or not one that the driver asked for can run.
      ValueError: if an argument has a wrong shape, dtype or value, if a step does not return a
        state like the one it was given, or if both `state` and `key` are given.
        Lengths out of range are found where their values are known, so not under jit.
    """
    full = _checked(cell, params, xs, state, lengths, resets, reverse, key, method, False)
    return full.final_state, full.ys


def unroll_full(
    cell: Cell,
    params: Params,
    xs: Any,
    state: State | None = None,
    *,
    lengths: Any = None,
    resets: Any = None,
    reverse: bool = False,
    key: Array | None = None,
    method: str | Driver = "auto",
    states: bool = True,
) -> Unrolled:
    """Does what `unroll` does and returns the state after every step too, and what ran.

    Args:
      cell: as in `unroll`; so are all the other arguments.
      params: see `unroll`.
      xs: see `unroll`.
      state: see `unroll`.
      lengths: see `unroll`.
      resets: see `unroll`.
      reverse: see `unroll`.
      key: see `unroll`.
      method: see `unroll`.
      states: whether to return the states; False spares the memory where only `info` is wanted.

    Returns:
      `Unrolled`: (final_state, ys, states, info), leaves of states (T, *batch, ...), or None.

    Raises:
      ValueError: as `unroll` does.
    """
    return _checked(cell, params, xs, state, lengths, resets, reverse, key, method, bool(states))


def _checked(
    cell: Cell,
    params: Params,
    xs: Any,
    state: State | None,
    lengths: Any,
    resets: Any,
    reverse: bool,
    key: Array | None,
    method: str | Driver,
    keep_states: bool,
) -> Unrolled:
    if not isinstance(cell, Cell):
        raise TypeError(f"unroll: cell: got a {type(cell).__name__}, expected a Cell")
    if not isinstance(reverse, bool | np.bool_):
        raise ValueError(f"reverse: got {reverse!r}, expected True or False")
    driver = find_driver(method)
    xs = rules.check_xs(cell, xs)
    batch_shape = xs.shape[1 : xs.ndim - cell.x_ndim]
    if state is not None:
        if key is not None:
            raise ValueError("key: got with a state, expected one of the two: the state holds it")
        state = jax.tree.map(jnp.asarray, state)
    if key is not None:
        key = rules.check_key(key)
    if lengths is not None:
        lengths = rules.check_lengths(lengths, xs.shape[0], batch_shape)
    if resets is not None:
        resets = rules.check_resets(resets, xs.shape[: 1 + len(batch_shape)])
    static = cell, driver, bool(reverse), keep_states
    try:
        full = _run(*static, params, xs, state, lengths, resets, key)
    except TypeError as error:
        scanned = driver is not None and driver.name in ("scan", "associative")
        if scanned or "forward-mode" not in str(error) or "custom_vjp" not in str(error):
            raise
        raise TypeError(
            "unroll: forward mode (jax.jvp, jax.jacfwd, jax.hessian) is not for a driver with a "
            "backward pass of its own; use method='scan'"
        ) from error
    if driver is not None and driver.check is not None:
        # Out here, because an error that is raised inside of jit arrives wrapped in one of JAX.
        for info in jax.tree.leaves(full.info, is_leaf=lambda a: isinstance(a, Info)):
            driver.check(info)
    return full


# Compiled by itself, so that a call outside of jit compiles once a cell and not once a call.
@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _run(
    cell: Cell,
    driver: Driver | None,
    reverse: bool,
    keep_states: bool,
    params: Params,
    xs: Array,
    state: State | None,
    lengths: Array | None,
    resets: Array | None,
    key: Array | None,
) -> Unrolled:
    valid = rules.valid_steps(lengths, xs.shape[0])
    if valid is not None and resets is not None:
        resets = resets & valid
    batch_shape = xs.shape[1 : xs.ndim - cell.x_ndim]
    if state is None:
        state = new_state(cell, params, batch_shape, key)
    else:
        state = rules.check_state(cell, params, state, batch_shape)
    state = rules.vary_like(state, params, xs, lengths, resets, state)
    # Zeroed once here, so that combinators can rely on zeros in the padding.
    xs = rules.zero_unless(valid, xs)

    def run(cell: Cell, params: Params, xs: Array, state: State, contract: Contract) -> Unrolled:
        if cell.unroll is not None:
            return cell.unroll(run, params, xs, state, contract)
        rules.check_step(cell, params, state, xs)
        chosen, reason = (driver, "asked for") if driver else choose(cell, params, xs, state)
        full = chosen.run(cell, params, xs, state, contract, keep_states, **dict(chosen.settings))
        return full._replace(info=dataclasses.replace(full.info, reason=reason))

    return run(cell, params, xs, state, Contract(valid, resets, reverse))
