"""Worker processes and the pipe to each: one line of JSON per request and per reply."""

import contextlib
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, Self

from experiments.benchmark.cases import Worker

ROOT = pathlib.Path(__file__).parents[2]
START_LIMIT = 120.0


class WorkerError(Exception):
    """A worker died, stalled, or could not answer a request, in one line.

    kind: the name of the exception it answered with; "" where it did not answer.
    """

    def __init__(self, text: str, kind: str = ""):
        super().__init__(text)
        self.kind = kind


class Connection(Protocol):
    """A worker that answers requests; a `Process`, except in tests."""

    @property
    def alive(self) -> bool:
        """True if it answers."""

    def ask(self, request: dict[str, Any], limit: float | None = None) -> dict[str, Any]:
        """Returns the reply to a request; raises WorkerError."""

    def close(self) -> None:
        """Ends it."""


class Process:
    """A worker process. Close it, or use it as a context manager."""

    def __init__(self, command: Sequence[str], limit: float):
        """Starts the process.

        Args:
          command: program and arguments.
          limit: seconds that an answer may take.
        """
        self._limit = limit
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        self._replies: queue.Queue[str] = queue.Queue()
        environment = os.environ | {
            # OMP_WAIT_POLICY stays as it is: "passive" makes torch on two threads 3 to 6 times
            # slower.
            # Several processes share an accelerator's memory.
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
        }
        # In a session of its own Ctrl-C reaches the parent alone, which then ends the others.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._replies.put(line)
        self._replies.put("")

    @property
    def alive(self) -> bool:
        """True while the process runs."""
        return self._process.poll() is None

    def ask(self, request: dict[str, Any], limit: float | None = None) -> dict[str, Any]:
        """Sends a request and returns the reply.

        Raises:
          WorkerError: if the process is dead, dies, does not answer within the limit (then it is
            ended), or answers with an error.
        """
        assert self._process.stdin is not None
        if self._errors.closed:
            raise WorkerError("ended before")
        limit = limit or self._limit
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._replies.get(timeout=limit)
        except OSError:
            line = ""
        except queue.Empty:
            self.close()
            raise WorkerError(f"no answer within {limit:.0f} s, ended") from None
        if not line:
            raise WorkerError(self._how_it_ended())
        reply = json.loads(line)
        if "error" in reply:
            raise WorkerError(reply["error"], reply.get("kind", "error"))
        return reply

    def _how_it_ended(self) -> str:
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:  # it closed its end of the pipe but runs
            self._process.kill()
            status = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        how = f"status {status}" if status >= 0 else signal.Signals(-status).name
        return f"died with {how}" + (f": {lines[-1].strip()[:200]}" if lines else "")

    def close(self) -> None:
        """Ends the process at once; it has nothing to clean up."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def command_for(worker: Worker, python: str = sys.executable) -> list[str]:
    """Returns the command of a worker process, run by an interpreter."""
    return [python, "-m", "experiments.benchmark.worker", worker.framework, str(worker.number)]


class Pool:
    """The workers of a comparison. A context manager."""

    def __init__(self, connect: Callable[[Worker], Connection]):
        """Prepares an empty pool; `connect(worker)` starts a worker."""
        self._connect = connect
        self._processes: dict[Worker, Connection] = {}
        self._versions: dict[str, dict[str, None]] = {}

    @property
    def versions(self) -> dict[str, str]:
        """The versions of all packages; several, with commas, if interpreters differ."""
        return {name: ", ".join(found) for name, found in self._versions.items()}

    def start(self, workers: Iterable[Worker], fail: Callable[[Worker, str], None]) -> list[Worker]:
        """Starts those that do not run yet and returns all that do; calls `fail` for the others."""
        workers = list(workers)
        fresh = [worker for worker in workers if not self.alive(worker)]
        for worker in fresh:
            self._processes[worker] = self._connect(worker)
        running = []
        for worker in workers:
            if worker not in fresh:
                running.append(worker)
                continue
            try:
                reply = self._processes[worker].ask({"do": "start"}, START_LIMIT)
            except WorkerError as error:
                self._processes[worker].close()
                fail(worker, str(error))
                continue
            for name, version in reply.get("versions", {}).items():
                self._versions.setdefault(name, {})[version] = None
            running.append(worker)
        return running

    def ask(self, worker: Worker, request: dict[str, Any]) -> dict[str, Any]:
        """Returns a worker's reply; WorkerError as `Process.ask`."""
        return self._processes[worker].ask(request)

    def alive(self, worker: Worker) -> bool:
        """True while the worker runs."""
        return worker in self._processes and self._processes[worker].alive

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes.values():
            process.close()
