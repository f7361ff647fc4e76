"""The Python interpreters of the competitors, named by their versions of JAX."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from experiments.benchmark.cases import WITHOUT_JAX, Worker
from experiments.benchmark.process import Connection, Process, command_for

Connect = Callable[[Worker], Connection]


class Interpreters(NamedTuple):
    """Paths of interpreters by the version of JAX in each, and the packages that each has.

    The version is "" if there is one interpreter.
    """

    paths: dict[str, str]
    installed: dict[str, list[str]]

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions of JAX, in the order given."""
        return tuple(self.paths)

    def homes(self, frameworks: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Returns for each framework the versions by whose interpreters it runs.

        A framework without JAX is the same in each interpreter, so it runs in the first that has
        it. One of JAX runs in all; where it is not installed its worker says so.
        """
        homes = dict.fromkeys(("ours", *frameworks), self.versions)
        for name in homes.keys() & set(WITHOUT_JAX):
            package = name.partition(".")[0]
            having = [v for v in self.versions if package in self.installed[v]]
            homes[name] = tuple(having or self.versions)[:1]
        return homes

    def connect(self, limit: float) -> Connect:
        """Returns the function that starts a worker process; each answer may take `limit` s."""
        return lambda worker: Process(command_for(worker, self.paths[worker.jax]), limit)


def find(pythons: Sequence[str], devices: str, limit: float) -> tuple[Interpreters, dict[str, Any]]:
    """Returns the interpreters, and devices, platform and kind as the first of them sees them.

    Args:
      pythons: paths of interpreters; empty for the one of this process.
      devices: "auto" or a number.
      limit: seconds that an answer may take.

    Raises:
      WorkerError: if JAX does not start in one of them.
      ValueError: if a path is not that of an interpreter, or two of them have the same JAX.
    """
    replies = []
    for python in [*map(_path, pythons)] or [sys.executable]:
        command = [*command_for(Worker("ours", 1), python)[:-1], devices]
        with Process(command, limit) as process:
            replies.append((python, process.ask({"do": "start"})))
    paths: dict[str, str] = {}
    installed = {}
    for python, reply in replies:
        version = reply["versions"]["jax"] if len(replies) > 1 else ""
        if version in paths:
            raise ValueError(f"pythons: got two interpreters with JAX {version}, expected one")
        paths[version], installed[version] = python, reply["installed"]
    return Interpreters(paths, installed), replies[0][1]


def _path(python: str) -> str:
    """Returns the absolute path of an interpreter; links stay, because they name environments."""
    found = shutil.which(os.path.expanduser(python))
    if found is None:
        raise ValueError(f"pythons: got {python!r}, expected the path of a Python interpreter")
    return os.path.abspath(found)
