"""Transfer of arrays to and from the devices of all processes: host values, batches, broadcasts.

With one process there is no communication. PRNG keys stay keys.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from seqmodels.training.parallel.processes import (
    check_same,
    gather_bytes,
    is_main,
    process_count,
    resharding_function,
)

_CHUNK_BYTES = 1 << 24


def to_host(tree: Any) -> Any:
    """Returns the whole value of every array, on every process: a collective.

    Args:
      tree: arrays, which may be spread over the devices of all processes; PRNG keys; numbers.

    Returns:
      NumPy arrays of the same shapes and dtypes, which share no memory with a device. Keys are key
      arrays on one device of this process.
    """

    def whole(leaf: Any) -> np.ndarray:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            if not leaf.is_fully_replicated:
                leaf = resharding_function(NamedSharding(_mesh_of(leaf), PartitionSpec()))(leaf)
            leaf = leaf.addressable_data(0)
        return np.array(leaf)

    return jax.tree.map(_but_keys_by_data(whole), tree)


def from_host(tree: Any, sharding: Any) -> Any:
    """Returns arrays on the devices of all processes, from values that every process has.

    Args:
      tree: NumPy arrays or arrays of this process, PRNG keys, numbers; equal on all processes,
        which is not checked.
      sharding: a sharding for all, or a tree of shardings of which `tree` has the structure or a
        deeper one.

    Returns:
      Arrays of those shapes and of the dtypes that JAX gives them.
    """

    def put(leaf: Any, place: Sharding) -> Any:
        def one(data: Any) -> jax.Array:
            host = _own(data)
            if place.is_fully_addressable:
                return jax.device_put(host, place)
            return jax.make_array_from_callback(host.shape, place, lambda index: host[index])

        return _but_keys_by_data(one)(leaf)

    return jax.tree.map(put, tree, jax.tree.broadcast(sharding, tree))


def from_local(batch: Sequence[Any], mesh: Mesh, batch_axes: tuple[int | None, ...]) -> tuple:
    """Returns a batch on the devices of all processes, from the rows that each process has.

    Args:
      batch: the arguments of a batch, pytrees of arrays, with this process's share of the rows. The
        shares in the order of the processes are the batch; all have the same number of rows.
      mesh: a mesh with one axis, from `mesh.make_mesh`.
      batch_axes: for each argument the axis that counts its rows, as for `sm.data_parallel`; None
        for one that is the same on every process.

    Returns:
      The arguments as arrays of all rows.

    Raises:
      ValueError: if batch_axes does not fit, or the devices do not divide the rows of this process.
    """
    if len(batch) != len(batch_axes):
        raise ValueError(
            f"batch_axes: got {len(batch_axes)}, expected one for each of the {len(batch)} "
            "arguments of the batch"
        )
    num_local = len(mesh.local_devices)
    num_shares = mesh.size // num_local

    def put(axis: int, leaf: Any) -> jax.Array:
        if not 0 <= axis < np.ndim(leaf):
            raise ValueError(
                f"batch_axes: got {axis} for an array of shape {np.shape(leaf)}, expected one of "
                "its axes"
            )
        rows = leaf.shape[axis]
        if not rows or rows % num_local:
            raise ValueError(
                f"batch: got {rows} rows on this process, expected a multiple of its {num_local} "
                "devices"
            )
        sharding = NamedSharding(mesh, PartitionSpec(*[None] * axis, *mesh.axis_names))

        def one(data: Any) -> jax.Array:
            host = _own(data)
            if num_shares == 1:
                return jax.device_put(host, sharding)
            shape = (*host.shape[:axis], rows * num_shares, *host.shape[axis + 1 :])
            return jax.make_array_from_process_local_data(sharding, host, shape)

        return _but_keys_by_data(one)(leaf)

    everywhere = NamedSharding(mesh, PartitionSpec())
    return tuple(
        from_host(tree, everywhere)
        if axis is None
        else jax.tree.map(lambda leaf, axis=axis: put(axis, leaf), tree)
        for tree, axis in zip(batch, batch_axes, strict=True)
    )


def broadcast(tree: Any) -> Any:
    """Returns the values of process 0, bit by bit, on every process: a collective.

    Args:
      tree: arrays of process 0, PRNG keys, numbers. On the other processes only structure, shapes
        and dtypes count, and they must be those of process 0. Values are not read there, so arrays
        may be spread over the devices of all processes.

    Returns:
      NumPy arrays; keys as key arrays on one device of this process.

    Raises:
      ValueError: on every process, if structures, shapes or dtypes differ.
    """
    if process_count() == 1:
        return to_host(tree)
    host = to_host(tree) if is_main() else jax.tree.map(_blank, tree)
    paths, structure = jax.tree_util.tree_flatten_with_path(host)
    check_same(
        {
            f"broadcast: {jax.tree_util.keystr(path) or 'value'}": f"{leaf.dtype}{leaf.shape}"
            for path, leaf in paths
        }
    )
    datas = [jax.random.key_data(leaf) if _is_key(leaf) else leaf for _, leaf in paths]
    arrays = _broadcast([np.asarray(data) for data in datas])
    leaves = [
        jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf))
        if _is_key(leaf)
        else array
        for array, (_, leaf) in zip(arrays, paths, strict=True)
    ]
    return jax.tree.unflatten(structure, leaves)


def _broadcast(arrays: list[np.ndarray]) -> list[np.ndarray]:
    # As bytes, because a sum with zeros is not exact for -0.0 and NaN. In pieces of one size,
    # because each process gets the bytes of all, by a program compiled for that size.
    views = [np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in arrays]
    flat = np.concatenate([*views, np.zeros(0, np.uint8)])
    piece = _CHUNK_BYTES // process_count()
    for begin in range(0, flat.size, piece):
        part = flat[begin : begin + piece]
        part[:] = gather_bytes(part if is_main() else np.zeros_like(part))[0]
    ends = np.cumsum([view.size for view in views])
    return [
        # A copy, because an array of wider elements must be aligned.
        flat[end - view.size : end].copy().view(array.dtype).reshape(array.shape)
        for end, view, array in zip(ends, views, arrays, strict=True)
    ]


def _blank(leaf: Any) -> Any:
    """Returns zeros of the shape and dtype of a leaf, whose values are not read."""
    if not _is_key(leaf):
        dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
        return np.zeros(np.shape(leaf), dtype)
    data = jax.eval_shape(jax.random.key_data, leaf)
    zeros = jnp.zeros(data.shape, data.dtype)
    return jax.random.wrap_key_data(zeros, impl=jax.random.key_impl(leaf))


def _own(data: Any) -> np.ndarray:
    """Returns a copy: on a CPU device JAX may share the memory of a NumPy array."""
    return np.array(data, jax.dtypes.canonicalize_dtype(np.asarray(data).dtype))


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _but_keys_by_data(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Returns `function` with keys taken apart before it and put together after it."""

    def wrapped(leaf: Any) -> Any:
        if not _is_key(leaf):
            return function(leaf)
        data = function(jax.random.key_data(leaf))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))

    return wrapped


def _mesh_of(array: jax.Array) -> Mesh:
    mesh = getattr(array.sharding, "mesh", None)
    if not isinstance(mesh, Mesh):
        raise ValueError(f"sharding: got {array.sharding}, expected a NamedSharding of a mesh")
    return mesh
