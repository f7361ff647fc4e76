"""Analysis of a cell in stages: properties that are found by tracing its functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from seqmodels.cells.stages import fold_stages
from seqmodels.drivers.reshape import merge_batch
from seqmodels.pytrees import combine, is_float, partition_floats
from seqmodels.types import Array, Cell, Params, State


class StageAnalysis(NamedTuple):
    """Properties of one cell, for states and inputs of one structure.

    Attributes:
      constant_leaves: for each leaf of the state, whether it is an integer, bool or key that no
        step changes, such as a dropout mask.
      output_aliases: for each leaf of y_t, the index of the leaf of the new state that it equals,
        constant leaves excepted, or None.
      update_reads_params: for each stage, whether its update reads a floating-point parameter.
    """

    constant_leaves: tuple[bool, ...]
    output_aliases: tuple[int | None, ...]
    update_reads_params: tuple[bool, ...]


def supported_methods(cell: Cell) -> str:
    """Returns the text "method='scan' or ..." that names the drivers for this cell."""
    names = ["scan", *(["fused", "chunked"] if cell.stages else [])]
    names += ["associative"] if cell.elements is not None and cell.output is not None else []
    *first, last = map(repr, names)
    return f"method={', '.join(first)} or {last}" if first else f"method={last}"


def require_stages(method: str, cell: Cell) -> None:
    """Raises TypeError unless the cell has stages."""
    if not cell.stages:
        raise TypeError(
            f"{method}: got a cell without stages (sm.make_cell), expected one with them; for this "
            f"cell {supported_methods(cell)}"
        )


def analyze_stages(
    cell: Cell, params: Params, state: State, x_t: Any, keeps: tuple[bool, ...]
) -> StageAnalysis:
    """Returns the analysis of a cell in stages.

    Args:
      cell: the cell.
      params: its parameters, or their shapes.
      state: a state with leaves (*batch, ...), or its shapes.
      x_t: an input (*batch, ...), or its shape.
      keeps: for each leaf of the state, whether a reset keeps it.

    Raises:
      TypeError: if a project is not affine in the state and in x_t, if an array between the stages
        lacks the batch axis, or if a function of the cell closes over a traced array.
    """
    num_axes = len(x_t.shape) - cell.x_ndim
    state, x_t = jax.eval_shape(lambda *rows: merge_batch(rows, 0, num_axes), state, x_t)
    leaves, structure = jax.tree.flatten(state)

    def step(leaves: list[Array], params: Params, x_t: Array) -> Any:
        new, y_t = fold_stages(cell.stages, params, jax.tree.unflatten(structure, leaves), x_t)
        return jax.tree.leaves(new), jax.tree.leaves(y_t)

    closed = jax.make_jaxpr(step)(leaves, params, x_t)
    if any(isinstance(const, jax.core.Tracer) for const in closed.consts):
        raise TypeError(
            "a function of the cell closes over a traced array, of which a derived backward pass "
            "knows nothing: pass it in params, or use method='scan'"
        )
    jaxpr = closed.jaxpr
    reads = tuple(_check_stages(cell, params, state, x_t))
    before, after = jaxpr.invars[: len(leaves)], jaxpr.outvars[: len(leaves)]
    constant = tuple(
        kept and not is_float(leaf) and a is b
        for kept, leaf, a, b in zip(keeps, leaves, before, after, strict=True)
    )
    changing = [None if flag else out for flag, out in zip(constant, after, strict=True)]
    aliases = tuple(_index(changing, out) for out in jaxpr.outvars[len(leaves) :])
    return StageAnalysis(constant, aliases, reads)


def _index(variables: list[Any], variable: Any) -> int | None:
    return next((n for n, other in enumerate(variables) if other is variable), None)


def _check_stages(cell: Cell, params: Params, state: State, x_t: Array) -> list[bool]:
    """Returns which updates read parameters; raises TypeError if a stage breaks the rules."""
    size, reads = x_t.shape[0], []
    for n, (project, update) in enumerate(cell.stages):
        gates = _affine_gates(n, project, params, state, x_t)
        jaxpr = jax.make_jaxpr(
            lambda pf, po, s, g, update=update: update(combine(pf, po), s, g)
        )(*partition_floats(params), state, gates).jaxpr  # fmt: skip
        floats = set(jaxpr.invars[: len(jax.tree.leaves(partition_floats(params)[0]))])
        used = [v for eqn in jaxpr.eqns for v in eqn.invars] + jaxpr.outvars
        reads.append(any(v in floats for v in used if not hasattr(v, "val")))
        state = jax.eval_shape(update, params, state, gates)
        for name, tree in (("its gates have", gates), ("the state after it has", state)):
            if any(leaf.shape[:1] != (size,) for leaf in jax.tree.leaves(tree)):
                raise TypeError(
                    f"stage {n}: {name} a leaf without the batch axes of x_t: give it them, or use "
                    "method='scan'"
                )
    return reads


def _affine_gates(
    n: int, project: Callable[..., Any], params: Params, state: State, x_t: Array
) -> Any:
    """Returns the shapes of the gates; raises TypeError if `project` is not affine.

    It has to be affine in the state and in x_t together. The fused backward pass assumes it;
    otherwise gradients would be silently wrong. The test is a transposition: only an affine
    function can be transposed.
    """
    gates = jax.eval_shape(project, params, state, x_t)
    (state_floats, state_others), (x_floats, x_others) = map(partition_floats, (state, x_t))

    def transpose(params: Params, others: Any, cotangent: Any) -> Any:
        def linear(state: Any, x_t: Any) -> Any:
            read = combine(state, others[0]), combine(x_t, others[1])
            return partition_floats(project(params, *read))[0]

        return jax.linear_transpose(linear, state_floats, x_floats)(cotangent)

    try:
        jax.eval_shape(transpose, params, (state_others, x_others), partition_floats(gates)[0])
    except Exception as error:
        raise TypeError(
            f"stage {n}: project is not affine in the state and x_t, as the fused backward pass "
            f"needs it: move what is not affine to update, or use method='scan'"
        ) from error
    return gates
