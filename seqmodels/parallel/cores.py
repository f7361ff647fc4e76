"""The CPU cores that a process may use, as devices of JAX."""

import math
import os
import pathlib
import re

import jax

_FLAG = "xla_force_host_platform_device_count"  # an option of XLA
MEMBERSHIP = pathlib.Path("/proc/self/cgroup")
MOUNT = pathlib.Path("/sys/fs/cgroup")


def use_cpu_cores(n: int | None = None) -> None:
    """Makes the CPU's cores visible to JAX as devices, over which `data_parallel` spreads a batch.

    Call it before the first JAX operation; `import seqmodels` is not one. A second call with the
    same number has no effect. The default device of a machine with a GPU or TPU is still that GPU
    or TPU. There the call affects only programs that use CPU devices explicitly.

    Args:
      n: number of devices; None for the number of cores that this process may use. The affinity of
        the process and the limits of its control group (containers) can reduce it.

    Raises:
      ValueError: if `n` is not a positive integer, or if the environment variable XLA_FLAGS asks
        for another number of devices.
      RuntimeError: if JAX has started on CPUs with another number of devices.

    Examples:
      >>> sm.use_cpu_cores()  # doctest: +SKIP
      >>> loss = lambda w, xs: jnp.mean((xs @ w) ** 2)  # xs (T, B, D)
      >>> step = sm.data_parallel(jax.value_and_grad(loss), batch_axis=1)
      >>> value, gradient = step(jnp.ones(3), jnp.ones((5, 4, 3)))
      >>> float(value), gradient.shape
      (9.0, (3,))
    """
    if n is not None and (isinstance(n, bool) or not hasattr(n, "__index__") or n < 1):
        raise ValueError(f"use_cpu_cores: n: got {n!r}, expected a positive integer or None")
    requested = available_cores() if n is None else int(n)
    in_flags = re.findall(rf"{_FLAG}=(\d+)", os.environ.get("XLA_FLAGS", ""))
    if in_flags and int(in_flags[-1]) != requested:
        raise ValueError(
            f"use_cpu_cores: got {_FLAG}={in_flags[-1]} in XLA_FLAGS and n={requested}, expected "
            "the same number or no such flag"
        )
    if set_cpu_devices(requested) or jax.default_backend() != "cpu":
        return
    count = jax.local_device_count()
    if count != requested:
        raise RuntimeError(
            f"use_cpu_cores: got n={requested} after JAX had started with {count} CPU "
            f"{'device' if count == 1 else 'devices'}, expected the call before the first JAX "
            "operation"
        )


def set_cpu_devices(count: int) -> bool:
    """Sets the number of CPU devices; returns False if the backend has started and keeps its own.

    It does not start the backend.
    """
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        return False
    return True


def available_cores() -> int:
    """Returns how many cores this process may use: affinity and control group, at least 1.

    A limit of 1.5 cores counts as 2.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _control_group_limit())))


def _control_group_limit() -> float:
    """Returns the cores that the control groups of this process allow, inf without a limit.

    The groups are in lines "0::/path" (version 2) and "1:cpu:/path" (version 1).
    """
    try:
        lines = MEMBERSHIP.read_text().splitlines()
    except OSError:  # not Linux
        return math.inf
    limits = [math.inf]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = MOUNT / "cpu" if controllers else MOUNT
        inner = top / path.strip("/")
        # A group has the limits of all its parents; in a container the path may be the host's.
        groups = [inner, *inner.parents]
        limits += [_limit_of(group) for group in groups[: groups.index(top) + 1]]
    return min(limits)


def _limit_of(group: pathlib.Path) -> float:
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        return math.inf if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError):
        return math.inf
