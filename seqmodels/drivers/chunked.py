"""Very long sequences: the fused backward pass within a budget of memory.

The sequence is cut into segments of S steps. The forward pass keeps the state before each segment;
the backward pass runs one segment again, from the last to the first, and takes it back with the
fused driver (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174).
What remains proportional to T is what the caller holds anyway: outputs and their cotangents.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from seqmodels.cells.stages import check_size, reset_state
from seqmodels.drivers.contract import vary_like
from seqmodels.drivers.fused.driver import CHUNK, run_fused
from seqmodels.drivers.memory_plan import choose_plan, parse_bytes
from seqmodels.drivers.reshape import as_rows, as_steps, chunk_size, cut, joined
from seqmodels.drivers.scan import widened
from seqmodels.drivers.stage_analysis import require_stages
from seqmodels.types import Array, Cell, Contract, Driver, Info, Params, State, Unrolled


def chunked(
    *,
    memory_budget: int | str | None = None,
    segment: int | None = None,
    inputs_gradient: bool = False,
) -> Driver:
    """Returns the driver that trains through long sequences in little memory.

    It serves cells in stages. Given a budget, the whole sequence is run as `sm.fused` does it if
    that fits, and otherwise in segments of about sqrt(T) steps; `Info.plan` tells which, and the
    predicted peak. The prediction is of the memory that a gradient step takes beside its arguments,
    on one device and for one call: outputs, their cotangents, and what this driver keeps. What the
    loss keeps of its own, the states that `unroll_full` returns, the layers of a stack beside this
    one, and the size of a `jax.vmap` around the call are not in it.

    Args:
      memory_budget: bytes, or text such as "300MB" or "2GiB"; None for the lowest peak.
      segment: S, steps a segment, in the place of a budget.
      inputs_gradient: whether the gradient of xs will be asked for, as it is in every layer of a
        stack but the first; it is as large as xs, and counts in the prediction.

    Returns:
      A `Driver`. Where no plan fits the budget, it raises a ValueError that names the smallest
      budget that would do, and the plan and peak that go with it.

    Raises:
      ValueError: if `memory_budget` is not a positive number of bytes, if `segment` is not a
        positive integer, or if both are given.
    """
    if segment is not None:
        check_size("chunked", segment=segment)
        if memory_budget is not None:
            raise ValueError("chunked: segment: got with a memory_budget, expected one of the two")
        segment = int(segment)
    budget = None if memory_budget is None else parse_bytes(memory_budget)
    settings = {
        "memory_budget": budget,
        "segment": segment,
        "inputs_gradient": bool(inputs_gradient),
    }
    return Driver("chunked", _run, tuple(settings.items()))


def _run(
    cell: Cell,
    params: Params,
    xs: Array,
    state: State,
    contract: Contract,
    keep_states: bool,
    *,
    memory_budget: int | None,
    segment: int | None,
    inputs_gradient: bool,
) -> Unrolled:
    require_stages("chunked", cell)
    fresh = None if contract.resets is None else reset_state(cell, params, state)
    plan = choose_plan(
        cell,
        params,
        xs,
        state,
        contract,
        budget=memory_budget,
        segment=segment,
        inputs_gradient=inputs_gradient,
        chunk=CHUNK,
    )
    full = run_segments(cell, params, xs, state, fresh, contract, keep_states, plan.segment)
    return full._replace(info=Info("chunked", plan=str(plan)))


def run_segments(
    cell: Cell,
    params: Params,
    xs: Array,
    state: State,
    fresh: State,
    contract: Contract,
    keep_states: bool,
    segment: int,
) -> Unrolled:
    """Unrolls segments of `segment` steps, each to be run again in the backward pass.

    Steps that are left over are a segment of their own, the last one in the order of processing.
    """
    num_steps = xs.shape[0]
    if segment >= num_steps:
        K = chunk_size(num_steps, CHUNK)
        return run_fused(cell, params, xs, state, fresh, contract, keep_states, chunk=K, save=False)
    varying = (params, xs, state, contract.valid, contract.resets)
    state, params, fresh = (vary_like(a, *varying) for a in (state, params, fresh))
    wide, narrow = widened(params)

    batch_shape = xs.shape[1 : xs.ndim - cell.x_ndim]

    @functools.partial(jax.checkpoint, static_argnums=(4,))
    def run(wide: Params, state: State, fresh: State, rows: Any, size: int) -> tuple[State, Any]:
        # Cut up in here, so that what is kept for the backward pass is xs itself and no copy.
        xs, valid, resets = as_steps(rows, size, batch_shape)
        part = Contract(valid, resets, contract.reverse)
        K = chunk_size(size, CHUNK)
        full = run_fused(
            cell, narrow(wide), xs, state, fresh, part, keep_states, chunk=K, save=False
        )
        return full.final_state, as_rows((full.ys, full.states), len(batch_shape))

    num_segments, rest = divmod(num_steps, segment)
    inputs = (xs, contract.valid, contract.resets)
    whole = slice(rest, None) if contract.reverse else slice(num_segments * segment)
    remainder = slice(rest) if contract.reverse else slice(num_segments * segment, None)
    pieces = jax.tree.map(lambda a: a[whole], inputs) if rest else inputs
    state, out = lax.scan(
        lambda state, rows: run(wide, state, fresh, rows, segment),
        state,
        cut(pieces, num_segments, batch_shape),
        reverse=contract.reverse,
    )
    out = joined(out, num_segments * segment, batch_shape)
    if rest:
        rows = as_rows(jax.tree.map(lambda a: a[remainder], inputs), len(batch_shape))
        state, last = run(wide, state, fresh, rows, rest)
        last = as_steps(last, rest, batch_shape)
        both = (last, out) if contract.reverse else (out, last)
        out = jax.tree.map(lambda *a: jnp.concatenate(a), *both)
    ys, states = out
    return Unrolled(state, ys, states, Info("chunked"))
