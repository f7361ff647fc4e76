"""Temporary folders of downloads: created, marked, locked, and removed after a kill."""

import contextlib
import json
import os
import pathlib
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator

from seqmodels.storage import locks

MARK = ".seqmodels.json"  # lists the files that `fetch` wrote into a folder
_PROGRAM = "seqmodels.datasets"
_NAME = re.compile(r"\.\S+-[0-9a-f]{16}")  # names of temporary folders


def marked_files(folder: pathlib.Path) -> list[str] | None:
    """Returns the names of files in the mark of a folder; None if it has no mark of `fetch`."""
    try:
        found = json.loads((folder / MARK).read_text(encoding="utf-8"))
        known = found["format"] == 1 and found["program"] == _PROGRAM
        names = found["files"] if known else None
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return names if isinstance(names, list) and all(isinstance(n, str) for n in names) else None


def write_mark(folder: pathlib.Path, names: Iterable[str]) -> None:
    """Writes the mark of `fetch` into a folder, with the names of its files."""
    described = {"format": 1, "program": _PROGRAM, "files": sorted(names)}
    (folder / MARK).write_text(json.dumps(described) + "\n", encoding="utf-8")


def leftovers(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the temporary folders of a data set, including those of killed processes."""
    return [
        path
        for path in folder.parent.glob(f".{folder.name}-*")
        if path.is_dir() and not path.is_symlink()
    ]


def remove_leftovers(folder: pathlib.Path, lock: int) -> None:
    """Removes the temporary folders that killed processes left.

    The lock's file names them, or they have the mark of `fetch`.
    """
    claimed = _claimed(lock)
    for path in leftovers(folder):
        if path.name in claimed or marked_files(path) is not None:
            shutil.rmtree(path, ignore_errors=True)
    _claim(lock, claimed & {path.name for path in leftovers(folder)})


def _claimed(lock: int) -> set[str]:
    """Returns the names of folders listed in the lock's file."""
    return {name for name in _lines(lock) if _NAME.fullmatch(name)}


def _claim(lock: int, names: set[str]) -> None:
    """Replaces the names of folders in the lock's file.

    Each is written before its folder is made, so a process that is killed leaves no folder without
    a name. A file that holds anything else is left as it is.
    """
    before = _lines(lock)
    if set(before) == names or not all(map(_NAME.fullmatch, before)):
        return
    content = "".join(f"{name}\n" for name in sorted(names)).encode()
    os.lseek(lock, 0, os.SEEK_SET)
    os.write(lock, content)
    os.ftruncate(lock, len(content))


def _lines(lock: int) -> list[str]:
    os.lseek(lock, 0, os.SEEK_SET)
    return os.read(lock, 1 << 16).decode("utf-8", "replace").splitlines()


@contextlib.contextmanager
def work_folder(folder: pathlib.Path, lock: int) -> Iterator[pathlib.Path]:
    """Makes a new folder next to the one of a data set, and removes it at the end."""
    work = folder.with_name(f".{folder.name}-{secrets.token_hex(8)}")
    claimed = _claimed(lock)
    _claim(lock, claimed | {work.name})
    work.mkdir()
    try:
        write_mark(work, [])
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        _claim(lock, claimed | ({work.name} if work.exists() else set()))


@contextlib.contextmanager
def locked(folder: pathlib.Path, report: Callable[[str], None] | None) -> Iterator[int]:
    """Lets one process at a time fetch a data set; the lock goes with the process.

    Args:
      folder: the folder of the data set.
      report: receives a line before a wait; None: raises BlockingIOError instead of waiting.

    Yields:
      The descriptor of the lock's file.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locks.opened(folder.parent / f".{folder.name}.lock") as file:
        try:
            locks.lock(file, str(folder))
        except BlockingIOError:
            if report is None:
                raise
            report(f"{folder.name}: waiting for another process that fetches it")
            locks.lock(file, str(folder), wait=True)
        yield file
