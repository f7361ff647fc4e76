"""Linearization of the stages of a cell at all steps of a chunk."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from seqmodels.drivers.fused.batch_last import batch_last, first_axis_last, last_axis_first
from seqmodels.drivers.fused.layout import update_last
from seqmodels.drivers.fused.linear_program import compress
from seqmodels.drivers.fused.records import Chunk, FusedPlan
from seqmodels.drivers.reshape import merge_time_batch, split_time_batch
from seqmodels.pytrees import combine, partition_floats
from seqmodels.types import Array, Params


class LinearizedStage(NamedTuple):
    """One stage at all steps of a chunk.

    Attributes:
      state: the state that the stage reads, (K, B, ...).
      gates: its gates, (K, B, ...), or (K, ..., B) if the plan stores the batch axis last.
      coefficients: coefficients of the transposed Jacobian of its update, each (K, ...), for
        cotangents in the layout of the gates.
      rebuild: coefficients of one step -> the function from the cotangents of the results of the
        update to the cotangents of (state, gates).
    """

    state: Any
    gates: Any
    coefficients: list[Array]
    rebuild: Callable[[Sequence[Array]], Callable[..., Any]]


def linearize_stages(
    plan: FusedPlan, params: Params, state: Any, chunk: Chunk
) -> list[LinearizedStage]:
    """Runs the stages at all K steps at once and computes the Jacobian of each update."""
    stages = []
    for n, (project, update) in enumerate(plan.stages):
        if chunk.gates is not None:
            gates = chunk.gates[n]
        else:
            gates = project(params, merge_time_batch(state), merge_time_batch(chunk.xs))
            gates = split_time_batch(gates, chunk.xs.shape[0], chunk.xs.shape[1:2])
            gates = first_axis_last(gates, 1) if plan.batch_last else gates
        read = first_axis_last(state, 1) if plan.batch_last else state
        update = update_last(update) if plan.batch_last else update
        coefficients, rebuild = _local_jacobian(update, params, read, gates)
        stages.append(LinearizedStage(state, gates, coefficients, rebuild))
        if n + 1 < len(plan.stages):
            state = jax.vmap(lambda s, g, update=update: update(params, s, g))(read, gates)
            state = last_axis_first(state, 1) if plan.batch_last else state
    return stages


def _local_jacobian(
    update: Callable[..., Any], params: Params, state: Any, gates: Any
) -> tuple[list[Array], Callable[[Sequence[Array]], Callable[..., Any]]]:
    """Returns the transposed Jacobian of `update` at each of K steps, in the form of `compress`."""
    rebuild: Any = None

    def at_one_step(state: Any, gates: Any) -> list[Array]:
        nonlocal rebuild
        (sf, so), (gf, go) = partition_floats(state), partition_floats(gates)

        def of_floats(sf: Any, gf: Any) -> Any:
            return partition_floats(update(params, combine(sf, so), combine(gf, go)))[0]

        out, pull_back = jax.vjp(of_floats, sf, gf)
        coefficients, rebuild = compress(pull_back, out)
        return coefficients

    return jax.vmap(at_one_step)(state, gates), rebuild


def state_transpose(
    project: Callable[..., Any],
    params: Params,
    stage: LinearizedStage,
    others: Any,
    x_t: Array,
) -> Callable[[Any], Any]:
    """Returns the transpose of `project` in the state: cotangents of gates -> of the state."""
    # An array and not a shape: in shard_map it must vary as the data do, or its cotangent would
    # be summed over the devices.
    read = jax.tree.map(lambda a: a[0], partition_floats(stage.state)[0])

    def linear(floats: Any) -> Any:
        return partition_floats(project(params, combine(floats, others), x_t))[0]

    # By `jax.vjp`, because `jax.linear_transpose` ignores custom derivative rules. The
    # value is not used, so the compiler removes it.
    pull_back = jax.vjp(linear, read)[1]
    return lambda dgates: pull_back(dgates)[0]


def batch_last_transpose(
    project: Callable[..., Any], params: Params, stage: LinearizedStage, others: Any, x_t: Array
) -> Callable[[Any, Any], Any]:
    """Returns `state_transpose` for cotangents that store the batch axis last.

    Args:
      project: the function of the stage.
      params: parameters.
      stage: the stage.
      others: an example of the leaves of the state that are not floating-point, (B, ...).
      x_t: an example of an input, (B, ...).

    Returns:
      The function (cotangents of gates, (others, x_t)) -> cotangents of the state.
    """

    def transpose(params: Params, dgates: Any, rest: Any) -> Any:
        return state_transpose(project, params, stage, *rest)(dgates)

    dgates = jax.tree.map(lambda a: a[0], partition_floats(stage.gates)[0])
    return batch_last(transpose, params, last_axis_first(dgates), (others, x_t))
