"""Weights of Keras 3's SimpleRNN, LSTM, GRU and Bidirectional, as the list of `get_weights()`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from seqmodels.types import Cell, Params
from seqmodels.weights.transfer import Framework, Slot, check_container, read, write


def from_keras(arrays: Sequence[Any], cell: Cell) -> Params:
    """Returns the parameters of a cell, from the weights of a Keras layer or model.

    A stack is a model of such layers, and a bidirectional pair is `Bidirectional`, whose forward
    layer comes first. Keras' GRU is `sm.gru(reset_after=True)` by default, and `sm.gru` with
    `reset_after=False`. Without any bias (`use_bias=False`) the biases are zeros.

    Args:
      arrays: of `get_weights()`; for each layer kernel (D, nH), recurrent_kernel (H, nH), bias
        (nH,), or (2, 3H) in a GRU with `reset_after=True`.
      cell: `sm.rnn`, `sm.lstm`, `sm.gru`, bidirectional pairs and stacks of these, each also
        through `sm.dropout`.

    Returns:
      `cell`'s parameters as JAX arrays of its dtypes, which share no memory with `arrays`.

    Raises:
      ValueError: in one line, with every array that is missing, unexpected or of a wrong shape.
      TypeError: if Keras has no such cell.

    Examples:
      >>> weights = [np.zeros((3, 16)), np.zeros((4, 16)), np.zeros(16)]  # layer.get_weights()
      >>> from_keras(weights, sm.lstm(3, 4)).w_h.shape
      (4, 16)
    """
    framework = Framework("from_keras", "keras")
    structure = framework.structure(cell)
    check_container("from_keras", "arrays", arrays, (list, tuple))
    layouts = [framework.layout(leaf) for leaf in structure.leaves]
    if len(arrays) == sum(not t.is_bias for layout in layouts for t in layout):
        layouts = [tuple(t for t in layout if not t.is_bias) for layout in layouts]
    slots, count = [], 0
    for leaf, layout in zip(structure.leaves, layouts, strict=True):
        names = {t.name: f"arrays[{count + number}]" for number, t in enumerate(layout)}
        slots.append(Slot(leaf, layout, names))
        count += len(layout)
    given = {f"arrays[{number}]": array for number, array in enumerate(arrays)}
    return read(framework, structure, given, slots)


def to_keras(params: Params, cell: Cell) -> list[np.ndarray]:
    """Returns the list for `set_weights`, as NumPy arrays of the dtypes of `params`.

    Args:
      params: `cell`'s parameters.
      cell: see `from_keras`.

    Raises:
      ValueError: if the parameters are not those of the cell, or hold a learned initial state.
      TypeError: if Keras has no such cell.

    Examples:
      >>> cell = sm.lstm(3, 4)
      >>> [array.shape for array in to_keras(cell.init(jax.random.key(0)), cell)]
      [(3, 16), (4, 16), (16,)]
    """
    framework = Framework("to_keras", "keras")
    structure = framework.structure(cell)
    layouts = [framework.layout(leaf) for leaf in structure.leaves]
    written = write(framework, structure, params, layouts)
    return [array for arrays in written for array in arrays.values()]
