"""Analysis of a cell in stages: properties that are found by tracing its functions."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.interpreters.partial_eval import dce_jaxpr

from seqmodels.cells.stages import fold_stages
from seqmodels.drivers.reshape import merge_batch
from seqmodels.drivers.wide_sequences import WideUpdate
from seqmodels.pytrees import combine, is_float, partition_floats
from seqmodels.types import Array, Cell, Params, Stage, State


class StageAnalysis(NamedTuple):
    """Properties of one cell, for states and inputs of one structure.

    Attributes:
      constant_leaves: for each leaf of the state, whether it is an integer, bool or key that no
        step changes, such as a dropout mask.
      output_aliases: for each leaf of y_t, the index of the leaf of the new state that it equals,
        or None. A cast to a narrower dtype is allowed; constant leaves do not count.
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
      TypeError: if a project is not affine in the state and in x_t, or a custom derivative rule is
        not linear where it must be. Also if an array between the stages lacks the batch axis, or a
        function of the cell closes over a traced array.
    """
    num_axes = len(x_t.shape) - cell.x_ndim
    state, x_t = jax.eval_shape(lambda *rows: merge_batch(rows, 0, num_axes), state, x_t)
    leaves, structure = jax.tree.flatten(state)

    def step(leaves: list[Array], params: Params, x_t: Array) -> Any:
        stages = _without_widening(cell.stages)
        new, y_t = fold_stages(stages, params, jax.tree.unflatten(structure, leaves), x_t)
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
    rounded = _rounded_variables(jaxpr)
    aliases = tuple(
        _index(changing, rounded.get(id(out), out)) for out in jaxpr.outvars[len(leaves) :]
    )
    return StageAnalysis(constant, aliases, reads)


def _without_widening(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Returns the stages with the outputs of the cell's own, which `run_wide` may widen."""
    project, update = stages[-1]
    own = update.narrow if isinstance(update, WideUpdate) else update
    return (*stages[:-1], (project, own))


def _rounded_variables(jaxpr: Any) -> dict[int, Any]:
    """Returns the variable of which another, by its id, is the same value in a narrower dtype."""
    return {
        id(equation.outvars[0]): equation.invars[0]
        for equation in jaxpr.eqns
        if equation.primitive.name == "convert_element_type"
        and _is_narrower(equation.outvars[0].aval.dtype, equation.invars[0].aval.dtype)
    }


def _is_narrower(dtype: Any, other: Any) -> bool:
    both_real = all(jnp.issubdtype(d, jnp.floating) for d in (dtype, other))
    return both_real and jnp.promote_types(dtype, other) == other


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
        if reads[-1] and _has_own_backward(jaxpr):
            _check_linear(n, "update", update, (params, state, gates))
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

    Its derivative with respect to the state and x_t must be the same everywhere, because the fused
    backward pass computes it once for a chunk. The derivative is that of `jax.vjp`, so that custom
    derivative rules of the cell count. The test traces it, and looks for a value of the state or of
    x_t that it reads.
    """
    closed, gates = jax.make_jaxpr(project, return_shape=True)(params, state, x_t)
    floats, others = partition_floats((state, x_t))

    def of_read(floats: Any, others: Any, params: Params, cotangent: Any) -> Any:
        return _pull_back(project, (params, *combine(floats, others)), cotangent)[1:]

    try:
        jaxpr = jax.make_jaxpr(of_read)(floats, others, params, partition_floats(gates)[0]).jaxpr
    except Exception as error:
        raise TypeError(_not_affine(n)) from error
    _, is_used = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    if any(is_used[: len(jax.tree.leaves(floats))]):
        raise TypeError(_not_affine(n))
    if _has_own_backward(closed.jaxpr):
        _check_linear(n, "project", project, (params, state, x_t))
    return gates


def _not_affine(n: int) -> str:
    return (
        f"stage {n}: project is not affine in the state and x_t, or a derivative rule in it reads "
        "them, and the fused backward pass needs one matrix for all steps: move what is not affine "
        "to update, or use method='scan'"
    )


def _pull_back(function: Callable[..., Any], arguments: tuple[Any, ...], cotangent: Any) -> Any:
    """Returns the cotangents of the arguments, None for non-floating leaves."""
    floats, others = partition_floats(arguments)

    def of_floats(floats: Any) -> Any:
        return partition_floats(function(*combine(floats, others)))[0]

    return jax.vjp(of_floats, floats)[1](cotangent)[0]


def _check_linear(
    n: int, name: str, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    """Raises TypeError if the parameters' gradient is not linear in the cotangent.

    The backward pass pulls the cotangents of all steps back together. That equals the sum over the
    steps only if custom derivative rules are linear; one that clips is not.
    """
    cotangent = partition_floats(jax.eval_shape(function, *arguments))[0]

    def transpose(arguments: tuple[Any, ...], out: Any) -> Any:
        def linear(cotangent: Any) -> Any:
            return _pull_back(function, arguments, cotangent)[0]

        return jax.linear_transpose(linear, cotangent)(out)

    try:
        jax.eval_shape(transpose, arguments, partition_floats(arguments[0])[0])
    except Exception as error:
        raise TypeError(
            f"stage {n}: {name} has a derivative rule that is not linear in the cotangent, as the "
            "fused backward pass needs it: use method='scan'"
        ) from error


def _has_own_backward(jaxpr: Any) -> bool:
    """Returns whether a function calls a `jax.custom_vjp`, whose rule may be of any kind."""
    for equation in jaxpr.eqns:
        if equation.primitive.name.startswith("custom_vjp_call"):
            return True
        for value in jax.tree.leaves(equation.params, is_leaf=lambda a: hasattr(a, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns") and _has_own_backward(inner):
                return True
    return False
