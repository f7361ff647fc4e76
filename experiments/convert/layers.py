"""Recurrent cells of a file, combined into layers."""

from collections.abc import Sequence

from experiments.common.errors import UserError
from experiments.convert.cores import Core

Layers = list[tuple[Core, ...]]


def layers_of(cores: Sequence[Core], directions: int = 0) -> Layers:
    """Returns the layers, from the input to the output; each has one core, or two directions.

    Args:
      cores: the result of `find_cores`.
      directions: 1 or 2; 0: from the names, or else from the sizes.

    Raises:
      UserError: if the cores do not form a chain, or form one in two ways.
    """
    if not cores:
        raise UserError("input: got no recurrent layer, expected one; check --from and --prefix")
    if any(core.is_backward is None for core in cores):
        return _by_sizes(cores, directions)
    layers = _by_names(cores)
    found = sorted({len(layer) for layer in layers})
    if directions and found != [directions]:
        raise UserError(f"directions: got {directions}, but the file has {found[-1]}")
    if not _is_chain(layers):
        raise UserError(_not_a_chain(layers))
    return layers


def _by_names(cores: Sequence[Core]) -> Layers:
    groups: dict[str, list[Core]] = {}
    for core in cores:
        groups.setdefault(core.place, []).append(core)
    for place, group in groups.items():
        if [core.is_backward for core in group] not in ([False], [False, True]):
            raise UserError(f"input: {place}: got a backward cell, expected a forward one, too")
    return [tuple(group) for group in groups.values()]


def _by_sizes(cores: Sequence[Core], directions: int) -> Layers:
    """Returns the layers of cores whose names do not state a direction."""
    one: Layers = [(core,) for core in cores]
    two: Layers = list(zip(cores[::2], cores[1::2], strict=False))
    fits_one = directions != 2 and _is_chain(one)
    fits_two = directions != 1 and len(cores) % 2 == 0 and _is_chain(two)
    if fits_one and fits_two:
        raise UserError(
            f"directions: got sizes that fit {len(one)} layers of one direction and {len(two)} of "
            "two, expected --directions=1 or --directions=2"
        )
    if not fits_one and not fits_two:
        raise UserError(_not_a_chain(one))
    return one if fits_one else two


def _is_chain(layers: Layers) -> bool:
    """Returns whether the sizes of successive layers match."""
    alike = all(
        len({(core.kind, core.input_size, core.hidden_size) for core in layer}) == 1
        for layer in layers
    )
    sizes = [sum(core.hidden_size for core in layer) for layer in layers]
    links = zip(layers[1:], sizes, strict=False)
    return alike and all(layer[0].input_size == size for layer, size in links)


def _not_a_chain(layers: Layers) -> str:
    found = ", ".join(
        f"{core.names[core.layout[0].name]} (D={core.input_size}, H={core.hidden_size})"
        for layer in layers
        for core in layer
    )
    return (
        f"input: got layers that do not fit each other: {found}; expected one chain, see --prefix"
    )
