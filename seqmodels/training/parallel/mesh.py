"""Devices: CPU cores or accelerators, of one process or of all, as one mesh."""

import collections
import contextlib
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from seqmodels.pytrees import match_varying_axes
from seqmodels.training.parallel.processes import resharding_function
from seqmodels.training.parallel.transfer import from_host
from seqmodels.types import Array, Params


def use_devices(devices: str | int = "auto") -> int:
    """Makes the CPU's cores visible as devices and returns how many devices to use.

    To be called by an entry point before JAX starts its backend, that is before any array is made;
    importing `seqmodels` makes none. On a machine with accelerators their number counts, not that
    of the cores. In a run of several processes, after `distributed.initialize`, each counts its
    own; the number is one that every process has.

    Args:
      devices: "auto" for all accelerators, or all cores where there are none; or a number. On a
        machine without accelerators as many devices as asked for are made, whatever the cores.

    Returns:
      The number of devices of each process, at least 1.

    Raises:
      ValueError: if the number is not positive, or larger than the number of accelerators or of the
        devices that a backend has that started before, in any of the processes.
    """
    wanted = None
    if devices != "auto":
        if not str(devices).isdecimal() or int(devices) < 1:
            raise ValueError(f"devices: got {devices}, expected auto or a positive number")
        wanted = int(devices)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    # A backend that has started keeps its devices; then they are only counted.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", max(cores or 1, wanted or 1))
    owners = collections.Counter(device.process_index for device in jax.devices())
    process, available = min(owners.items(), key=lambda item: item[::-1])
    if wanted is not None and wanted > available:
        where = f" on process {process}" if len(owners) > 1 else ""
        raise ValueError(
            f"devices: got {devices}, expected at most the {available} there are{where}"
        )
    return wanted or available


def make_mesh(num_devices: int, axis: str) -> Mesh:
    """Returns a mesh with one axis of that name: the first `num_devices` devices of each process.

    The processes stand in their order, so that each has one piece of whatever is spread.

    Args:
      num_devices: devices of each process, the same number on all of them.
      axis: the name.

    Returns:
      A mesh of `num_devices` times the number of processes.

    Raises:
      ValueError: if a process does not have so many.
    """
    owned: dict[int, list[jax.Device]] = {}
    for device in sorted(jax.devices(), key=lambda device: (device.process_index, device.id)):
        owned.setdefault(device.process_index, []).append(device)
    for process, devices in owned.items():
        if not 0 < num_devices <= len(devices):
            raise ValueError(
                f"num_devices: got {num_devices}, expected 1 to {len(devices)}, the devices of "
                f"process {process}"
            )
    chosen = [device for devices in owned.values() for device in devices[:num_devices]]
    return Mesh(np.array(chosen), (axis,), axis_types=(AxisType.Auto,))


def data_parallel(
    loss: Callable[..., Array], mesh: Mesh, batch_axes: tuple[int, ...]
) -> Callable[..., tuple[Array, Params]]:
    """Returns `(params, *batch) -> (loss, gradient)` with the rows of a batch spread over devices.

    Every device takes its share of the sequences through time with a copy of the parameters; losses
    and gradients are averaged once, at the end. The result is that of one device, to rounding, if
    the loss is a mean over rows that all count alike: a mean over the valid steps of all rows is
    not, because devices have different numbers of them. A dropout key that every device is given
    draws the same masks on each.

    Args:
      loss: `loss(params, *batch) -> scalar`, a mean over the rows of the batch.
      mesh: a mesh with one axis.
      batch_axes: for each argument of the batch, the axis that counts its rows, such as 1 for xs
        (T, B, D) and 0 for lengths (B,); the arguments may be pytrees.

    Returns:
      A function to be compiled with `jax.jit`. It raises ValueError if the devices do not divide
      the number of rows, or if batch_axes does not fit its arguments.

    Raises:
      ValueError: if an axis is negative.
    """
    (name,) = mesh.axis_names
    for axis in batch_axes:
        if axis < 0:
            raise ValueError(f"batch_axes: got {axis}, expected axes counted from 0")
    specs = tuple(PartitionSpec(*[None] * axis, name) for axis in batch_axes)

    def share(params: Params, *batch: Any) -> tuple[Array, Params]:
        # The gradient of parameters that vary is that of this device's rows alone; of replicated
        # ones it would be summed already, in the middle of the backward pass.
        return jax.lax.pmean(
            jax.value_and_grad(loss)(match_varying_axes(params, batch), *batch), name
        )

    spread = jax.shard_map(
        share, mesh=mesh, in_specs=(PartitionSpec(), *specs), out_specs=PartitionSpec()
    )

    def checked(params: Params, *batch: Any) -> tuple[Array, Params]:
        if len(batch) != len(batch_axes):
            raise ValueError(
                f"batch_axes: got {len(batch_axes)}, expected one for each of the {len(batch)} "
                "arguments of the batch"
            )
        for tree, axis in zip(batch, batch_axes, strict=True):
            for leaf in jax.tree.leaves(tree):
                if axis >= leaf.ndim:
                    raise ValueError(
                        f"batch_axes: got {axis} for an array of shape {leaf.shape}, expected one "
                        "of its axes"
                    )
                if not leaf.shape[axis] or leaf.shape[axis] % mesh.size:
                    raise ValueError(
                        f"batch: got {leaf.shape[axis]} rows, expected a multiple of the "
                        f"{mesh.size} devices"
                    )
        return spread(params, *batch)

    return checked


def place(tree: Any, mesh: Mesh, axis: int | None) -> Any:
    """Returns the arrays on the devices of a mesh.

    Args:
      tree: arrays; where the mesh has devices of several processes, equal on all of them, or on
        this mesh already.
      mesh: a mesh with one axis.
      axis: the axis along which they are spread; None for a copy on every device.

    Returns:
      The same arrays, placed.
    """
    spec = PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, *mesh.axis_names)
    sharding = NamedSharding(mesh, spec)

    def put(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return resharding_function(sharding)(leaf)
        return from_host(leaf, sharding)

    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    # Across processes device_put compares the values of all for each array, and moves no keys.
    return jax.tree.map(put, tree)


def largest_divisor(number: int, at_most: int) -> int:
    """Returns the largest divisor of `number` that is not greater than `at_most`."""
    return max(d for d in range(1, min(number, at_most) + 1) if number % d == 0)
