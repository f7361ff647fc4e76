"""Array leaves of a state: specifications, host copies, and reassembly."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class ArraySpec(NamedTuple):
    """Specification of one array of a tree.

    path: as `jax.tree_util.keystr` writes it. shape: the shape of the array, also of an array of
    keys. dtype: its name, such as "float32" or "key<fry>". key_impl: the name of the implementation
    of PRNG keys, "" if it is not known; None for other arrays.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    key_impl: str | None = None

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


def describe_arrays(tree: Any) -> tuple[ArraySpec, ...]:
    """Returns the specifications of the arrays of a tree, in the tree's order.

    Args:
      tree: a pytree of JAX or NumPy arrays, or of `jax.ShapeDtypeStruct`s; may hold typed keys.

    Returns:
      One `ArraySpec` per leaf.

    Raises:
      ValueError: if a leaf is something else, such as a Python number, or an array of objects.
    """
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return tuple(_describe(jax.tree_util.keystr(path), leaf) for path, leaf in leaves)


def copy_to_host(tree: Any) -> list[np.ndarray]:
    """Returns copies of the arrays of a tree, which may be donated or written to afterwards.

    Args:
      tree: arrays as `describe_arrays` takes them, each whole in this process. They may be on one
        device, sharded or replicated over its devices, or replicated over many processes.

    Returns:
      NumPy arrays in the tree's order, for keys their data (*shape, words) uint32.

    Raises:
      ValueError: if an array is spread over the devices of several processes.
    """
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    local = [_whole_here(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]
    for leaf in local:
        # All transfers begin before the first is waited for.
        if isinstance(leaf, jax.Array):
            leaf.copy_to_host_async()
    # On a CPU np.asarray would be the device's own memory, which then could not be donated. The
    # memory of a NumPy array is the caller's, to write to.
    return [np.array(leaf, order="C", copy=True) for leaf in local]


def rebuild(template: Any, leaves: Sequence[ArraySpec], arrays: Sequence[np.ndarray]) -> Any:
    """Returns a tree of the template's structure with these arrays as its leaves.

    Args:
      template: any tree with as many leaves.
      leaves: the specification of each leaf.
      arrays: the arrays of `copy_to_host`; None for an array without elements.

    Returns:
      The tree: NumPy arrays, and key arrays on JAX's default device.
    """
    filled = []
    for leaf, array in zip(leaves, arrays, strict=True):
        if leaf.key_impl is None:
            filled.append(array)
        else:
            filled.append(jax.random.wrap_key_data(jnp.asarray(array), impl=leaf.key_impl))
    return jax.tree.unflatten(jax.tree.structure(template), filled)


def data_shape_and_dtype(leaf: ArraySpec) -> tuple[tuple[int, ...], np.dtype]:
    """Returns shape and dtype of the array that `copy_to_host` returns for such a leaf."""
    if leaf.key_impl is None:
        return leaf.shape, np.dtype(leaf.dtype)
    words = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0, impl=leaf.key_impl)))
    return (*leaf.shape, *words.shape), np.dtype(words.dtype)


def first_difference(saved: Sequence[ArraySpec], expected: Sequence[ArraySpec]) -> str | None:
    """Returns the first difference of two trees, or None if they are equal.

    Args:
      saved: the leaves of a checkpoint.
      expected: the leaves that the caller expects.

    Returns:
      Text such as ".params['w']: float32[3] there, float32[4] expected".
    """
    remaining = {leaf.path: leaf for leaf in saved}
    for leaf in expected:
        other = remaining.pop(leaf.path, None)
        if other is None or (other.shape, other.dtype) != (leaf.shape, leaf.dtype):
            return f"{leaf.path or 'the array'}: {other or 'nothing'} there, {leaf} expected"
    for leaf in remaining.values():
        return f"{leaf.path or 'the array'}: {leaf} there, nothing expected"
    return None


def _describe(path: str, leaf: Any) -> ArraySpec:
    expected = "expected a JAX or NumPy array of numbers, truth values or keys"
    if not isinstance(leaf, jax.Array | jax.ShapeDtypeStruct | np.ndarray | np.generic):
        raise ValueError(f"state{path}: got {type(leaf).__name__}, {expected}")
    dtype: Any = leaf.dtype
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        # A ShapeDtypeStruct does not say its implementation's full name, but its dtype names it.
        impl = str(jax.random.key_impl(leaf)) if isinstance(leaf, jax.Array) else ""
        return ArraySpec(path, tuple(leaf.shape), str(dtype), impl)
    # Dtypes that NumPy does not have itself, such as bfloat16, are of any kind and registered.
    # NumPy's long double differs between machines.
    if (dtype.kind not in "biufc" and dtype.isbuiltin != 2) or dtype.char in "gG":
        raise ValueError(f"state{path}: got an array of {dtype}, {expected}")
    return ArraySpec(path, tuple(leaf.shape), dtype.name)


def _whole_here(path: str, leaf: Any) -> Any:
    if not isinstance(leaf, jax.Array):
        # In this machine's byte order, which the name of a dtype does not contain.
        return np.asarray(leaf, dtype=leaf.dtype.newbyteorder("="))
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if leaf.is_fully_addressable:
        return leaf
    if leaf.is_fully_replicated:
        return leaf.addressable_data(0)
    raise ValueError(
        f"state{path}: got an array spread over several processes, expected one that each has whole"
    )
