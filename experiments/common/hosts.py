"""Devices, and several processes on one host or many.

An entry point calls `hosts.define(...)`, is run by `cli.run(hosts.supervised(main))` and calls
`hosts.start(...)` in `main` before anything else that concerns JAX. On every host the same command
is started, but for `--process_id`:

    python -m ... --coordinator_address=10.0.0.1:1234 --num_processes=2 --process_id=0
    python -m ... --coordinator_address=10.0.0.1:1234 --num_processes=2 --process_id=1
"""

import atexit
import os
import sys
import time
from collections.abc import Callable, Iterable

from absl import flags

from experiments.common import app
from seqmodels.training.parallel import processes
from seqmodels.training.parallel.mesh import largest_divisor, use_devices

INTERRUPTED = 130
_GRACE_SECONDS = 2.0

_FLAGS = ("coordinator_address", "num_processes", "process_id")


def define(devices: str) -> None:
    """Defines the flags.

    Args:
      devices: what `--devices` is for.
    """
    flags.DEFINE_string("devices", "auto", devices)
    flags.DEFINE_string(
        "coordinator_address",
        None,
        "HOST:PORT of process 0, of a run of several processes; a port that is free there.",
    )
    flags.DEFINE_integer(
        "num_processes",
        None,
        "How many processes, on one host or many, make up the run.",
        lower_bound=1,
    )
    flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.", lower_bound=0)
    app.checked(app.devices, "devices")
    flags.register_multi_flags_validator(_FLAGS, _together)


def _together(values: dict[str, object]) -> bool:
    try:
        processes.check_processes(**values)  # type: ignore[arg-type]
    except ValueError as error:
        raise flags.ValidationError(str(error)) from None
    return True


def start(devices: str, same: Iterable[str] = (), **seconds: int) -> int:
    """Joins the processes of the run that the flags name, and makes the devices.

    Args:
      devices: the value of `--devices`, which counts the devices of each process.
      same: names of flags that must have the same value on every process.
      **seconds: times to wait, for `distributed.initialize`.

    Returns:
      The number of devices of each process.

    Raises:
      cli.UserError: if the processes do not come together, or were not given the same, or do not
        have the devices.
    """
    try:
        address, count, number = (flags.FLAGS[name].value for name in _FLAGS)
        processes.initialize(address, count, number, **seconds)
        here = use_devices(devices)
        given = {name: flags.FLAGS[name].serialize() for name in same}
        processes.check_same({"num_processes": count, "devices": here, **given})
    except (ValueError, ConnectionError) as error:
        if processes.is_lost_peer(error):
            raise
        raise app.UserError(str(error)) from None
    return here


def start_dividing(name: str, same: Iterable[str]) -> int:
    """Starts no more devices than divide what is spread over them, and says so in `--devices`.

    Args:
      name: the flag that counts what is spread, such as "batch" or "seeds".
      same: as in `start`.

    Returns:
      The number of devices of each process, which divides its share.

    Raises:
      ValueError: if the processes do not divide the number.
      cli.UserError: as `start`.
    """
    values = flags.FLAGS
    number, processes = int(str(values[name].value)), values.num_processes or 1
    if number % processes:
        raise ValueError(f"{name}: got {number}, expected a multiple of the {processes} processes")
    share, wanted = number // processes, values.devices
    if wanted != "auto":
        wanted = str(min(int(wanted), share))
    devices = largest_divisor(share, start(wanted, same))
    app.set_flag("devices", str(devices))
    return devices


def supervised(main: Callable[[], int]) -> Callable[[], int]:
    """Returns `main` for `cli.run`: with several processes, in a worker with a parent that watches.

    A process that fails ends at once and with its own status, without waiting for the others; they
    end with status 75 (`LOST` in `experiments.common.supervisor`) and one line.

    Args:
      main: reads flags, works, returns an exit status.
    """

    def run() -> int:
        num_processes, process_id = flags.FLAGS.num_processes, flags.FLAGS.process_id
        if num_processes is None or process_id is None or num_processes == 1:
            return main()
        from experiments.common import supervisor  # which needs POSIX, as one process does not

        # Taken away, so that a program started by the worker is not taken for one.
        parent = os.environ.pop(supervisor.ENVIRONMENT, None)
        if parent is None:
            command = [sys.executable, *sys.orig_argv[1:]]
            return supervisor.supervise(command, process_id, num_processes)
        supervisor.end_with_parent(int(parent))
        try:
            return main()
        except BaseException as error:
            if processes.is_lost_peer(error):
                _leave(supervisor.LOST)
            if status := _status(error):
                # JAX would wait at the exit for the others. Last registered is first called, after
                # what is to be said about the error.
                atexit.register(_leave, status)
            raise

    return run


def _status(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1


def _leave(status: int) -> None:
    """Ends this process without waiting for the others."""
    sys.stdout.flush()
    sys.stderr.flush()
    if flags.FLAGS.process_id == 0:
        # The others end when the coordinator does; so they can first say what is wrong with them.
        time.sleep(_GRACE_SECONDS)
    os._exit(status)
