"""Export of cells as ONNX models of the standard operators LSTM, GRU and RNN."""

import itertools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from seqmodels.types import Cell, Params
from seqmodels.weights.structure import Leaf, recurrent_params
from seqmodels.weights.transfer import Framework, check_params, write_leaf

OPSET = 17
_IR_VERSION = 8  # of the release that brought this opset
_OPERATORS = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU", "gru_after": "GRU"}
_LONGEST = np.iinfo(np.int32).max


def to_onnx(
    params: Params,
    cell: Cell,
    path: str | os.PathLike[str] | None = None,
    *,
    lengths: bool = True,
    initial_state: bool = True,
    reverse: bool = False,
) -> Any:
    """Returns the ONNX model that computes the same as `sm.unroll`, without dropout.

    Every recurrent cell is one of the standard operators LSTM, GRU and RNN of opset 17. A
    bidirectional pair is one operator of two directions. T and B are free. The inputs are

        xs          (T, B, D)
        lengths     int32 (B,), 0 <= length <= T; may be left out, which means T
        state.0.h   (B, H), the state of layer 0 before the first step; may be left out, which means
                    zeros or the learned initial state; further ones are state.0.c of an LSTM, and
                    state.0.forward.h and state.0.backward.h of a bidirectional pair

    and the outputs are `ys` (T, B, H), zero in the padding, and `final_state.0.h`, ..., both states
    in the order of `jax.tree.leaves`. onnxruntime warns about the optional inputs: it cannot
    optimize them away.

    Args:
      params: `cell`'s parameters. The model computes in the dtype of the cell's parameters, float32
        instead of bfloat16, whatever the `dtype` of its matrix products.
      cell: `sm.rnn` with tanh or ReLU, `sm.lstm`, `sm.gru`, bidirectional pairs and stacks of
        these, each also through `sm.dropout`.
      path: the file to write; None: no file is written.
      lengths: whether the model has this input.
      initial_state: whether the model has these inputs.
      reverse: whether time runs from the last step to the first, as in `sm.unroll`.

    Returns:
      An `onnx.ModelProto`.

    Raises:
      ImportError: without the package onnx.
      ValueError: if the parameters are not those of the cell.
      TypeError: if ONNX has no such cell.
      OSError: if the file cannot be written.

    Examples:
      >>> cell = sm.lstm(3, 4)
      >>> model = to_onnx(cell.init(jax.random.key(0)), cell, "model.onnx")
      >>> [entry.name for entry in model.graph.input], [entry.name for entry in model.graph.output]
      (['xs', 'lengths', 'state.0.h', 'state.0.c'], ['ys', 'final_state.0.h', 'final_state.0.c'])
    """
    framework = Framework("to_onnx", "onnx")
    structure = framework.structure(cell)
    check_params("to_onnx", structure, params)
    found = iter(recurrent_params(structure, params))
    graph = _Graph(structure.leaves[0], lengths=lengths, initial_state=initial_state)
    ys = "xs"
    for number, layer in enumerate(structure.layers):
        cells = [_Cell(leaf, next(found), framework) for leaf in layer]
        ys = graph.layer(f"{number}", cells, ys, reverse=reverse)
    model = graph.model(ys, sum(leaf.hidden_size for leaf in structure.layers[-1]))
    if path is not None:
        with open(path, "wb") as file:
            file.write(model.SerializeToString())
    return model


class _Cell:
    """A recurrent cell: its tensors and its initial state as arrays."""

    def __init__(self, leaf: Leaf, params: Any, framework: Framework) -> None:
        self.leaf = leaf
        tensors = write_leaf(framework, leaf, params, framework.layout(leaf))
        self.dtype = _dtype(leaf)
        self.tensors = {name: array.astype(self.dtype) for name, array in tensors.items()}
        fields = ("h", "c") if leaf.kind == "lstm" else ("h",)
        self.initial = {
            name: np.zeros(leaf.hidden_size, self.dtype)
            if params.initial is None
            else np.asarray(getattr(params.initial, name)).astype(self.dtype)
            for name in fields
        }


class _Graph:
    """Builder of a graph, layer by layer; values are identified by name."""

    def __init__(self, first: Leaf, *, lengths: bool, initial_state: bool) -> None:
        try:
            import onnx
        except ImportError:
            raise ImportError(
                "to_onnx: the package onnx is missing; pip install 'seqmodels[onnx]'"
            ) from None
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.numbers = itertools.count()
        self.final: list[tuple[str, str, int]] = []
        self.has_lengths, self.has_states = lengths, initial_state
        self.inputs = [self._value("xs", _dtype(first), ["T", "B", first.input_size])]
        self.first = first
        shape = self.add("Shape", ["xs"])
        self.batch = self.add("Slice", [shape, self.constant([1]), self.constant([2])])
        self.lengths = ""
        if lengths:
            steps = self.add("Slice", [shape, self.constant([0]), self.constant([1])])
            steps = self.add("Cast", [steps], to=onnx.TensorProto.INT32)
            self._optional("lengths", np.array([_LONGEST], np.int32), ["B"])
            shortest = self.add("Min", ["lengths", steps])
            self.lengths = self.add("Expand", [shortest, self.batch])
            is_empty = self.add("Equal", [self.lengths, self.constant([0], np.int32)])
            self.is_empty = self.add("Unsqueeze", [is_empty, self.constant([1])])

    def add(self, operator: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> str:
        """Adds a node and returns the name of its first output; the others follow with ".1", ..."""
        name = f"{operator.lower()}_{next(self.numbers)}"
        names = [name, *(f"{name}.{number}" for number in range(1, outputs))]
        node = self.onnx.helper.make_node(operator, inputs, names, name=name, **attributes)
        self.nodes.append(node)
        return name

    def constant(self, value: Any, dtype: Any = np.int64, name: str | None = None) -> str:
        """Returns the name of a constant."""
        array = np.asarray(value, dtype)
        name = (
            name or f"constant_{array.dtype.name}_{array.ndim}_{'_'.join(map(str, array.ravel()))}"
        )
        self.constants[name] = array
        return name

    def layer(self, above: str, cells: Sequence[_Cell], xs: str, *, reverse: bool) -> str:
        """Adds a layer and returns the name of its outputs (T, B, H of all its cells).

        Cells of different kinds or sizes need an operator each.
        """
        labels = [above] if len(cells) == 1 else [f"{above}.forward", f"{above}.backward"]
        initial = [self._initial(*pair) for pair in zip(labels, cells, strict=True)]
        backward = [reverse, not reverse][: len(cells)]
        alike = len({(c.leaf.kind, c.leaf.activation, c.leaf.hidden_size) for c in cells}) == 1
        if alike and backward in ([False], [True], [False, True]):
            return self._operator(labels, cells, initial, xs, backward)
        parts = [
            self._operator([label], [c], [state], xs, [direction])
            for label, c, state, direction in zip(labels, cells, initial, backward, strict=True)
        ]
        return self.add("Concat", parts, axis=2)

    def model(self, ys: str, size: int) -> Any:
        """Returns the model whose outputs are `ys` and the final states."""
        helper = self.onnx.helper
        dtype = _dtype(self.first)
        outputs: list[tuple[str, str, list[str | int]]] = [("ys", ys, ["T", "B", size])]
        outputs += [(label, name, ["B", width]) for label, name, width in self.final]
        for label, name, _ in outputs:
            self.nodes.append(helper.make_node("Identity", [name], [label], name=label))
        graph = helper.make_graph(
            self.nodes,
            "seqmodels",
            self.inputs,
            [self._value(label, dtype, shape) for label, _, shape in outputs],
            [self.onnx.numpy_helper.from_array(a, name) for name, a in self.constants.items()],
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], producer_name="seqmodels")
        model.ir_version = _IR_VERSION
        self.onnx.checker.check_model(model, full_check=True)
        return model

    def _value(self, name: str, dtype: Any, shape: Sequence[str | int]) -> Any:
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.onnx.helper.make_tensor_value_info(name, kind, shape)

    def _optional(self, name: str, default: np.ndarray, shape: Sequence[str | int]) -> None:
        """Adds an optional input: an input that is also a constant."""
        self.inputs.append(self._value(name, default.dtype, shape))
        self.constant(default, default.dtype, name)

    def _initial(self, label: str, cell: _Cell) -> dict[str, str]:
        """Returns the initial state of a cell (B, H) by field."""
        size = cell.leaf.hidden_size
        states = {}
        for field, value in cell.initial.items():
            name = f"state.{label}.{field}"
            if self.has_states:
                self._optional(name, value[None], ["B", size])
            else:
                self.constant(value[None], cell.dtype, name)
            shape = self.add("Concat", [self.batch, self.constant([size])], axis=0)
            states[field] = self.add("Expand", [name, shape])
        return states

    def _operator(
        self,
        labels: Sequence[str],
        cells: Sequence[_Cell],
        initial: Sequence[dict[str, str]],
        xs: str,
        backward: Sequence[bool],
    ) -> str:
        """Adds LSTM, GRU or RNN for cells that differ in direction only; returns its outputs."""
        leaf, zero = cells[0].leaf, self.constant([0])
        weights = [
            self.constant(
                np.stack([cell.tensors[name] for cell in cells]),
                cells[0].dtype,
                f"{labels[0]}.{name}",
            )
            for name in ("W", "R", "B")
        ]
        fields = list(initial[0])
        states = []
        for field in fields:
            parts = [self.add("Unsqueeze", [state[field], zero]) for state in initial]
            states.append(self.add("Concat", parts, axis=0))
        direction = "bidirectional" if len(cells) > 1 else ("reverse" if backward[0] else "forward")
        options: dict[str, Any] = {"hidden_size": leaf.hidden_size, "direction": direction}
        if leaf.kind == "rnn":
            options["activations"] = [str(leaf.activation).capitalize()] * len(cells)
        elif leaf.kind == "gru_after":
            options["linear_before_reset"] = 1
        inputs = [xs, *weights, self.lengths, *states]
        y = self.add(_OPERATORS[leaf.kind], inputs, 1 + len(fields), **options)
        for number, (label, state) in enumerate(zip(labels, initial, strict=True)):
            for place, field in enumerate(fields, 1):
                last = self.add("Gather", [f"{y}.{place}", self.constant(number)], axis=0)
                if self.lengths:  # for length 0 the operators do not define it
                    last = self.add("Where", [self.is_empty, state[field], last])
                self.final.append((f"final_state.{label}.{field}", last, leaf.hidden_size))
        y = self.add("Transpose", [y], perm=[0, 2, 1, 3])  # from (T, directions, B, H)
        shape = self.constant([0, 0, len(cells) * leaf.hidden_size])
        return self.add("Reshape", [y, shape])


def _dtype(leaf: Leaf) -> np.dtype[Any]:
    dtype = np.dtype(leaf.params.w_x.dtype)
    return np.dtype(np.float32) if dtype.name == "bfloat16" else dtype
