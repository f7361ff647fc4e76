"""Checks of `in_axes` and `out_axes` of `data_parallel` against their arrays."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.types import Array

KEY = "key"


class Batch(NamedTuple):
    """The leaves of the arguments: `axes` has for each its axis of rows, None or "key"."""

    leaves: list[Array]
    axes: list[Any]
    structure: Any
    rows: int


class Output(NamedTuple):
    """One leaf of the outputs: its path, the entry of `out_axes`, its shape and dtype."""

    path: str
    entry: Any
    shape: tuple[int, ...]
    dtype: Any


def check_rows(rows: int, devices: int) -> None:
    """Raises ValueError unless there are rows and the number of devices divides their number."""
    if not rows or rows % devices:
        raise ValueError(f"batch: got {rows} rows, expected a multiple of the {devices} devices")


def check_entries(name: str, tree: Any, words: tuple[Any, ...]) -> None:
    """Raises ValueError unless all entries are integers or among the words."""
    for entry in jax.tree.leaves(tree, is_leaf=lambda a: a is None):
        is_axis = isinstance(entry, int) and not isinstance(entry, bool)
        if not is_axis and entry not in words:
            names = ", ".join(map(repr, words))
            raise ValueError(
                f"data_parallel: {name}: got {entry!r}, expected an integer or one of {names}"
            )


def _entries(name: str, prefix: Any, tree: Any) -> list[Any]:
    """Returns the entry of a prefix for every leaf of a tree."""
    found: list[Any] = []

    def fill(entry: Any, node: Any) -> None:
        found.extend([entry] * len(jax.tree.leaves(node)))

    try:
        jax.tree.map(fill, prefix, tree, is_leaf=lambda a: a is None)
    except (TypeError, ValueError):
        described = jax.tree.map(lambda _: "*", tree)
        raise ValueError(
            f"data_parallel: {name}: got {prefix!r}, expected a prefix of {described!r}"
        ) from None
    return found


def split_arguments(arguments: tuple[Any, ...], entries: tuple[Any, ...], name: str) -> Batch:
    """Returns the leaves of the arguments, each with its entry of `in_axes`."""
    if len(arguments) != len(entries):
        raise ValueError(
            f"data_parallel: {name}: got {len(entries)} entries, expected one for each of the "
            f"{len(arguments)} arguments"
        )
    axes: list[Any] = []
    for number, (entry, argument) in enumerate(zip(entries, arguments, strict=True)):
        axes += _entries(f"{name}[{number}]", entry, argument)
    leaves, structure = jax.tree.flatten(arguments)
    leaves = [jnp.asarray(leaf) for leaf in leaves]
    rows = set()
    for number, (axis, leaf) in enumerate(zip(axes, leaves, strict=True)):
        if axis == KEY:
            is_key = leaf.ndim == 0 and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            if not is_key and not (leaf.ndim == 1 and leaf.dtype == jnp.uint32):
                raise ValueError(
                    f"data_parallel: in_axes: got 'key' for {describe(leaf)}, expected one PRNG key"
                )
        elif axis is not None:
            if not -leaf.ndim <= axis < leaf.ndim:
                hint = "; in_axes has entries for each argument" if name == "batch_axis" else ""
                raise ValueError(
                    f"data_parallel: {name}: got {axis} for {describe(leaf)}, expected one of its "
                    f"axes{hint}"
                )
            axes[number] = axis % leaf.ndim
            rows.add(leaf.shape[axis])
    if len(rows) != 1:
        counts = " and ".join(map(str, sorted(rows))) if rows else "no argument with"
        raise ValueError(f"batch: got {counts} rows, expected the same number in all arguments")
    return Batch(leaves, axes, structure, rows.pop())


def outputs_of(outputs: Any, out_axes: Any) -> list[Output]:
    """Returns the leaves of the outputs; raises ValueError if an entry does not fit."""
    entries = _entries("out_axes", out_axes, outputs)
    paths = jax.tree_util.tree_leaves_with_path(outputs)
    found = []
    for entry, (path, leaf) in zip(entries, paths, strict=True):
        dtype = jnp.result_type(leaf) if not hasattr(leaf, "dtype") else leaf.dtype
        output = Output(jax.tree_util.keystr(path), entry, jnp.shape(leaf), dtype)
        kinds = {"mean": (jnp.inexact,), "sum": (jnp.inexact, jnp.integer)}.get(entry)
        if kinds and not any(jnp.issubdtype(output.dtype, kind) for kind in kinds):
            other = "'sum' or " if jnp.issubdtype(output.dtype, jnp.integer) else ""
            raise ValueError(
                f"data_parallel: out_axes: got {entry!r} for output{output.path}, "
                f"{describe(output)}, expected {other}the axis of its rows"
            )
        if kinds is None and not -len(output.shape) <= entry < len(output.shape):
            raise ValueError(
                f"data_parallel: out_axes: got {entry} for output{output.path}, "
                f"{describe(output)}, expected one of its axes, 'mean' or 'sum'"
            )
        found.append(output if kinds else output._replace(entry=entry % len(output.shape)))
    return found


def describe(array: Any) -> str:
    """Returns dtype and shape, such as float32[7, 4]."""
    return f"{array.dtype}{list(array.shape)}"
