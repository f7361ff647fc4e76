"""The conversion of a file of weights, and the table of what it found."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.table import Table

import seqmodels as sm
from experiments.common.errors import UserError
from experiments.common.terminal import PlainConsole, say
from experiments.convert import files
from experiments.convert.config import Config
from experiments.convert.cores import Core, find_cores
from experiments.convert.layers import Layers, layers_of
from seqmodels.cells.catalog import CELLS
from seqmodels.weights.transfer import Framework, Slot, flatten, read

_MOST_NAMES = 4
_NAMES = {"rnn": "rnn", "lstm": "lstm", "gru": "gru", "gru_after": "gru (reset after)"}
_TO: dict[str, Callable[[Any, sm.Cell], Any]] = {
    "torch": sm.weights.to_torch,
    "linen": sm.weights.to_linen,
    "haiku": sm.weights.to_haiku,
    "equinox": sm.weights.to_equinox,
}


class Conversion(NamedTuple):
    """The result of a conversion.

    Attributes:
      cell: the cell in the file.
      params: its parameters.
      layers: the layers; see `layers_of`.
      used: names of the arrays that are part of a recurrent layer, without the prefix.
      left_out: names of the other arrays.
    """

    cell: sm.Cell
    params: Any
    layers: Layers
    used: set[str]
    left_out: list[str]


def run(config: Config) -> Conversion:
    """Converts a file, prints what it found and left out, and returns it.

    Raises:
      UserError: if the file cannot be read, converted or written.
    """
    if config.input is None or config.output is None:
        name = "input" if config.input is None else "output"
        raise UserError(f"{name}: got nothing, expected the name of a file")
    source, target = ("linen" if n == "flax" else n for n in (config.source, config.target))
    output = pathlib.Path(config.output)
    endings = (".onnx",) if target == "onnx" else (".safetensors", ".npz")
    files.check_output(output, endings, overwrite=config.overwrite)
    arrays = files.read(pathlib.Path(config.input))
    with jax.enable_x64(any(array.dtype == np.float64 for array in arrays.values())):
        try:
            found = convert(config, source, arrays)
            _show(found, arrays)
            _write(config, target, found, output)
        except (TypeError, ValueError, ImportError) as error:
            raise UserError(str(error)) from error
    say(f"written: {output} ({target})")
    return found


def convert(config: Config, source: str, arrays: Mapping[str, np.ndarray]) -> Conversion:
    """Returns the cell that arrays describe, and its parameters.

    Args:
      config: options.
      source: the framework of the arrays.
      arrays: the arrays by name.

    Raises:
      ValueError: if they do not describe one.
    """
    chosen = {
        name.removeprefix(config.prefix): array
        for name, array in arrays.items()
        if name.startswith(config.prefix)
    }
    if not chosen:
        raise UserError(f"prefix: got {config.prefix!r}, with which no name begins")
    layers = layers_of(_of_one_module(source, find_cores(source, chosen)), config.directions)
    relu = config.activation == "relu" or source == "haiku"
    cells = [[_cell(core, chosen, relu=relu) for core in layer] for layer in layers]
    parts = [pair[0] if len(pair) == 1 else sm.bidirectional(*pair) for pair in cells]
    cell = parts[0] if len(parts) == 1 else sm.stack(parts)
    framework = Framework(f"from_{source}", source)
    structure = framework.structure(cell)
    cores = [core for layer in layers for core in layer]
    slots = [
        Slot(leaf, core.layout, core.names)
        for leaf, core in zip(structure.leaves, cores, strict=True)
    ]
    used = {name for core in cores for name in core.names.values()} & {*chosen}
    params = read(framework, structure, {name: chosen[name] for name in used}, slots)
    taken = {config.prefix + name for name in used}
    left_out = [name for name in arrays if name not in taken]
    return Conversion(cell, params, layers, used, left_out)


def _of_one_module(source: str, cores: list[Core]) -> list[Core]:
    """Returns the cores; UserError if they are of several modules of torch."""
    modules = dict.fromkeys(core.place.rpartition("_l")[0] for core in cores)
    if source == "torch" and len(modules) > 1:
        raise UserError(
            f"prefix: got the recurrent modules {', '.join(modules)}; expected one, such as "
            f"--prefix={next(iter(modules))}"
        )
    return cores


def _cell(core: Core, arrays: Mapping[str, np.ndarray], *, relu: bool) -> sm.Cell:
    dtype = arrays[core.names[core.layout[0].name]].dtype
    options: dict[str, Any] = {"param_dtype": dtype}
    if core.kind == "rnn" and relu:
        options["activation"] = "relu"
    if core.kind == "gru_after":
        options["reset_after"] = True
    factory: Callable[..., sm.Cell] = CELLS[core.kind.removesuffix("_after")]
    return factory(core.input_size, core.hidden_size, **options)


def _write(config: Config, target: str, found: Conversion, output: pathlib.Path) -> None:
    cell, params = found.cell, found.params
    if target == "onnx":
        files.write_bytes(output, sm.weights.to_onnx(params, cell).SerializeToString())
        return
    if target == "seqmodels":
        arrays = {
            jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        }
    elif target == "keras":
        arrays = {f"arr_{n}": a for n, a in enumerate(sm.weights.to_keras(params, cell))}
    elif target == "nnx":
        tree = sm.weights.to_nnx(params, cell, optimized=config.optimized)
        arrays = dict(flatten(tree))
    else:
        arrays = dict(flatten(_TO[target](params, cell)))
    files.write(output, arrays)


def _show(found: Conversion, arrays: Mapping[str, np.ndarray]) -> None:
    table = Table(box=None)
    for name in ("layer", "direction", "cell", "D", "H", "tensors"):
        table.add_column(name, justify="right" if name in "DH" else "left")
    for number, layer in enumerate(found.layers):
        for core, direction in zip(layer, ("forward", "backward"), strict=False):
            table.add_row(
                str(number),
                direction,
                _NAMES[core.kind],
                str(core.input_size),
                str(core.hidden_size),
                _listed(core, found.used),
            )
    PlainConsole().print(table)
    for name in found.left_out:
        say(f"left out: {name} {tuple(arrays[name].shape)}")


def _listed(core: Core, used: set[str]) -> str:
    """Returns the names of a core's tensors, or what they have in common and how many they are."""
    names = [name for name in core.names.values() if name in used]
    if len(names) <= _MOST_NAMES:
        return ", ".join(names)
    first = next(iter(core.names))
    return f"{core.names[first].removesuffix(first)}... ({len(names)})"
