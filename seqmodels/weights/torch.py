"""Weights of torch.nn.RNN, LSTM and GRU, by the names of their `state_dict`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from seqmodels.types import Cell, Params
from seqmodels.weights.structure import Structure
from seqmodels.weights.transfer import Framework, Slot, check_container, read, slot, write


def from_torch(state_dict: Mapping[str, Any], cell: Cell, *, prefix: str = "") -> Params:
    """Returns the parameters of a cell, from the `state_dict` of a torch module.

    The layers of a stack are those of `num_layers`, and a bidirectional pair is a layer of
    `bidirectional=True`. torch's GRU is `sm.gru(reset_after=True)`. torch has two biases where a
    cell has one: b is their sum, but for the GRU's `b_n`, which is the n third of `bias_hh`.
    Without any bias (`bias=False`) the biases are zeros.

    Args:
      state_dict: tensors or arrays by name: `weight_ih_l0` (nH, D), `weight_hh_l0` (nH, H),
        `bias_ih_l0` (nH,), `bias_hh_l0` (nH,), with `_reverse` at the end for the backward cell.
      cell: `sm.rnn` with tanh or ReLU, `sm.lstm`, `sm.gru(reset_after=True)`, bidirectional pairs
        and stacks of these, each also through `sm.dropout`.
      prefix: such as "encoder.": only names that begin so are read, and without it.

    Returns:
      `cell`'s parameters as JAX arrays of its dtypes, which share no memory with torch's.

    Raises:
      ValueError: in one line, with every tensor that is missing, unexpected or of a wrong shape.
      TypeError: if torch has no such cell.

    Examples:
      >>> shapes = {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4)}  # of torch.nn.LSTM(3, 4)
      >>> shapes |= {"bias_ih_l0": (16,), "bias_hh_l0": (16,)}
      >>> state_dict = {name: np.zeros(shape) for name, shape in shapes.items()}
      >>> from_torch(state_dict, sm.lstm(3, 4)).w_h.shape
      (4, 16)
    """
    framework = Framework("from_torch", "torch")
    structure = framework.structure(cell)
    check_container("from_torch", "state_dict", state_dict, (Mapping,))
    given = {name: value for name, value in state_dict.items() if name.startswith(prefix)}
    return read(framework, structure, given, _slots(framework, structure, prefix))


def to_torch(params: Params, cell: Cell) -> dict[str, np.ndarray]:
    """Returns the `state_dict` of a torch module, as NumPy arrays of the dtypes of `params`.

    All of b is written to `bias_ih`, and zeros to `bias_hh`, but for the GRU's `b_n`, which is its
    n third.

    Args:
      params: `cell`'s parameters.
      cell: see `from_torch`.

    Raises:
      ValueError: if the parameters are not those of the cell, or hold a learned initial state.
      TypeError: if torch has no such cell.

    Examples:
      >>> cell = sm.lstm(3, 4)
      >>> arrays = to_torch(cell.init(jax.random.key(0)), cell)
      >>> arrays["weight_ih_l0"].shape  # then module.load_state_dict of torch.tensor(...) of each
      (16, 3)
    """
    framework = Framework("to_torch", "torch")
    structure = framework.structure(cell)
    slots = _slots(framework, structure)
    written = write(framework, structure, params, [s.layout for s in slots])
    pairs = zip(slots, written, strict=True)
    return {s.names[name]: array for s, arrays in pairs for name, array in arrays.items()}


def _slots(framework: Framework, structure: Structure, prefix: str = "") -> list[Slot]:
    return [
        slot(leaf, framework.layout(leaf), prefix, f"_l{number}{direction}")
        for number, layer in enumerate(structure.layers)
        for leaf, direction in zip(layer, ("", "_reverse"), strict=False)
    ]
