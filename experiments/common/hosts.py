"""Several processes, on one host or many, as one run.

Start the same command on every host, each with its own process_id:

    python -m ... --coordinator_address=10.0.0.1:1234 --num_processes=2 --process_id=0
    python -m ... --coordinator_address=10.0.0.1:1234 --num_processes=2 --process_id=1
"""

import atexit
import os
import sys
import time
from collections.abc import Callable

from experiments.common.errors import UserError
from experiments.common.sections import HostOptions
from seqmodels.training.parallel import processes

INTERRUPTED = 130
_GRACE_SECONDS = 2.0


def join(options: HostOptions) -> None:
    """Joins the processes of the run, without starting the backend. Call it before JAX does.

    Raises:
      UserError: if the processes do not come together.
    """
    try:
        processes.initialize(options.coordinator_address, options.num_processes, options.process_id)
    except (ValueError, ConnectionError) as error:
        if processes.is_lost_peer(error):
            raise
        raise UserError(str(error)) from error


def supervised(options: HostOptions, main: Callable[[], int]) -> int:
    """Calls `main`; with several processes, in a worker with a parent that watches it.

    A process that fails ends at once and with its own status, without waiting for the others. They
    end with status 75 (`LOST` in `experiments.common.supervisor`) and one line.

    Args:
      options: number of this process, and of all processes.
      main: returns an exit status.
    """
    if options.num_processes is None or options.process_id is None or options.num_processes == 1:
        return main()
    from experiments.common import supervisor  # needs POSIX; a single process does not

    # Removed, so that a program started by the worker is not mistaken for one.
    parent = os.environ.pop(supervisor.ENVIRONMENT, None)
    if parent is None:
        command = [sys.executable, *sys.orig_argv[1:]]
        return supervisor.supervise(command, options.process_id, options.num_processes)
    supervisor.end_with_parent(int(parent))
    try:
        return main()
    except BaseException as error:
        if processes.is_lost_peer(error):
            _leave(options, supervisor.LOST)
        if status := _status(error):
            # JAX would wait for the others at exit. The function registered last runs first, after
            # the error was printed.
            atexit.register(_leave, options, status)
        raise


def _status(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1


def _leave(options: HostOptions, status: int) -> None:
    """Ends this process without waiting for the others."""
    sys.stdout.flush()
    sys.stderr.flush()
    if options.process_id == 0:
        # The others end with the coordinator, so they get time to print their own error.
        time.sleep(_GRACE_SECONDS)
    os._exit(status)
