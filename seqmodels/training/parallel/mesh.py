"""Devices: CPU cores or accelerators, of one process or of all, as one mesh."""

import collections
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from seqmodels.parallel.cores import available_cores, set_cpu_devices
from seqmodels.training.parallel.processes import resharding_function
from seqmodels.training.parallel.transfer import from_host


def use_devices(devices: str | int = "auto") -> int:
    """Makes the CPU's cores visible as devices and returns how many devices to use.

    An entry point calls it before JAX starts its backend, that is before any array is made.
    Importing `seqmodels` makes no array. On a machine with accelerators their number counts, not
    the number of cores. In a run of several processes (after `processes.initialize`) each counts
    its own devices, and the number is one that every process has.

    Args:
      devices: "auto" for all accelerators, or for all cores if there are no accelerators; or a
        number. Without accelerators that number of devices is made, whatever the number of cores.

    Returns:
      The number of devices of each process, at least 1.

    Raises:
      ValueError: if the number is not positive. Also if in any process it exceeds the number of
        accelerators, or of the devices of a backend that has already started.
    """
    requested = None
    if devices != "auto":
        if not str(devices).isdecimal() or int(devices) < 1:
            raise ValueError(f"devices: got {devices}, expected auto or a positive number")
        requested = int(devices)
    # A backend that has started keeps its devices; then they are only counted.
    set_cpu_devices(max(available_cores(), requested or 1))
    owners = collections.Counter(device.process_index for device in jax.devices())
    process, available = min(owners.items(), key=lambda item: item[::-1])
    if requested is not None and requested > available:
        where = f" on process {process}" if len(owners) > 1 else ""
        raise ValueError(
            f"devices: got {devices}, expected at most the {available} there are{where}"
        )
    return requested or available


def make_mesh(num_devices: int, axis: str) -> Mesh:
    """Returns a mesh with one axis of that name: the first `num_devices` devices of each process.

    The processes stand in their order, so each holds one piece of an array that is spread.

    Args:
      num_devices: devices of each process, the same number on all of them.
      axis: the name.

    Returns:
      A mesh of `num_devices` times the number of processes.

    Raises:
      ValueError: if a process has fewer devices.
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


def place(tree: Any, mesh: Mesh, axis: int | None) -> Any:
    """Returns the arrays on the devices of a mesh.

    Args:
      tree: arrays. If the mesh has devices of several processes, arrays must be equal on all of
        them, or already be on this mesh.
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
    # Across processes device_put compares the values of every array, and cannot move keys.
    return jax.tree.map(put, tree)


def largest_divisor(number: int, at_most: int) -> int:
    """Returns the largest divisor of `number` that is not greater than `at_most`."""
    return max(d for d in range(1, min(number, at_most) + 1) if number % d == 0)
