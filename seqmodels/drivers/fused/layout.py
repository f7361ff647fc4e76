"""The layout of the loops over time: batch axis first, or last where that is faster."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from seqmodels.drivers.fused.batch_last import batch_last, is_row_product
from seqmodels.drivers.stage_analysis import StageAnalysis
from seqmodels.types import Array, Cell, Params, Stage, State

# The number of entries of all matrices from which the loops store the batch axis last, and the
# sizes of a batch. Measured on two CPU cores, see docs/design/drivers.md.
BATCH_LAST_FROM = 2**19
BATCH_SIZES = range(8, 65)


def batch_last_pays(
    cell: Cell, analysis: StageAnalysis, params: Params, state: State, x_t: Any
) -> bool:
    """Returns whether loops that store the batch axis last are expected to be faster.

    They are on CPUs, for large matrices of float32 and batches of moderate size. Updates that read
    parameters are excluded, because their vectors would have to be moved at every step.

    Args:
      cell: a cell in stages.
      analysis: its analysis.
      params: its parameters.
      state: a state, leaves (B, ...).
      x_t: an input (B, ...), or its shape.
    """
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    if jax.default_backend() != "cpu" or size < BATCH_LAST_FROM:
        return False
    if x_t.shape[0] not in BATCH_SIZES or any(analysis.update_reads_params):
        return False
    step = jax.make_jaxpr(cell.step)(params, state, x_t).jaxpr
    products = [equation for equation in equations(step) if is_row_product(equation)]
    weights = [var.aval for equation in products for var in equation.invars[1:]]
    is_float32 = all(weight.dtype == jnp.float32 for weight in weights)
    return is_float32 and sum(weight.size for weight in weights) >= BATCH_LAST_FROM


def equations(jaxpr: Any) -> list[Any]:
    """Returns the equations of a jaxpr, including those of functions that it calls by `jit`."""
    found = []
    for equation in jaxpr.eqns:
        is_call = equation.primitive.name in ("jit", "pjit")
        found += equations(equation.params["jaxpr"].jaxpr) if is_call else [equation]
    return found


def batch_last_stages(
    stages: Sequence[Stage], params: Params, state: State, x_t: Array
) -> tuple[Stage, ...]:
    """Returns the stages for states and gates that store the batch axis last.

    Args:
      stages: the stages of a cell.
      params: its parameters; the stages that are returned use them whatever they are given.
      state: an example of a state, leaves (B, ...).
      x_t: an example of an input, (B, ...), which stays in this layout.
    """
    result = []
    for project, update in stages:
        run = batch_last(project, params, state, x_t)

        def project_last(params: Params, state: Any, x_t: Array, run: Any = run) -> Any:
            del params
            return run(state, x_t)

        result.append((project_last, update_last(update)))
        state = update(params, state, project(params, state, x_t))
    return tuple(result)


def update_last(update: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `update(params, state, gates)` for leaves that store the batch axis last."""
    return jax.vmap(update, in_axes=(None, -1, -1), out_axes=-1)
