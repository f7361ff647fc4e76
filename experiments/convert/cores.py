"""Recurrent cells found among named arrays."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from experiments.common.errors import UserError
from seqmodels.weights.layouts import LAYOUTS, Layout, Tensor, shape_of

_TORCH = re.compile(r"(.*?)weight_ih_l(\d+)(_reverse)?")
_HAIKU = {"rnn": "vanilla_rnn", "lstm": "lstm", "gru": "gru"}
_BACKWARD = {"forward": False, "forward_rnn": False, "backward": True, "backward_rnn": True}


class Core(NamedTuple):
    """One recurrent cell of a file.

    Attributes:
      kind: a name in `LAYOUTS`.
      input_size: D.
      hidden_size: H.
      layout: the tensors that it may have.
      names: the name of each of them in the file, by its name in the layout.
      place: its layer; equal for both cells of a layer of two directions.
      is_backward: whether it reads backwards; None if the name does not state it.
    """

    kind: str
    input_size: int
    hidden_size: int
    layout: Layout
    names: dict[str, str]
    place: str
    is_backward: bool | None


def find_cores(framework: str, arrays: Mapping[str, np.ndarray]) -> list[Core]:
    """Returns the recurrent cells of a file, in the order of their names.

    Args:
      framework: a name in `LAYOUTS`.
      arrays: the arrays by name.

    Raises:
      UserError: if the names of the arrays cannot be those of the framework.
    """
    if framework == "keras":
        return list(_keras_cores(arrays))
    places = _torch_places(arrays) if framework == "torch" else _tree_places(framework, arrays)
    cores = []
    for before, after in places:
        core = _core(framework, arrays, before, after)
        if core is not None:
            cores.append(core)
        elif framework == "torch":
            raise UserError(
                f"input: {before}weight_ih{after}: got shapes that are not those of RNN, LSTM or "
                "GRU, expected one of them without proj_size"
            )
    return sorted(cores, key=lambda core: (_natural(core.place), bool(core.is_backward)))


def _core(framework: str, arrays: Mapping[str, np.ndarray], before: str, after: str) -> Core | None:
    """Returns the cell whose tensors have names of that beginning and end, if there is one."""
    matches: list[Core] = []
    for (name, kind), layout in LAYOUTS.items():
        if name not in (framework, f"{framework}_optimized"):
            continue
        names = {tensor.name: f"{before}{tensor.name}{after}" for tensor in layout}
        sizes = _sizes(layout, {k: arrays[v].shape for k, v in names.items() if v in arrays})
        if sizes is None or (framework == "haiku" and not _is_haiku(kind, before)):
            continue
        parts = re.split(r"[./]", before)
        directions = [_BACKWARD[part] for part in parts if part in _BACKWARD]
        is_backward = None if framework == "haiku" else after.endswith("_reverse")
        place = before + after.removesuffix("_reverse")
        if directions and framework not in ("torch", "haiku"):
            is_backward = directions[-1]
            place = "/".join(part for part in parts if part not in _BACKWARD)
        matches.append(Core(kind, *sizes, layout, names, place, is_backward))
    # The GRU without b_n also fits the tensors of the one that has it.
    return max(matches, key=lambda core: len({*core.names.values()} & {*arrays}), default=None)


def _sizes(layout: Layout, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int] | None:
    """Returns D and H, if the kernels of a layout are there and fit each other."""
    kernels = [tensor for tensor in layout if not tensor.is_bias]
    if any(len(shapes.get(kernel.name, ())) != 2 for kernel in kernels):
        return None
    first, shape = kernels[0], shapes[kernels[0].name]
    rows, columns = shape[::-1] if first.transposed else shape
    H, rest = divmod(columns, len(first.rows[0]))
    D = rows - H * (len(first.rows) - 1)
    if rest or D < 1 or H < 1:
        return None
    fits = all(shapes[kernel.name] == shape_of(kernel, D, H) for kernel in kernels)
    return (D, H) if fits else None


def _torch_places(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        match = _TORCH.fullmatch(name)
        if match is not None:
            yield match[1], f"_l{match[2]}{match[3] or ''}"


def _tree_places(framework: str, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    firsts = {
        layout[0].name
        for (name, _), layout in LAYOUTS.items()
        if name in (framework, f"{framework}_optimized")
    }
    separator = "." if framework == "seqmodels" else "/"
    for name in names:
        for first in firsts:
            if name == first or name.endswith(f"{separator}{first}"):
                yield name.removesuffix(first), ""


def _is_haiku(kind: str, before: str) -> bool:
    """Returns whether a path ends in the default name of a core; a linear layer looks like one."""
    return re.fullmatch(rf"(.*/)?{_HAIKU[kind]}(_\d+)?/", before) is not None


def _keras_cores(arrays: Mapping[str, np.ndarray]) -> Iterator[Core]:
    """Yields the cells of a list of weights: kernel, recurrent kernel and maybe a bias."""
    matches = [re.fullmatch(r".*?(\d+)", name) for name in arrays]
    numbers = [int(match[1]) for match in matches if match is not None]
    if len({*numbers}) < len(arrays):
        raise UserError(
            f"input: got the names {', '.join(list(arrays)[:2])}, ..., expected arr_0, arr_1, ..."
        )
    names = [name for _, name in sorted(zip(numbers, arrays, strict=True))]
    at = 0
    while at < len(names):
        core = _keras_core(arrays, names[at : at + 3])
        if core is not None:
            yield core
        at += 1 if core is None else len(core.layout)


def _keras_core(arrays: Mapping[str, np.ndarray], names: list[str]) -> Core | None:
    """Returns the cell whose first tensors have these names."""
    for kind in ("lstm", "gru_after", "gru", "rnn"):
        layout: tuple[Tensor, ...] = LAYOUTS["keras", kind]
        called = {tensor.name: name for tensor, name in zip(layout, names, strict=False)}
        sizes = _sizes(layout, {k: arrays[name].shape for k, name in called.items()})
        if sizes is None:
            continue
        bias = layout[2]
        if len(names) > 2 and arrays[names[2]].shape == shape_of(bias, *sizes):
            return Core(kind, *sizes, layout, called, names[0], None)
        # Two dense layers look like a simple RNN without a bias.
        if kind in ("lstm", "gru_after") and (len(names) < 3 or arrays[names[2]].ndim == 2):
            kernels = layout[:2]
            called = {tensor.name: called[tensor.name] for tensor in kernels}
            return Core(kind, *sizes, kernels, called, names[0], None)
    return None


def _natural(text: str) -> list[tuple[int, str]]:
    """Returns a key that sorts layer 2 before layer 10, and a name without number before both."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)
    ]
