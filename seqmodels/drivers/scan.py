"""The reference driver: `jax.lax.scan`, differentiated by JAX."""

from typing import Any

import jax
import jax.numpy as jnp

from seqmodels.cells.stages import reset_state
from seqmodels.drivers.contract import select, vary_like, zero_unless
from seqmodels.types import Array, Cell, Contract, Driver, Info, Params, State, Unrolled


def scan() -> Driver:
    """Returns the driver that runs any cell under `jax.lax.scan`.

    Backpropagation through time is JAX's own: it saves what every step needs, T times. Forward
    mode and second derivatives work. Gradients of low-precision parameters are summed over time in
    float32.
    """
    return Driver("scan", _run)


def _run(
    cell: Cell,
    params: Params,
    xs: Array,
    state: State,
    contract: Contract,
    keep_states: bool,
) -> Unrolled:
    fresh = None
    if contract.resets is not None:
        fresh = vary_like(reset_state(cell, params, state), state)
    wide, narrow = widened(params)
    # The step runs in the padding too, and its result is dropped. Ones, because zero is where a
    # norm, a logarithm, a root or a quotient has no derivative, and 0 * NaN would reach params.
    xs = xs if contract.valid is None else select(contract.valid, xs, jnp.ones_like(xs))

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


def widened(params: Params) -> tuple[Params, Any]:
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
