"""The driver for very long sequences: the fused backward pass within a budget of memory.

The sequence is cut into segments of S steps. The forward pass keeps the state before each segment.
The backward pass runs each segment again, from the last to the first, and differentiates it with
the fused driver. Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost" (arXiv
1604.06174). Only outputs and their cotangents, which the caller holds anyway, grow with T.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from seqmodels.cells.stages import check_size, reset_state
from seqmodels.drivers.fused.driver import CHUNK, run_fused
from seqmodels.drivers.memory_plan import choose_plan, parse_bytes
from seqmodels.drivers.reshape import (
    chunk_size,
    merge_chunks,
    merge_time_batch,
    split_chunks,
    split_time_batch,
)
from seqmodels.drivers.scan import widen_params
from seqmodels.drivers.stage_analysis import require_stages
from seqmodels.pytrees import match_varying_axes
from seqmodels.types import Contract, Driver, DriverCall, Info, Params, State, Unrolled


def chunked(
    *,
    memory_budget: int | str | None = None,
    segment: int | None = None,
    inputs_gradient: bool = False,
) -> Driver:
    """Returns the driver that trains on long sequences in little memory.

    It serves cells in stages. If the whole sequence fits the budget, it runs as under `sm.fused`;
    otherwise in segments of about sqrt(T) steps. `Info.plan` names the plan and its predicted peak.
    The prediction is the memory of a gradient step without its arguments, on one device and for one
    call: outputs, their cotangents, and the arrays that this driver keeps. It leaves out what the
    loss keeps, the states that `unroll_full` returns, and other layers of a stack. A `jax.vmap`
    around the call multiplies it.

    Args:
      memory_budget: bytes, or text such as "300MB" or "2GiB"; None for the lowest peak.
      segment: S, steps a segment, instead of a budget.
      inputs_gradient: whether the gradient of xs is needed, as in every layer of a stack but the
        first. It is as large as xs, and counts in the prediction.

    Returns:
      A `Driver`. If no plan fits the budget, running it raises a ValueError that names the smallest
      possible budget with its plan and peak.

    Raises:
      ValueError: if `memory_budget` is not a positive number of bytes, if `segment` is not a
        positive integer, or if both are given.

    Examples:
      >>> cell, xs = sm.lstm(3, 4), jnp.ones((500, 2, 3))
      >>> method = sm.chunked(memory_budget="200KB")  # or segment=25, in steps
      >>> full = sm.unroll_full(cell, cell.init(jax.random.key(0)), xs, method=method, states=False)
      >>> full.info.method, full.ys.shape
      ('chunked', (500, 2, 4))
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
    call: DriverCall, *, memory_budget: int | None, segment: int | None, inputs_gradient: bool
) -> Unrolled:
    require_stages("chunked", call.cell)
    fresh = None
    if call.contract.resets is not None:
        fresh = reset_state(call.cell, call.params, call.state)
    plan = choose_plan(
        call,
        budget=memory_budget,
        segment=segment,
        inputs_gradient=inputs_gradient,
        chunk=CHUNK,
    )
    full = run_segments(call, fresh, plan.segment)
    return full._replace(info=Info("chunked", plan=str(plan)))


def run_segments(call: DriverCall, fresh: State, segment: int) -> Unrolled:
    """Unrolls segments of `segment` steps, each of which the backward pass runs again.

    Leftover steps are a segment of their own, the last one in the order of processing. `fresh` is
    the state that replaces the state at a reset.
    """
    _, params, xs, state, contract, _ = call
    num_steps, batch_shape = call.num_steps, call.batch_shape
    if segment >= num_steps:
        return run_fused(call, fresh, chunk=chunk_size(num_steps, CHUNK), save=False)
    varying = (params, xs, state, contract.valid, contract.resets)
    state, params, fresh = (match_varying_axes(a, *varying) for a in (state, params, fresh))
    wide, narrow = widen_params(params)

    @functools.partial(jax.checkpoint, static_argnums=(4,))
    def run(wide: Params, state: State, fresh: State, rows: Any, size: int) -> tuple[State, Any]:
        # Split in here, so that the backward pass keeps xs itself and not a copy.
        xs, valid, resets = split_time_batch(rows, size, batch_shape)
        piece = call._replace(
            params=narrow(wide),
            xs=xs,
            state=state,
            contract=Contract(valid, resets, contract.reverse),
        )
        full = run_fused(piece, fresh, chunk=chunk_size(size, CHUNK), save=False)
        return full.final_state, merge_time_batch((full.ys, full.states), len(batch_shape))

    num_segments, rest = divmod(num_steps, segment)
    inputs = (xs, contract.valid, contract.resets)
    whole = slice(rest, None) if contract.reverse else slice(num_segments * segment)
    remainder = slice(rest) if contract.reverse else slice(num_segments * segment, None)
    segments = jax.tree.map(lambda a: a[whole], inputs) if rest else inputs
    state, out = lax.scan(
        lambda state, rows: run(wide, state, fresh, rows, segment),
        state,
        split_chunks(segments, num_segments, batch_shape),
        reverse=contract.reverse,
    )
    out = merge_chunks(out, num_segments * segment, batch_shape)
    if rest:
        rows = merge_time_batch(jax.tree.map(lambda a: a[remainder], inputs), len(batch_shape))
        state, last = run(wide, state, fresh, rows, rest)
        last = split_time_batch(last, rest, batch_shape)
        both = (last, out) if contract.reverse else (out, last)
        out = jax.tree.map(lambda *a: jnp.concatenate(a), *both)
    ys, states = out
    return Unrolled(state, ys, states, Info("chunked"))
