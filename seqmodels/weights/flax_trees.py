"""Parameter trees of Flax: a cell in an RNN, two of them in a Bidirectional, a list for a stack."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from seqmodels.weights.layouts import LAYOUTS
from seqmodels.weights.structure import Structure
from seqmodels.weights.transfer import Framework, Slot, slot, unflatten

DIRECTIONS = ("forward_rnn", "backward_rnn")


def tree_slots(framework: Framework, structure: Structure, given: Mapping[str, Any]) -> list[Slot]:
    """Returns the paths of all tensors, as far as possible in the form of the argument.

    Args:
      framework: Linen or NNX.
      structure: the structure of the cell.
      given: arrays by path.
    """
    slots = []
    for number, layer in enumerate(structure.layers):
        above = f"{number}/" if structure.is_stack else ""
        for leaf, direction in zip(layer, DIRECTIONS, strict=False):
            prefix = f"{above}{direction}/" if len(layer) > 1 else above
            layout = framework.layout(leaf)
            if _has(given, f"{prefix}cell/") or not any(
                f"{prefix}{t.name}" in given for t in layout
            ):
                prefix += "cell/"
            optimized = LAYOUTS.get((f"{framework.name}_optimized", leaf.kind))
            if optimized and _has(given, f"{prefix}dense_"):
                layout = optimized
            slots.append(slot(leaf, layout, prefix))
    return slots


def nested(structure: Structure, written: Sequence[Mapping[str, Any]]) -> Any:
    """Returns the tree of a cell, for a stack the list of the trees of its layers.

    Args:
      structure: the structure of the cell.
      written: the tensors of each recurrent cell, by name in the layout.
    """
    trees = iter([{"cell": unflatten(arrays)} for arrays in written])
    layers: list[dict[str, Any]] = []
    for layer in structure.layers:
        cells = [next(trees) for _ in layer]
        layers.append(cells[0] if len(cells) == 1 else dict(zip(DIRECTIONS, cells, strict=True)))
    return layers if structure.is_stack else layers[0]


def _has(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)
