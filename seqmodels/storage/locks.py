"""Locks of files, on file systems that have them."""

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any


def warn(line: str) -> None:
    """Prints a line to standard error."""
    print(f"warning: {line}", file=sys.stderr, flush=True)


def lock(file: int, name: str, *, wait: bool = False, report: Callable[[str], Any] = warn) -> bool:
    """Locks an open file against other processes, until it is closed or this process ends.

    Args:
      file: its descriptor, open for writing.
      name: what it guards, for the warning.
      wait: whether to wait for another process that holds the lock.
      report: receives the warning where the file system has no locks.

    Returns:
      Whether the file is locked; False, after a warning, where there are no locks.

    Raises:
      BlockingIOError: if another process holds it and `wait` is False.
    """
    try:
        import fcntl
    except ImportError:
        return False
    how = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
    # Some network file systems have only the second kind.
    for function in (fcntl.flock, fcntl.lockf):
        try:
            function(file, how)
        except (BlockingIOError, PermissionError):
            raise BlockingIOError(f"{name} is locked by another process") from None
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            return True
    report(f"{name} cannot be locked ({reason}); start no other process that writes it")
    return False


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Any:
    """Opens a file to be locked, without changing its content, and closes it at the end."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield file
    finally:
        os.close(file)
