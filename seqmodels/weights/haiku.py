"""Weights of Haiku's VanillaRNN, LSTM and GRU."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seqmodels.types import Cell, Params
from seqmodels.weights.structure import Structure
from seqmodels.weights.transfer import Framework, Slot, check_container, flatten, read, slot, write

_CORES = {"rnn": "vanilla_rnn", "lstm": "lstm", "gru": "gru"}


def from_haiku(
    params: Mapping[str, Mapping[str, Any]], cell: Cell, *, names: Sequence[str] | None = None
) -> Params:
    """Returns the parameters of a cell, from those of Haiku's cores.

    Haiku's LSTM adds 1 to its forget bias when it runs. So the bias of the cell is greater by 1,
    and this sum is rounded. Its GRU is `sm.gru`, whose update gate is 1 minus Haiku's, so the
    weights of that gate change their sign. Its VanillaRNN is `sm.rnn(activation="relu")`.

    Args:
      params: `{"lstm/linear": {"w": (D + H, 4H), "b": (4H,)}}`, or
        `{"gru": {"w_i": (D, 3H), "w_h": (H, 3H), "b": (3H,)}}`. Of a VanillaRNN
        `{"vanilla_rnn/linear": {"w", "b"}, "vanilla_rnn/linear_1": {"w", "b"}}`, whose second "b"
        may be missing.
      cell: `sm.rnn(activation="relu")`, `sm.lstm`, `sm.gru`, bidirectional pairs and stacks of
        these, each also through `sm.dropout`.
      names: the names of the cores in their order, the forward one of a pair before the backward
        one; None: Haiku's own, "lstm", "lstm_1", "gru", ...

    Returns:
      `cell`'s parameters as JAX arrays of its dtypes, which share no memory with Haiku's.

    Raises:
      ValueError: in one line, with every tensor that is missing, unexpected or of a wrong shape; or
        if there are not as many names as cores.
      TypeError: if Haiku has no such cell.

    Examples:
      >>> params = {"lstm/linear": {"w": np.zeros((3 + 4, 16)), "b": np.zeros(16)}}
      >>> from_haiku(params, sm.lstm(3, 4)).w_h.shape
      (4, 16)
    """
    framework = Framework("from_haiku", "haiku")
    structure = framework.structure(cell)
    check_container("from_haiku", "params", params, (Mapping,))
    return read(framework, structure, dict(flatten(params)), _slots(framework, structure, names))


def to_haiku(
    params: Params, cell: Cell, *, names: Sequence[str] | None = None
) -> dict[str, dict[str, np.ndarray]]:
    """Returns the parameters of Haiku's cores, as NumPy arrays of the dtypes of `params`.

    Args:
      params: `cell`'s parameters.
      cell: see `from_haiku`.
      names: see `from_haiku`.

    Raises:
      ValueError: if the parameters are not those of the cell, or hold a learned initial state; or
        if there are not as many names as cores.
      TypeError: if Haiku has no such cell.

    Examples:
      >>> cell = sm.lstm(3, 4)
      >>> params = to_haiku(cell.init(jax.random.key(0)), cell)
      >>> jax.tree.map(jnp.shape, params)
      {'lstm/linear': {'b': (16,), 'w': (7, 16)}}
    """
    framework = Framework("to_haiku", "haiku")
    structure = framework.structure(cell)
    slots = _slots(framework, structure, names)
    written = write(framework, structure, params, [s.layout for s in slots])
    modules: dict[str, dict[str, np.ndarray]] = {}
    for s, arrays in zip(slots, written, strict=True):
        for name, array in arrays.items():
            module, _, last = s.names[name].rpartition("/")
            modules.setdefault(module, {})[last] = array
    return modules


def _slots(framework: Framework, structure: Structure, names: Sequence[str] | None) -> list[Slot]:
    leaves = structure.leaves
    if names is None:
        counts: collections.Counter[str] = collections.Counter()
        names = []
        for leaf in leaves:
            core = _CORES[leaf.kind]
            names.append(f"{core}_{counts[core]}" if counts[core] else core)
            counts[core] += 1
    if isinstance(names, str) or len(names) != len(leaves) or len({*names}) != len(leaves):
        raise ValueError(
            f"{framework.function}: names: got {names!r}, expected {len(leaves)} different names"
        )
    return [
        slot(leaf, framework.layout(leaf), f"{name}/")
        for leaf, name in zip(leaves, names, strict=True)
    ]
