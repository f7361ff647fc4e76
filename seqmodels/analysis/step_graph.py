"""The graph of one step of a cell, read from the jaxpr of its step function.

A node is an operation with the shape of its result. Reshapes, casts, broadcasts and slices are not
nodes; the node that reads a slice names it. The node that uses a parameter names it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core
from jax.interpreters.partial_eval import dce_jaxpr

from seqmodels.types import Cell, Params, State

_SAME = frozenset(
    [
        "reshape",
        "broadcast_in_dim",
        "convert_element_type",
        "squeeze",
        "copy",
        "transpose",
        "expand_dims",
        "pvary",
        "pcast",
        "slice",
        "stop_gradient",
        "reduce_precision",
    ]
)
_SYMBOLS = {
    "add": "+", "add_any": "+", "sub": "-", "mul": "\u00d7", "div": "/", "max": "max", "min": "min",
    "logistic": "sigmoid", "integer_pow": "power",
}  # fmt: skip
_ACTIVATIONS = frozenset(
    ["logistic", "tanh", "exp", "log", "log1p", "erf", "max", "min", "softplus"]
)
_PRODUCTS = frozenset({"dot_general", "conv_general_dilated"})


class Node(NamedTuple):
    """One operation.

    Attributes:
      kind: "input", "state", "product", "activation" or "elementwise".
      label: such as "tanh", "+ b" or "x w_h".
      shape: the shape of the result.
      sources: numbers of the nodes that it reads.
    """

    kind: str
    label: str
    shape: tuple[int, ...]
    sources: tuple[int, ...]


class StepGraph(NamedTuple):
    """One step of a cell.

    Attributes:
      nodes: every node follows its sources; the inputs are first.
      state: for every leaf of the state the node of its new value.
      outputs: the nodes of the leaves of y_t.
    """

    nodes: tuple[Node, ...]
    state: Mapping[str, int]
    outputs: tuple[int, ...]


class _Value(NamedTuple):
    """A node or, without one, a parameter or a constant by name; part: such as "2 of 4"."""

    node: int | None
    name: str
    part: str = ""


def step_graph(cell: Cell, params: Params, state: State, x_t: Any) -> StepGraph:
    """Returns the graph of `cell.step(params, state, x_t)`.

    Args:
      cell: a cell that can be stepped.
      params: its parameters, or their shapes.
      state: a state, leaves (*batch, ...), or its shapes.
      x_t: input of one step, (*batch, D), or its shape.

    Raises:
      ValueError: if the step returns a leaf that is neither computed nor read, such as a constant.

    Examples:
      >>> cell = sm.rnn(3, 4)
      >>> params = cell.init(jax.random.key(0))
      >>> graph = step_graph(cell, params, cell.initial_state(params, (2,)), jnp.zeros((2, 3)))
      >>> [node.label for node in graph.nodes][-1]
      'tanh'
    """
    closed, (new_state, _) = jax.make_jaxpr(cell.step, return_shape=True)(params, state, x_t)
    reader = _Reader()
    values = [_Value(None, name) for name in _names(params)]
    for kind, tree, default in (("state", state, "state"), ("input", x_t, "x")):
        for name, leaf in zip(_names(tree, default), jax.tree.leaves(tree), strict=True):
            values.append(reader.add(Node(kind, name, leaf.shape, ())))
    # Only equations on which the results depend; all inputs stay.
    jaxpr, _ = dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=True)
    found = reader.read(jaxpr, closed.consts, values)
    numbers = [value.node for value in found]
    known = [number for number in numbers if number is not None]
    if len(known) < len(numbers):
        raise ValueError("step_graph: got a step that returns a constant, expected computed values")
    names = _names(new_state, "state")
    return StepGraph(
        nodes=tuple(reader.nodes),
        state=dict(zip(names, known[: len(names)], strict=True)),
        outputs=tuple(known[len(names) :]),
    )


class _Reader:
    """Collector of nodes that reads the equations of a jaxpr in order."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def add(self, node: Node) -> _Value:
        self.nodes.append(node)
        return _Value(len(self.nodes) - 1, node.label)

    def read(
        self, jaxpr: Any, constants: Sequence[Any], arguments: Sequence[_Value]
    ) -> list[_Value]:
        values = dict(zip(jaxpr.invars, arguments, strict=True))
        values |= {v: _constant(c) for v, c in zip(jaxpr.constvars, constants, strict=True)}

        def value(atom: Any) -> _Value:
            return _constant(atom.val) if isinstance(atom, core.Literal) else values[atom]

        for equation in jaxpr.eqns:
            operands = [value(atom) for atom in equation.invars]
            results = self._equation(equation, operands)
            values |= dict(zip(equation.outvars, results, strict=True))
        return [value(atom) for atom in jaxpr.outvars]

    def _equation(self, equation: Any, operands: list[_Value]) -> list[_Value]:
        name, parameters = equation.primitive.name, equation.params
        inner = parameters.get("call_jaxpr") or parameters.get("fun_jaxpr")
        if name in ("jit", "pjit", "closed_call", "remat", "checkpoint"):
            inner = parameters.get("jaxpr") or inner
        if inner is not None and len(getattr(inner, "jaxpr", inner).invars) == len(operands):
            return self.read(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), operands)
        shapes = [out.aval.shape for out in equation.outvars]
        if name == "split":
            count = len(shapes)
            return [operands[0]._replace(part=f"part {n + 1} of {count}") for n in range(count)]
        if name in _SAME:
            part = operands[0].part
            if name == "slice":
                start, stop = parameters["start_indices"][-1], parameters["limit_indices"][-1]
                part = f"columns {start} to {stop - 1}"
            return [operands[0]._replace(part=part)]
        if all(operand.node is None for operand in operands):
            label = operands[0].name if operands else name
            return [_Value(None, label)] * len(shapes)
        return [self.add(_node(name, operands, shape)) for shape in shapes]


def _node(name: str, operands: list[_Value], shape: tuple[int, ...]) -> Node:
    read = [operand for operand in operands if operand.node is not None]
    others = [operand.name for operand in operands if operand.node is None]
    kind = "elementwise"
    if name in _PRODUCTS or "dot" in name:
        kind, symbol = "product", "\u00d7"
    else:
        symbol = _SYMBOLS.get(name, name.replace("_", " "))
        kind = "activation" if name in _ACTIVATIONS else kind
    if name == "max" and others == ["0"]:
        symbol, others = "relu", []
    if others and operands[0].node is None and name in ("sub", "div"):
        label = f"{others[0]} {symbol}"
    else:
        label = " ".join([symbol, *others])
    parts = list(dict.fromkeys(operand.part for operand in read if operand.part))
    if parts:
        label += f"\n{', '.join(parts)}"
    return Node(
        kind, label, shape, tuple(dict.fromkeys(v.node for v in read if v.node is not None))
    )


def _constant(value: Any) -> _Value:
    array = np.asarray(value) if not jax.dtypes.issubdtype(
        getattr(value, "dtype", np.float32), jax.dtypes.prng_key) else np.zeros(())  # fmt: skip
    return _Value(None, f"{float(array):g}" if array.size == 1 and array.dtype.kind in "fiub"
                  else "constant")  # fmt: skip


def _names(tree: Any, default: str = "parameter") -> list[str]:
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    return [
        ".".join(str(getattr(k, "name", getattr(k, "key", getattr(k, "idx", k)))) for k in path)
        or default
        for path in paths
    ]
