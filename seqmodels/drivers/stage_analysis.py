"""What a driver has to know about a cell in stages, read off its functions by tracing them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.cells.stages import fold_stages
from seqmodels.drivers.reshape import merge_batch
from seqmodels.types import Array, Cell, Params, State


class Traits(NamedTuple):
    """Facts about one cell, for states and inputs of one structure.

    Attributes:
      constant: for each leaf of the state, whether it is an integer, bool or key that no step
        changes, such as a dropout mask.
      alias: for each leaf of y_t, the index of the leaf of the new state that it is, if that is not
        constant, or None.
      reads: for each stage, whether its update reads a floating parameter.
    """

    constant: tuple[bool, ...]
    alias: tuple[int | None, ...]
    reads: tuple[bool, ...]


def is_float(leaf: Any) -> bool:
    """Returns whether a leaf can have a gradient: real or complex floating numbers."""
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def split(tree: Any) -> tuple[Any, Any]:
    """Returns the floating leaves of a tree, and the others; None stands where one is missing."""
    floats = jax.tree.map(lambda a: a if is_float(a) else None, tree)
    others = jax.tree.map(lambda a: None if is_float(a) else a, tree)
    return floats, others


def join(first: Any, second: Any) -> Any:
    """Returns the tree that has been split in two."""
    return jax.tree.map(
        lambda a, b: b if a is None else a, first, second, is_leaf=lambda a: a is None
    )


def serving(cell: Cell) -> str:
    """Returns the text "method='scan' or ..." of the drivers that a cell can run under."""
    names = ["scan", *(["fused", "chunked"] if cell.stages else [])]
    names += ["associative"] if cell.elements is not None and cell.output is not None else []
    *first, last = map(repr, names)
    return f"method={', '.join(first)} or {last}" if first else f"method={last}"


def require_stages(method: str, cell: Cell) -> None:
    """Raises TypeError unless the cell has stages."""
    if not cell.stages:
        raise TypeError(
            f"{method}: got a cell without stages (sm.make_cell), expected one with them; for this "
            f"cell {serving(cell)}"
        )


def part(tree: Any, flags: tuple[bool, ...]) -> tuple[Any, Any]:
    """Returns the tree with the leaves that are not flagged, and with those that are."""
    leaves, structure = jax.tree.flatten(tree)
    pairs = list(zip(leaves, flags, strict=True))
    return (
        jax.tree.unflatten(structure, [None if flag else leaf for leaf, flag in pairs]),
        jax.tree.unflatten(structure, [leaf if flag else None for leaf, flag in pairs]),
    )


def read_traits(
    cell: Cell, params: Params, state: State, x_t: Any, fixed: tuple[bool, ...]
) -> Traits:
    """Returns the traits of a cell in stages.

    Args:
      cell: the cell.
      params: its parameters, or their shapes.
      state: a state with leaves (*batch, ...), or its shapes.
      x_t: an input (*batch, ...), or its shape.
      fixed: for each leaf of the state, whether a reset leaves it alone.

    Raises:
      TypeError: if a project is not affine in the state and in x_t, if what passes between the
        cell's functions lacks the batch axis, or if they close over a traced array.
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
        stays and not is_float(leaf) and a is b
        for stays, leaf, a, b in zip(fixed, leaves, before, after, strict=True)
    )
    kept = [None if flag else out for flag, out in zip(constant, after, strict=True)]
    alias = tuple(_index(kept, out) for out in jaxpr.outvars[len(leaves) :])
    return Traits(constant, alias, reads)


def _index(variables: list[Any], wanted: Any) -> int | None:
    return next((n for n, variable in enumerate(variables) if variable is wanted), None)


def _check_stages(cell: Cell, params: Params, state: State, x_t: Array) -> list[bool]:
    """Returns which updates read parameters; TypeError where a stage breaks the rules."""
    size, reads = x_t.shape[0], []
    for n, (project, update) in enumerate(cell.stages):
        gates = jax.eval_shape(project, params, state, x_t)
        _check_affine(n, project, params, state, x_t, gates)
        jaxpr = jax.make_jaxpr(
            lambda pf, po, s, g, update=update: update(join(pf, po), s, g)
        )(*split(params), state, gates).jaxpr  # fmt: skip
        floats = set(jaxpr.invars[: len(jax.tree.leaves(split(params)[0]))])
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


def _check_affine(
    n: int, project: Callable[..., Any], params: Params, state: State, x_t: Array, gates: Any
) -> None:
    """Raises TypeError unless `project` is affine in the state and in x_t together.

    The fused backward pass takes it for a matrix and would be wrong without a word. Only an affine
    function can be transposed, so that is what is tried.
    """
    (state_floats, state_others), (x_floats, x_others) = split(state), split(x_t)

    def transpose(params: Params, others: Any, cotangent: Any) -> Any:
        def linear(state: Any, x_t: Any) -> Any:
            return split(project(params, join(state, others[0]), join(x_t, others[1])))[0]

        return jax.linear_transpose(linear, state_floats, x_floats)(cotangent)

    try:
        jax.eval_shape(transpose, params, (state_others, x_others), split(gates)[0])
    except Exception as error:
        raise TypeError(
            f"stage {n}: project is not affine in the state and x_t, as the fused backward pass "
            f"needs it: move what is not affine to update, or use method='scan'"
        ) from error
