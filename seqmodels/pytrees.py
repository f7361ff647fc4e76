"""Splitting a pytree into two of the same structure, combining them, and matching trees.

None replaces a leaf that is in the other tree.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import ad


def is_float(leaf: Any) -> bool:
    """Returns whether a leaf can have a gradient: real or complex floating-point numbers."""
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def widen(tree: Any) -> Any:
    """Returns floating leaves in at least float32.

    Examples:
      >>> widen({"w": jnp.ones(3, jnp.bfloat16), "n": jnp.ones(3, jnp.int8)})["w"].dtype
      dtype('float32')
    """

    def one(leaf: Any) -> Any:
        if not is_float(leaf):
            return leaf
        return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))

    return jax.tree.map(one, tree)


def partition_floats(tree: Any) -> tuple[Any, Any]:
    """Returns the tree of its floating-point leaves and the tree of the others."""
    floats = jax.tree.map(lambda a: a if is_float(a) else None, tree)
    others = jax.tree.map(lambda a: None if is_float(a) else a, tree)
    return floats, others


def partition_by_flags(tree: Any, flags: tuple[bool, ...]) -> tuple[Any, Any]:
    """Returns the tree of the leaves whose flag is false and the tree of those whose flag is true.

    Args:
      tree: a pytree.
      flags: one flag for each leaf.
    """
    leaves, structure = jax.tree.flatten(tree)
    pairs = list(zip(leaves, flags, strict=True))
    return (
        jax.tree.unflatten(structure, [None if flag else leaf for leaf, flag in pairs]),
        jax.tree.unflatten(structure, [leaf if flag else None for leaf, flag in pairs]),
    )


def combine(first: Any, second: Any) -> Any:
    """Returns the tree with the leaves of its two parts `first` and `second`."""
    return jax.tree.map(
        lambda a, b: b if a is None else a, first, second, is_leaf=lambda a: a is None
    )


def without_float0(tangents: Any) -> Any:
    """Returns the tangents or cotangents, with None for integer leaves."""
    return jax.tree.map(lambda d: None if d.dtype == jax.dtypes.float0 else d, tangents)


def zero_tangents(tree: Any) -> Any:
    """Returns a zero tangent for every leaf, of dtype float0 for integers, bools and keys."""

    def zero(leaf: Any) -> Any:
        return ad.instantiate_zeros(ad.Zero(jax.typeof(leaf).to_tangent_aval()))

    return jax.tree.map(zero, tree)


def match_varying_axes(tree: Any, *others: Any) -> Any:
    """Returns `tree` with the varying axes of `others`, so that a loop in shard_map can carry it.

    Inside `jax.shard_map` an array made of constants, such as a zero state, is the same on every
    device. A loop refuses to carry it together with data that differ between devices.
    """
    varying = set().union(*(_varying(leaf) for leaf in jax.tree.leaves(others)))

    def cast(leaf: jax.Array) -> jax.Array:
        missing = tuple(sorted(varying - _varying(leaf)))
        return jax.lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(cast, tree) if varying else tree


def _varying(leaf: Any) -> set[str]:
    return set(jax.typeof(leaf).manual_axis_type.varying)
