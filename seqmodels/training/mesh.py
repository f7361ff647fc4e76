"""Devices: CPU cores or accelerators as one mesh."""

import contextlib
import os

import jax
from jax.sharding import AxisType, Mesh


def use_devices(devices: str | int = "auto") -> int:
    """Makes the CPU's cores visible as devices and returns how many devices to use.

    To be called by an entry point before JAX starts its backend, that is before any array is made;
    importing `seqmodels` makes none. On a machine with accelerators their number counts, not that
    of the cores.

    Args:
      devices: "auto" for all accelerators, or all cores where there are none; or a number. On a
        machine without accelerators as many devices as asked for are made, whatever the cores.

    Returns:
      The number of devices, at least 1.

    Raises:
      ValueError: if the number is not positive, or larger than the number of accelerators or of the
        devices that a backend has that started before.
    """
    wanted = None
    if devices != "auto":
        if not str(devices).isdecimal() or int(devices) < 1:
            raise ValueError(f"devices: given {devices}, wanted auto or a positive number")
        wanted = int(devices)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    # A backend that has started keeps its devices; then they are only counted.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", max(cores or 1, wanted or 1))
    available = len(jax.devices())
    if wanted is not None and wanted > available:
        raise ValueError(f"devices: given {devices}, wanted at most the {available} there are")
    return wanted or available


def make_mesh(num_devices: int, axis: str) -> Mesh:
    """Returns a mesh of the first `num_devices` devices with one axis of that name."""
    devices = jax.devices()[:num_devices]
    return jax.make_mesh((num_devices,), (axis,), axis_types=(AxisType.Auto,), devices=devices)


def largest_divisor(number: int, at_most: int) -> int:
    """Returns the largest divisor of `number` that is not greater than `at_most`."""
    return max(d for d in range(1, min(number, at_most) + 1) if number % d == 0)
