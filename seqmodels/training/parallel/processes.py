"""Multi-process setup and host-level collectives, for processes on one host or many.

Every process runs the same program and calls the same functions of this module in the same order.
Without `initialize` these are no-ops and do not start the backend.
"""

import contextlib
import functools
import ipaddress
import json
import logging
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

from seqmodels.storage import reading

HEARTBEAT_SECONDS = 30
INITIALIZATION_SECONDS = 60
SHUTDOWN_SECONDS = 300
_RETRY_SECONDS = 0.25
_joined: list[tuple[int, int]] = []  # (num_processes, process_id), last what was joined last
# Messages of gloo, NCCL and the coordinator's service about a lost peer.
_LOST = re.compile(
    r"(Gloo|NCCL).*(closed by peer|reset by peer|Broken pipe|Read timeout|remote process exited)"
    r"|[Cc]oordination ?[Ss]ervice",
    re.DOTALL,
)


def check_processes(
    coordinator_address: str | None, num_processes: int | None, process_id: int | None
) -> None:
    """Checks the arguments of `initialize`.

    Args:
      coordinator_address: HOST:PORT where process 0 can be reached by all; [HOST]:PORT for IPv6.
      num_processes: number of processes.
      process_id: this one, from 0 to num_processes - 1.

    Raises:
      ValueError: if they are inconsistent. All None is one process.
    """
    given = {
        "coordinator_address": coordinator_address,
        "num_processes": num_processes,
        "process_id": process_id,
    }
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return
    if missing:
        raise ValueError(
            f"{missing[0]}: got nothing, expected {', '.join(given)} together, or none of them"
        )
    _split(str(coordinator_address))
    assert num_processes is not None
    assert process_id is not None
    if num_processes < 1:
        raise ValueError(f"num_processes: got {num_processes}, expected at least 1")
    if not 0 <= process_id < num_processes:
        raise ValueError(
            f"process_id: got {process_id}, expected 0 to {num_processes - 1}, one of the "
            f"{num_processes} processes"
        )


def initialize(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
    initialization_seconds: int = INITIALIZATION_SECONDS,
    shutdown_seconds: int = SHUTDOWN_SECONDS,
) -> None:
    """Joins the other processes of a run; does nothing for one process.

    Call it before JAX starts its backend, and so before `mesh.use_devices`. The devices of all
    processes are then `jax.devices()`. On CPUs they are joined by gloo, which listens at the
    address that this host's own name resolves to. SIGTERM stays the program's own: JAX's preemption
    service, which takes the signal away from it, is off.

    JAX's runtime reports failures of other processes to this one. It ends the process with SIGABRT
    when another one is silent for `heartbeat_seconds`, or never joins.

    Args:
      coordinator_address: HOST:PORT where process 0 can be reached by all; [HOST]:PORT for IPv6.
      num_processes: number of processes.
      process_id: this one, from 0 to num_processes - 1.
      heartbeat_seconds: silence after which a process counts as lost, from 1 to 30.
      initialization_seconds: how long to wait for the others.
      shutdown_seconds: how long a finished process waits for the others.

    Raises:
      ValueError: if the values are impossible.
      ConnectionError: if process 0 does not answer in time; on process 0, if it cannot listen.
      RuntimeError: if the backend has started, or this was called before.
    """
    check_processes(coordinator_address, num_processes, process_id)
    for name, value, most in (
        ("heartbeat_seconds", heartbeat_seconds, HEARTBEAT_SECONDS),
        ("initialization_seconds", initialization_seconds, 3600),
        ("shutdown_seconds", shutdown_seconds, 3600),
    ):
        if not 1 <= value <= most:
            raise ValueError(f"{name}: got {value}, expected 1 to {most}")
    if coordinator_address is None or num_processes is None or num_processes == 1:
        return
    assert process_id is not None
    # JAX ends the process without an exception if these fail, so they are tried first.
    if process_id == 0:
        _check_port_is_free(coordinator_address)
    else:
        _wait_for(coordinator_address, initialization_seconds)
    _warn_of_local_name(coordinator_address)
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        coordinator_address,
        num_processes,
        process_id,
        # A launcher such as Slurm would choose the devices; here the caller does.
        cluster_detection_method="deactivate",
        initialization_timeout=initialization_seconds,
        heartbeat_timeout_seconds=heartbeat_seconds,
        shutdown_timeout_seconds=shutdown_seconds,
    )
    _joined.append((num_processes, process_id))


def process_count() -> int:
    """Returns the number of processes of the run; does not start the backend."""
    if jax.distributed.is_initialized():
        return _joined[-1][0] if _joined else jax.process_count()
    return 1


def process_index() -> int:
    """Returns the number of this process; does not start the backend."""
    if jax.distributed.is_initialized():
        return _joined[-1][1] if _joined else jax.process_index()
    return 0


def is_main() -> bool:
    """Returns whether this is process 0, the only one that writes files and prints."""
    return process_index() == 0


def is_lost_peer(error: BaseException | None) -> bool:
    """Returns whether an error, or one of its causes, reports the loss of another process.

    Depending on where JAX was, that is a `jax.errors.JaxRuntimeError` or a ValueError.
    """
    while error is not None:
        if isinstance(error, jax.errors.JaxRuntimeError | ValueError) and _LOST.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def agree(stop: bool, save: bool) -> tuple[bool, bool]:
    """Returns whether to stop and whether to save, the same on every process: a collective.

    Args:
      stop: whether this process wants to stop.
      save: whether it wants to save.

    Returns:
      stop, if any process requests it; save, if process 0 requests it.
    """
    if process_count() == 1:
        return stop, save
    wishes = gather_bytes(np.array([stop, save], np.uint8))
    return bool(wishes[:, 0].any()), bool(wishes[0, 1])


def gather_bytes(values: np.ndarray) -> np.ndarray:
    """Returns the bytes of every process, on every process: a collective.

    Args:
      values: uint8 (N,), of the same N on all.

    Returns:
      uint8 (P, N) for P processes.
    """
    if process_count() == 1:
        return values[None]
    devices = process_devices()
    mesh = Mesh(np.array(devices), ("processes",), axis_types=(AxisType.Auto,))
    rows = jax.make_array_from_callback(
        (len(devices), *values.shape),
        NamedSharding(mesh, PartitionSpec("processes")),
        lambda _: values[None],
    )
    return np.array(
        resharding_function(NamedSharding(mesh, PartitionSpec()))(rows).addressable_data(0)
    )


def gather_json(value: Any) -> list[Any]:
    """Returns the JSON value of every process, on every process: a collective."""
    if process_count() == 1:
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = gather_bytes(np.frombuffer(np.int64(text.size).tobytes(), np.uint8))
    sizes = sizes.view(np.int64).ravel()
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: text.size] = text
    rows = gather_bytes(padded)
    return [
        json.loads(row[:size].tobytes().decode()) for row, size in zip(rows, sizes, strict=True)
    ]


def broadcast_json(value: Any) -> Any:
    """Returns the JSON value of process 0, on every process: a collective.

    Args:
      value: the value on process 0, of at most some megabytes; elsewhere anything.
    """
    return gather_json(value if is_main() else None)[0]


def check_same(values: dict[str, Any]) -> None:
    """Checks that values are equal on all processes: a collective.

    Args:
      values: JSON values by name, such as the settings of a run.

    Raises:
      ValueError: on every process, if a value of one differs from that of process 0.
    """
    everyone = gather_json(values)
    for number, theirs in enumerate(everyone):
        for name in {**everyone[0], **theirs}:
            here, there = everyone[0].get(name), theirs.get(name)
            if here != there:
                if name.endswith("_sha256"):
                    here, there = reading.short(here), reading.short(there)
                raise ValueError(
                    f"{name}: got {there} on process {number} and {here} on process 0, expected "
                    "the same on every process"
                )


@contextlib.contextmanager
def failing_together() -> Iterator[None]:
    """Context manager that raises the error of one process on all: a collective, at the end.

    So no process waits for one that has ended. The body must not call a collective.

    Raises:
      ValueError: if another process has raised a ValueError, an OSError or a ModuleNotFoundError,
        with its message.
    """
    own: Exception | None = None
    try:
        yield
    except (ValueError, OSError, ModuleNotFoundError) as error:
        if process_count() == 1 or is_lost_peer(error):
            raise
        own = error
    for number, text in enumerate(gather_json(own and str(own))):
        if own is not None:
            raise own
        if text is not None:
            raise ValueError(f"process {number}: {text}")


def process_devices() -> list[jax.Device]:
    """Returns the first device of each process, in the order of the processes."""
    first: dict[int, jax.Device] = {}
    for device in sorted(jax.devices(), key=lambda device: (device.process_index, device.id)):
        first.setdefault(device.process_index, device)
    return list(first.values())


@functools.lru_cache(maxsize=64)
def resharding_function(sharding: Sharding) -> Callable[[jax.Array], jax.Array]:
    """Returns the compiled function that brings an array of all processes to a sharding."""
    return jax.jit(lambda array: array, out_shardings=sharding)


def _split(address: str) -> tuple[str, int]:
    """Returns host and port; ValueError if the text is not HOST:PORT."""
    host, _, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    name = host[1:-1] if bracketed else host
    plain = name and not set(name) & set("/[]@ \t\n") and (bracketed or ":" not in name)
    if not plain or not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(
            f"coordinator_address: got {address!r}, expected HOST:PORT, such as 10.0.0.1:1234"
        )
    return name, int(port)


def _wait_for(address: str, seconds: float) -> None:
    """Waits until a server listens at the address; ConnectionError after the time limit."""
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(_split(address), timeout=max(seconds / 4, 1)).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise ConnectionError(
                    f"coordinator_address: {address} did not answer within {seconds} s "
                    f"({error.strerror or error}); is process 0 running?"
                ) from None
            time.sleep(_RETRY_SECONDS)


def _check_port_is_free(address: str) -> None:
    """Raises ConnectionError if process 0 cannot listen at the port.

    The coordinator itself shares the port with another that listens there, and each would get some
    of the processes.
    """
    port = _split(address)[1]
    try:
        socket.create_server(("", port)).close()
    except OSError as error:
        raise ConnectionError(
            f"coordinator_address: process 0 cannot listen at port {port}: {error.strerror}"
        ) from None


def _warn_of_local_name(address: str) -> None:
    """Warns if gloo would listen at an address that no other host can reach."""
    name = socket.gethostname()
    if _is_loopback(name) and not _is_loopback(_split(address)[0]):
        logging.getLogger(__name__).warning(
            "this host's own name, %s, stands for an address that other hosts cannot reach, and "
            "the CPUs of a run are joined through it; see /etc/hosts",
            name,
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(socket.getaddrinfo(host, None)[0][4][0]).is_loopback
    except (OSError, ValueError):
        return False
