"""The reference driver: `jax.lax.scan`, differentiated by JAX."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqmodels.cells.stages import reset_state
from seqmodels.drivers.contract import filled, select, vary_like, zero_unless
from seqmodels.types import Array, Cell, Contract, Driver, Info, Params, State, Unrolled


def scan() -> Driver:
    """Returns the driver that runs any cell under `jax.lax.scan`.

    Backpropagation through time is JAX's own: it saves what every step needs, T times. Forward
    mode and second derivatives work. Gradients of low-precision parameters are summed over time in
    float32.
    """
    return Driver("scan", run)


def run(
    cell: Cell,
    params: Params,
    xs: Array,
    state: State,
    contract: Contract,
    keep_states: bool,
) -> Unrolled:
    """Runs a cell that `sm.unroll` has checked; see `Driver.run`."""
    fresh = None
    if contract.resets is not None:
        fresh = vary_like(reset_state(cell, params, state), state)
    wide, narrow = widened(params)
    xs = filled(contract.valid, xs)

    def body(state: State, inputs: Any) -> tuple[State, Any]:
        x_t, valid_t, reset_t = inputs
        entered = select(reset_t, fresh, state)
        left, y_t = cell.step(narrow(wide), entered, x_t)
        left = left if valid_t is None else select(valid_t, left, state)
        return left, (y_t, left if keep_states else None)

    inputs = (xs, contract.valid, contract.resets)
    final_state, (ys, states) = jax.lax.scan(body, state, inputs, reverse=contract.reverse)
    ys = zero_unless(contract.valid, ys)
    return Unrolled(final_state, ys, states, Info("scan"))


def widened(params: Params) -> tuple[Params, Callable[[Params], Params]]:
    """Returns the parameters in at least float32, and the function that casts them back.

    The cast stands inside the loop, so its transpose does too, and the gradient that the loop sums
    over T steps is a float32 one.
    """

    def widen(a: Array) -> Array:
        if jnp.issubdtype(a.dtype, jnp.floating):
            return a.astype(jnp.promote_types(a.dtype, jnp.float32))
        return a

    dtypes = jax.tree.map(lambda a: a.dtype, params)
    wide = jax.tree.map(widen, params)
    return wide, lambda tree: jax.tree.map(lambda a, d: a.astype(d), tree, dtypes)
