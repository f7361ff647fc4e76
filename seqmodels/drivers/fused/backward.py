"""The backward pass through time of any cell in stages, chunk by chunk."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from seqmodels.drivers.contract import tree_where, zero_unless
from seqmodels.drivers.fused.batch_last import first_axis_last, last_axis_first
from seqmodels.drivers.fused.linearization import (
    LinearizedStage,
    batch_last_transpose,
    linearize_stages,
    state_transpose,
)
from seqmodels.drivers.fused.records import (
    Chunk,
    FusedPlan,
    OutputCotangents,
    Residuals,
    SequenceInputs,
)
from seqmodels.drivers.reshape import (
    merge_chunks,
    merge_time_batch,
    split_chunks,
    split_time_batch,
)
from seqmodels.pytrees import combine, match_varying_axes, partition_floats
from seqmodels.types import Array, Params, State


class _Carry(NamedTuple):
    """Cotangents that are carried from chunk to chunk."""

    state: State
    params: Params
    fresh: State


class _StageCotangents(NamedTuple):
    """Cotangents of each stage at all steps of a chunk, (K, B, ...).

    Attributes:
      gates: cotangents of the gates.
      results: cotangents of the results of the update, without y_t; None where the update does not
        read parameters.
    """

    gates: list[Any]
    results: list[Any]


def backward(
    plan: FusedPlan, inputs: SequenceInputs, residuals: Residuals, cotangents: OutputCotangents
) -> SequenceInputs:
    """Returns the cotangents of `inputs`; None for non-floating leaves.

    The T mod K leftover steps are last in the forward pass, hence first here.
    """
    num_steps, K = inputs.xs.shape[0], plan.chunk
    num_chunks, rest = divmod(num_steps, K)
    carry = _zero_carry(inputs, cotangents.final_state)
    whole = slice(rest, None) if plan.reverse else slice(num_chunks * K)
    remainder = slice(rest) if plan.reverse else slice(num_chunks * K, None)
    over_time: Any = (inputs.xs, *residuals, *cotangents[1:], inputs.valid, inputs.resets)
    dxs = []
    if rest:
        start = inputs.state
        if num_chunks:
            last = rest if plan.reverse else num_chunks * K - 1
            start = jax.tree.map(lambda a: a[last], residuals.states)
        leftover = Chunk._make((*_slice(over_time, remainder), start))
        carry, dx = _chunk_backward(plan, inputs, carry, leftover)
        dxs.append(dx)
    if num_chunks:
        batch = inputs.xs.shape[1:2]
        over_chunks = _slice(over_time, whole) if rest else over_time
        gates = None
        if plan.batch_last:  # gates without a batch axis next to the time axis
            gates = jax.tree.map(lambda a: a.reshape((num_chunks, K, *a.shape[1:])), over_chunks[2])
            over_chunks = (*over_chunks[:2], None, *over_chunks[3:])

        def body(carry: _Carry, of_chunk: Any) -> tuple[_Carry, Any]:
            rows, gates, start = of_chunk
            chunk = Chunk._make((*split_time_batch(rows, K, batch), start))
            if plan.batch_last:
                chunk = chunk._replace(gates=gates)
            carry, dx = _chunk_backward(plan, inputs, carry, chunk)
            return carry, merge_time_batch(dx)

        starts = _start_states(plan, inputs.state, over_chunks[1])
        rows = split_chunks(over_chunks, num_chunks, batch)
        carry, dx = lax.scan(body, carry, (rows, gates, starts), reverse=not plan.reverse)
        dxs.insert(len(dxs) if plan.reverse else 0, merge_chunks(dx, num_chunks * K, batch))
    dxs = jax.tree.map(lambda *a: jnp.concatenate(a) if len(a) > 1 else a[0], *dxs)
    params = partition_floats(inputs.params)[0]
    dparams = jax.tree.map(lambda d, p: d.astype(p.dtype), carry.params, params)
    return SequenceInputs(dparams, dxs, carry.state, None, carry.fresh, None, None)


def _zero_carry(inputs: SequenceInputs, dfinal: State) -> _Carry:
    """Returns the carry before the first chunk.

    Weight gradients are accumulated in at least float32.
    """
    dparams = jax.tree.map(
        lambda p: jnp.zeros(p.shape, jnp.promote_types(p.dtype, jnp.float32)),
        partition_floats(inputs.params)[0],
    )
    dfresh = None
    if inputs.resets is not None:
        dfresh = jax.tree.map(jnp.zeros_like, partition_floats(inputs.fresh)[0])
    return match_varying_axes(_Carry(dfinal, dparams, dfresh), dfinal, inputs)


def _slice(tree: Any, steps: slice) -> Any:
    return jax.tree.map(lambda a: a[steps], tree)


def _start_states(plan: FusedPlan, state: State, states: State) -> State:
    """Returns the state before each chunk, from the states after every step (N * K, B, ...)."""

    def start(first: Array, after: Array) -> Array:
        first = first[None]
        if plan.reverse:
            return jnp.concatenate([after[plan.chunk :: plan.chunk], first])
        return jnp.concatenate([first, after[plan.chunk - 1 : -1 : plan.chunk]])

    return jax.tree.map(start, state, states)


def _states_read(plan: FusedPlan, inputs: SequenceInputs, chunk: Chunk) -> State:
    """Returns the state that each step of a chunk reads, constant leaves included."""

    def shift(start: Array, after: Array) -> Array:
        start = start[None]
        if plan.reverse:
            return jnp.concatenate([after[1:], start])
        return jnp.concatenate([start, after[:-1]])

    state = jax.tree.map(shift, chunk.start, chunk.states)

    def at_all_steps(a: Array) -> Array:
        return jnp.broadcast_to(a, (chunk.xs.shape[0], *a.shape))

    if chunk.resets is not None:
        state = tree_where(chunk.resets, jax.tree.map(at_all_steps, inputs.fresh), state)
    return combine(state, jax.tree.map(at_all_steps, inputs.constants))


def _chunk_backward(
    plan: FusedPlan, inputs: SequenceInputs, carry: _Carry, chunk: Chunk
) -> tuple[_Carry, Array | None]:
    """Carries the cotangents K steps back; also returns dxs (K, B, D)."""
    is_last = plan.batch_last
    stages = linearize_stages(plan, inputs.params, _states_read(plan, inputs, chunk), chunk)
    others_over_time = [partition_floats(stage.state)[1] for stage in stages]
    # An affine function has the same matrix at every x_t, so its transpose is taken at zero. But
    # integers, such as words, may select the matrix.
    zero_x, x_others = jnp.zeros_like(chunk.xs[0]), partition_floats(chunk.xs)[1]
    dys, dstates, carried = chunk.dys, chunk.dstates, (carry.state, carry.fresh)
    transposes: list[Any] = []
    if is_last:
        dys, dstates = first_axis_last((dys, dstates), 1)
        carried = first_axis_last(carried)
        first_x = zero_x if x_others is None else x_others[0]
        for (project, _), stage, others in zip(plan.stages, stages, others_over_time, strict=True):
            others = jax.tree.map(lambda a: a[0], others)
            transposes.append(batch_last_transpose(project, inputs.params, stage, others, first_x))

    def transpose(n: int, dg: Any, others: Any, x_t: Array) -> Any:
        if is_last:
            return transposes[n](dg, (others, x_t))
        return state_transpose(plan.stages[n][0], inputs.params, stages[n], others, x_t)(dg)

    def step(carry: tuple[State, State], inputs_t: Any) -> tuple[tuple[State, State], Any]:
        dstate, dfresh = carry
        coefficients, others, x_other, dy_t, dvisited_t, valid_t, reset_t = inputs_t
        x_t = zero_x if x_other is None else x_other
        if dvisited_t is not None:
            dstate = jax.tree.map(jnp.add, dstate, dvisited_t)
        d: Any = (zero_unless(valid_t, dstate, batch_last=is_last), dy_t)
        dgates, dresults = [], []
        for n in reversed(range(len(stages))):
            # The cotangent of y_t is an input of the chunk; `_parameter_gradients` adds it.
            dresult = d[0] if n + 1 == len(stages) else d
            dresults.append(dresult if plan.analysis.update_reads_params[n] else None)
            dread, dg = stages[n].rebuild(coefficients[n])(d)
            d = jax.tree.map(jnp.add, dread, transpose(n, dg, others[n], x_t))
            dgates.append(dg)
        if valid_t is not None:
            d = tree_where(valid_t, d, dstate, batch_last=is_last)
        if reset_t is not None:
            reset = zero_unless(reset_t, d, batch_last=is_last)
            dfresh = jax.tree.map(jnp.add, dfresh, reset)
            d = zero_unless(~reset_t, d, batch_last=is_last)
        return (d, dfresh), _StageCotangents(dgates[::-1], dresults[::-1])

    (dstate, dfresh), cotangents = lax.scan(
        step,
        carried,
        (
            [stage.coefficients for stage in stages],
            others_over_time,
            x_others,
            dys,
            dstates,
            chunk.valid,
            chunk.resets,
        ),
        reverse=not plan.reverse,
    )
    if is_last:
        dstate, dfresh = last_axis_first((dstate, dfresh))
        cotangents = last_axis_first(cotangents, 1)
    dparams, dx = _parameter_gradients(
        plan, inputs.params, chunk, stages, cotangents, total=carry.params
    )
    return _Carry(dstate, dparams, dfresh), dx


def _parameter_gradients(
    plan: FusedPlan,
    params: Params,
    chunk: Chunk,
    stages: list[LinearizedStage],
    cotangents: _StageCotangents,
    *,
    total: Params,
) -> tuple[Params, Array | None]:
    """Returns `total` plus the gradient of one chunk, and dxs: one product for each matrix."""
    floats, others = partition_floats(params)
    (x_floats, x_others), dx = partition_floats(chunk.xs), None

    def add(total: Array, share: Array) -> Array:
        return total + share.astype(total.dtype)

    for n, ((project, update), stage) in enumerate(zip(plan.stages, stages, strict=True)):

        def of_project(pf: Params, xf: Any, project: Any = project, stage: Any = stage) -> Any:
            rows = merge_time_batch((stage.state, combine(xf, x_others)))
            return partition_floats(project(combine(pf, others), *rows))[0]

        pull_back = jax.vjp(of_project, floats, x_floats)[1]
        dparams, dx_n = pull_back(merge_time_batch(cotangents.gates[n]))
        dx = dx_n if dx is None else jax.tree.map(jnp.add, dx, dx_n)
        total = jax.tree.map(add, total, dparams)
        if plan.analysis.update_reads_params[n]:  # peepholes, scales, shifts: in one sweep
            gates = last_axis_first(stage.gates, 1) if plan.batch_last else stage.gates

            def of_update(
                pf: Params, update: Any = update, stage: Any = stage, gates: Any = gates
            ) -> Any:
                at_one_step = functools.partial(update, combine(pf, others))
                return partition_floats(jax.vmap(at_one_step)(stage.state, gates))[0]

            dresult = cotangents.results[n]
            if n + 1 == len(stages):
                dresult = (dresult, chunk.dys)
            (dparams,) = jax.vjp(of_update, floats)[1](dresult)
            total = jax.tree.map(add, total, dparams)
    return total, dx
