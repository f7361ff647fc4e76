"""A pair of cells that reads a sequence in both directions."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.cells.stages import check_cells, new_state, reset_state
from seqmodels.drivers.contract import valid_steps
from seqmodels.types import Array, Cell, Contract, DriverCall, Params, Run, State, Unrolled


class Bidirectional(NamedTuple):
    """Parameters, states or infos of a bidirectional pair."""

    forward: Any
    backward: Any


def bidirectional(forward: Cell, backward: Cell) -> Cell:
    """Returns the pair that reads a sequence in both directions and concatenates the outputs.

    y_t is the concatenation of both cells' outputs at t along the last axis, the forward cell's
    first. The backward cell begins each sequence at its last valid step. `resets` mark where a
    packed piece begins in the direction of the call; the other direction begins each piece at its
    other end. Under `reverse=True` the forward cell reads from the end and the backward cell from
    the start. The pair serves whole sequences only.

    Schuster, Paliwal 1997, "Bidirectional Recurrent Neural Networks", IEEE Transactions on Signal
    Processing 45(11).

    Args:
      forward: the cell that reads from the start.
      backward: the cell that reads from the end; its input has the shape of the forward cell's.

    Returns:
      A `Cell` whose parameters and state are `Bidirectional` pairs.

    Raises:
      TypeError: if an argument is not a `Cell`; by the step of the pair, always.

    Examples:
      >>> cell, xs = sm.bidirectional(sm.gru(3, 4), sm.gru(3, 4)), jnp.ones((5, 2, 3))
      >>> params = cell.init(jax.random.key(0))
      >>> (forward, backward), ys = sm.unroll(cell, params, xs, lengths=jnp.array([5, 2]))
      >>> forward.h.shape, ys.shape
      ((2, 4), (5, 2, 8))
    """
    check_cells("bidirectional", forward, backward)

    def init(key: Array) -> Bidirectional:
        key_f, key_b = jax.random.split(key)
        return Bidirectional(forward.init(key_f), backward.init(key_b))

    def initial_state(
        params: Params, batch_shape: Sequence[int] = (), key: Array | None = None
    ) -> Bidirectional:
        key_f, key_b = (None, None) if key is None else jax.random.split(key)
        return Bidirectional(
            new_state(forward, params.forward, batch_shape, key_f),
            new_state(backward, params.backward, batch_shape, key_b),
        )

    def step(params: Params, state: State, x_t: Array) -> tuple[State, Array]:
        raise TypeError(
            "bidirectional: cannot take one step, because it reads whole sequences; use sm.unroll"
        )

    def reset(params: Params, state: Bidirectional) -> Bidirectional:
        return Bidirectional(
            reset_state(forward, params.forward, state.forward),
            reset_state(backward, params.backward, state.backward),
        )

    def unroll(run: Run, call: DriverCall) -> Unrolled:
        f = run(call._replace(cell=forward, params=call.params.forward, state=call.state.forward))
        b = run(
            call._replace(
                cell=backward,
                params=call.params.backward,
                state=call.state.backward,
                contract=_opposite(call.contract),
            )
        )
        return Unrolled(
            final_state=Bidirectional(f.final_state, b.final_state),
            ys=jnp.concatenate([f.ys, b.ys], axis=-1),
            states=Bidirectional(f.states, b.states),
            info=Bidirectional(f.info, b.info),
        )

    return Cell(init, initial_state, step, reset=reset, unroll=unroll, x_ndim=forward.x_ndim)


def _opposite(contract: Contract) -> Contract:
    """Returns the contract of the same pieces read in the other direction.

    If a piece begins at t in one direction, the piece before it ends at t - 1. In the other
    direction it is t - 1 that begins a piece. Padding has no resets.
    """
    resets, reverse = contract.resets, contract.reverse
    if resets is not None:
        outside = jnp.zeros_like(resets[:1])
        resets = jnp.concatenate([outside, resets[:-1]] if reverse else [resets[1:], outside])
        inside = valid_steps(contract.lengths, resets.shape[0])
        resets = resets if inside is None else resets & inside
    return contract._replace(resets=resets, reverse=not reverse)
