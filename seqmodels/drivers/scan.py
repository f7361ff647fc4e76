"""The reference driver: `jax.lax.scan`, differentiated by JAX."""

from collections.abc import Callable
from typing import Any

import jax

from seqmodels.cells.stages import reset_state
from seqmodels.drivers.contract import fill_padding, tree_where, zero_unless
from seqmodels.pytrees import match_varying_axes, widen
from seqmodels.types import Driver, DriverCall, Info, Params, State, Unrolled


def scan() -> Driver:
    """Returns the driver that runs any cell under `jax.lax.scan`.

    Backpropagation through time is JAX's own: it saves T times what the backward pass of one step
    needs. Forward mode and second derivatives work. Gradients of low-precision parameters are
    summed over time in float32.

    Examples:
      >>> cell, xs = sm.rnn(3, 4), jnp.ones((5, 2, 3))
      >>> state, ys = sm.unroll(cell, cell.init(jax.random.key(0)), xs, method=sm.scan())
      >>> ys.shape
      (5, 2, 4)
    """
    return Driver("scan", run_scan)


def run_scan(call: DriverCall) -> Unrolled:
    """Unrolls the cell of a call; see `Driver.run`."""
    contract = call.contract
    fresh = None
    if contract.resets is not None:
        fresh = match_varying_axes(reset_state(call.cell, call.params, call.state), call.state)
    wide, narrow = widen_params(call.params)
    xs = fill_padding(contract.valid, call.xs)

    def body(state: State, inputs: Any) -> tuple[State, Any]:
        x_t, valid_t, reset_t = inputs
        before = tree_where(reset_t, fresh, state)
        after, y_t = call.cell.step(narrow(wide), before, x_t)
        after = after if valid_t is None else tree_where(valid_t, after, before)
        return after, (y_t, after if call.keep_states else None)

    inputs = (xs, contract.valid, contract.resets)
    final_state, (ys, states) = jax.lax.scan(body, call.state, inputs, reverse=contract.reverse)
    ys = zero_unless(contract.valid, ys)
    return Unrolled(final_state, ys, states, Info("scan"))


def widen_params(params: Params) -> tuple[Params, Callable[[Params], Params]]:
    """Returns the parameters in at least float32, and the function that casts them back.

    The cast is inside the loop, and so is its transpose. Hence the gradient that the loop sums
    over T steps is in float32.
    """
    dtypes = jax.tree.map(lambda a: a.dtype, params)
    return widen(params), lambda tree: jax.tree.map(lambda a, d: a.astype(d), tree, dtypes)
