"""`sm.unroll_full` under `jax.vmap`: a mapped axis of the inputs becomes a batch axis."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from seqmodels.drivers.unroll import unroll_full
from seqmodels.types import Array, Cell, Driver, Params, State


class Sequences(NamedTuple):
    """xs: inputs (T, *batch, D). state: leaves (*batch, ...). lengths: int (*batch), or None."""

    xs: Array
    state: State
    lengths: Array | None


class Result(NamedTuple):
    """final_state, ys and states as in `sm.unroll_full`."""

    final_state: State
    ys: Array
    states: State


def unroll_vmapped(
    cell: Cell,
    params: Params,
    sequences: Sequences,
    *,
    reverse: bool = False,
    method: str | Driver = "auto",
    states: bool = False,
) -> Result:
    """Returns what `sm.unroll_full` returns, and trains faster if `jax.vmap` maps the inputs.

    Under `jax.vmap`, a driver with a backward pass of its own computes the parameters' gradient of
    each example and sums them afterwards. Here the mapped axis is a batch axis if the inputs are
    mapped and the parameters are not. So one matrix product sums over the examples.

    Args:
      cell: see `sm.unroll`.
      params: see `sm.unroll`.
      sequences: inputs, state and lengths.
      reverse: see `sm.unroll`.
      method: see `sm.unroll`.
      states: see `sm.unroll_full`.
    """

    def run(params: Params, sequences: Sequences) -> Result:
        xs, state, lengths = sequences
        options: dict[str, Any] = {"reverse": reverse, "method": method, "states": states}
        full = unroll_full(cell, params, xs, state, lengths=lengths, **options)
        return Result(full.final_state, full.ys, full.states)

    if not _is_only_mapped(params, sequences):
        return run(params, sequences)
    mapped = custom_vmap(run)

    @mapped.def_vmap
    def _rule(
        size: int, in_batched: tuple[Any, Sequences], params: Params, sequences: Sequences
    ) -> tuple[Result, Result]:
        params_batched, sequences_batched = in_batched
        if any(jax.tree.leaves(params_batched)):
            axes = jax.tree.map(lambda is_batched: 0 if is_batched else None, in_batched)
            result = jax.vmap(run, in_axes=axes, axis_size=size)(params, sequences)
        else:
            xs, state, lengths = jax.tree.map(
                lambda is_batched, a: a if is_batched else jnp.broadcast_to(a, (size, *a.shape)),
                sequences_batched,
                sequences,
            )
            moved = Sequences(jnp.moveaxis(xs, 0, 1), state, lengths)
            result = unroll_vmapped(
                cell, params, moved, reverse=reverse, method=method, states=states
            )
            ys, visited = jax.tree.map(lambda a: jnp.moveaxis(a, 1, 0), result[1:])
            result = Result(result.final_state, ys, visited)
        return result, jax.tree.map(lambda _: True, result)

    return mapped(params, sequences)


def _is_only_mapped(params: Params, sequences: Sequences) -> bool:
    """Returns whether `jax.vmap` maps the inputs, not the parameters, and is the innermost.

    Inside of `jax.vmap(jax.grad(...))` the gradient of each example is asked for, and `custom_vmap`
    cannot be differentiated. There a sum over all arrays has a tracer of `jax.grad`.
    """
    if not _is_mapped(sequences.xs) or any(map(_is_mapped, jax.tree.leaves(params))):
        return False
    arrays = jax.tree.leaves((params, sequences.xs, sequences.state))
    return _is_mapped(sum(jnp.sum(array) for array in arrays))


def _is_mapped(array: Any) -> bool:
    return type(array).__name__ == "BatchTracer"  # JAX exports no name for this class
