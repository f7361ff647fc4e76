"""A cell without its matrix products or without its activations, by rewriting its programs.

A stage of a cell is traced to a jaxpr and evaluated again with other operations in it:

- a product x @ w becomes x[..., :2] @ w[:2], whose inner dimension is 2. (XLA makes one of 1 a
  multiplication and fuses it with the activations.) What surrounds it is unchanged. A product still
  writes the gates to memory, the state still reaches them, and its transposes are still products;
- sigmoid(x) becomes x / 4 + 1 / 2, tanh(x) becomes x: their first order. What surrounds them is
  unchanged, and a state does not grow without bound for the small weights of the benchmark.

The rewritten functions are differentiable, so that each driver derives its backward pass as usual.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend import core

import seqmodels as sm
from seqmodels.types import Array, Cell

THIN = 2  # the inner dimension that is left
# Primitives, and functions under jit or with a rule of their own, by name.
_LINEAR: dict[str, Callable[[Array], Array]] = {
    "logistic": lambda x: 0.25 * x + 0.5,
    "sigmoid": lambda x: 0.25 * x + 0.5,
    "tanh": lambda x: x,
}


def without(cell: Cell, *, products: bool = False, activations: bool = False) -> Cell:
    """Returns a cell in stages whose products are thin, or whose activations are linear.

    Args:
      cell: a cell with `stages`.
      products: whether the products go.
      activations: whether the activations go.

    Raises:
      TypeError: if the cell has no stages.
    """
    if not cell.stages:
        raise TypeError("without: cell: got one without stages, expected a cell of make_cell")

    def rewritten(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            traced, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
            values = _evaluate(
                traced.jaxpr,
                traced.consts,
                jax.tree.leaves(arguments),
                products=products,
                activations=activations,
            )
            return jax.tree.unflatten(jax.tree.structure(shapes), values)

        return call

    stages = [(rewritten(project), rewritten(update)) for project, update in cell.stages]
    return sm.make_cell(
        cell.init, cell.initial_state, *stages, reset=cell.reset, x_ndim=cell.x_ndim
    )


def check_parts(function: Callable[..., Any], *arguments: Any, **kinds: bool) -> None:
    """Raises ValueError if a program does not have what `without` leaves out.

    Args:
      function: such as a cell's step.
      *arguments: its arguments.
      **kinds: as in `without`.
    """
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    for kind in kinds:
        alone = {"products": False, "activations": False} | {kind: kinds[kind]}
        if kinds[kind] and not _changes(jaxpr, **alone):
            raise ValueError(f"without: found no {kind} in the program")


def _evaluate(
    jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any], **kinds: bool
) -> list[Any]:
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, constants, strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for equation in jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        values.update(zip(equation.outvars, _apply(equation, operands, **kinds), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _apply(equation: Any, operands: list[Any], *, products: bool, activations: bool) -> list[Any]:
    """Returns the values of one operation, or of what takes its place."""
    name = _name(equation)
    if activations and name in _LINEAR:
        return [_LINEAR[name](operands[0])]
    if products and _is_product(equation):
        return [_thin(equation, operands)]
    inner = _inner(equation)
    if inner is not None and _changes(inner.jaxpr, products=products, activations=activations):
        return _evaluate(
            inner.jaxpr, inner.consts, operands, products=products, activations=activations
        )
    parameters = equation.primitive.get_bind_params(equation.params)
    result = equation.primitive.bind(*operands, **parameters)
    return list(result) if equation.primitive.multiple_results else [result]


def _changes(jaxpr: Any, *, products: bool, activations: bool) -> bool:
    """Returns whether a program has a product or an activation to replace, at any depth."""
    kinds = {"products": products, "activations": activations}
    for equation in jaxpr.eqns:
        inner = _inner(equation)
        if (activations and _name(equation) in _LINEAR) or (products and _is_product(equation)):
            return True
        if inner is not None and _changes(inner.jaxpr, **kinds):
            return True
    return False


def _name(equation: Any) -> str:
    """Returns the name of an operation, or that of the function which it calls."""
    return str(equation.params.get("name", equation.primitive.name))


def _inner(equation: Any) -> Any:
    """Returns the program that an operation calls with its own operands, or None."""
    for key in ("jaxpr", "call_jaxpr"):
        found = equation.params.get(key)
        if isinstance(found, core.ClosedJaxpr) and equation.primitive.name not in ("scan", "while"):
            return found
    return None


def _is_product(equation: Any) -> bool:
    """Returns whether an operation is (..., K) @ (K, N), by any primitive."""
    if _inner(equation) is not None or len(equation.invars) != 2 or len(equation.outvars) != 1:
        return False
    left, right = (atom.aval.shape for atom in equation.invars)
    out = equation.outvars[0].aval.shape
    matrices = len(left) >= 1 and len(right) == 2 and left[-1] == right[0]
    return "dot" in equation.primitive.name and matrices and out == (*left[:-1], right[1])


def _thin(equation: Any, operands: list[Any]) -> Any:
    """Returns the product of the first columns and the first rows, by the same primitive."""
    left, right = operands
    return equation.primitive.bind(left[..., :THIN], right[:THIN], **equation.params)
