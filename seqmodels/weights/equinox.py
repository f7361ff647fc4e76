"""Weights of Equinox' LSTMCell and GRUCell."""

from collections.abc import Iterator, Mapping
from typing import Any

from seqmodels.types import Cell, Params
from seqmodels.weights.structure import Structure
from seqmodels.weights.transfer import Framework, Slot, read, slot, write

_FIELDS = ("weight_ih", "weight_hh", "bias", "bias_n")
_DIRECTIONS = ("forward", "backward")


def from_equinox(module: Any, cell: Cell) -> Params:
    """Returns the parameters of a cell, from a module of Equinox or a dict of its leaves.

    GRUCell is `sm.gru(reset_after=True)`. Without any bias (`use_bias=False`) the biases are zeros.

    Args:
      module: with `weight_ih` (nH, D), `weight_hh` (nH, H), `bias` (nH,) and, in a GRU, `bias_n`
        (H,), or a dict of these. For a stack a list of them, for a bidirectional pair
        `{"forward": ..., "backward": ...}`.
      cell: `sm.lstm`, `sm.gru(reset_after=True)`, bidirectional pairs and stacks of these, each
        also through `sm.dropout`.

    Returns:
      `cell`'s parameters as JAX arrays of its dtypes, which share no memory with the module's.

    Raises:
      ValueError: in one line, with every tensor that is missing, unexpected or of a wrong shape.
      TypeError: if Equinox has no such cell, such as a simple RNN.

    Examples:
      >>> import equinox as eqx
      >>> module = eqx.nn.LSTMCell(3, 4, key=jax.random.key(0))
      >>> from_equinox(module, sm.lstm(3, 4)).w_h.shape
      (4, 16)
    """
    framework = Framework("from_equinox", "equinox")
    structure = framework.structure(cell)
    return read(framework, structure, dict(_leaves(module)), _slots(framework, structure))


def to_equinox(params: Params, cell: Cell) -> Any:
    """Returns the leaves of a module of Equinox, as NumPy arrays of the dtypes of `params`.

    Args:
      params: `cell`'s parameters.
      cell: see `from_equinox`.

    Returns:
      A dict; for a bidirectional pair `{"forward": ..., "backward": ...}`, for a stack a list.

    Raises:
      ValueError: if the parameters are not those of the cell, or hold a learned initial state.
      TypeError: if Equinox has no such cell.

    Examples:
      >>> import equinox as eqx
      >>> cell, module = sm.lstm(3, 4), eqx.nn.LSTMCell(3, 4, key=jax.random.key(0))
      >>> leaves = to_equinox(cell.init(jax.random.key(0)), cell)
      >>> where = lambda module: [getattr(module, name) for name in leaves]
      >>> eqx.tree_at(where, module, list(leaves.values())).weight_hh.shape
      (16, 4)
    """
    framework = Framework("to_equinox", "equinox")
    structure = framework.structure(cell)
    layouts = [framework.layout(leaf) for leaf in structure.leaves]
    written = iter(write(framework, structure, params, layouts))
    layers: list[Any] = []
    for layer in structure.layers:
        cells = [next(written) for _ in layer]
        layers.append(cells[0] if len(cells) == 1 else dict(zip(_DIRECTIONS, cells, strict=True)))
    return layers if structure.is_stack else layers[0]


def _slots(framework: Framework, structure: Structure) -> list[Slot]:
    slots = []
    for number, layer in enumerate(structure.layers):
        above = f"{number}/" if structure.is_stack else ""
        for leaf, direction in zip(layer, _DIRECTIONS, strict=False):
            prefix = f"{above}{direction}/" if len(layer) > 1 else above
            slots.append(slot(leaf, framework.layout(leaf), prefix))
    return slots


def _leaves(module: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the paths and arrays of modules, of dicts of their leaves, and of lists of both."""
    if isinstance(module, list | tuple | Mapping):
        items = module.items() if isinstance(module, Mapping) else enumerate(module)
        for key, value in items:
            yield from _leaves(value, f"{path}{key}/")
    elif hasattr(module, "weight_ih"):
        for name in _FIELDS:
            if getattr(module, name, None) is not None:
                yield f"{path}{name}", getattr(module, name)
    elif module is not None:
        yield path.removesuffix("/"), module
