"""Atomic per-step directories, also if the process is killed."""

import contextlib
import os
import pathlib
import re
import shutil

from seqmodels.training.checkpointing import manifest

_LOCK = ".lock"
_MARK, _MARKED = ".seqmodels", "a checkpoint\n"
_STEP = re.compile(r"0|[1-9][0-9]*")
# Leftovers of a killed process: partly written, partly deleted, or moved aside.
_LEFTOVER = re.compile(r"\.(0|[1-9][0-9]*)\.(partial|deleted|replaced)")


def find_steps(folder: pathlib.Path) -> list[int]:
    """Returns the steps that have a folder, ascending; empty if the place does not exist.

    Raises:
      OSError: if it exists and cannot be read.
    """
    try:
        names = [path.name for path in folder.iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []
    return sorted(int(name) for name in names if _STEP.fullmatch(name))


def new_partial(folder: pathlib.Path, step: int) -> pathlib.Path:
    """Returns a new folder for a step, under a name that `find_steps` does not take.

    It holds the mark by which `tidy` knows it; the mark is a file of the checkpoint like others.

    Raises:
      OSError: if it cannot be created, or other files are in its place.
    """
    partial = folder / f".{step}.partial"
    if is_leftover(partial):
        _delete(partial)
    partial.mkdir()
    (partial / _MARK).write_text(_MARKED)
    return partial


def put_in_place(partial: pathlib.Path, step: int) -> None:
    """Renames a folder of `new_partial` to its step, atomically.

    A checkpoint of that step is replaced; if it is damaged it is moved aside, to `<step>.damaged`.

    Args:
      partial: the folder, everything in it synced.
      step: its step.

    Raises:
      OSError: if it cannot be renamed; the previous state is restored.
    """
    folder = partial.parent
    target = folder / str(step)
    replaced = folder / f".{step}.replaced"
    aside = None
    if target.exists():
        try:
            manifest.check_files(target, manifest.read_manifest(target))
            aside = replaced
        except manifest.DamageError:
            aside = _unused(folder / f"{step}.damaged")
        target.rename(aside)
    try:
        partial.rename(target)
        manifest.sync_folder(folder)
    except OSError:
        if target.exists():
            target.rename(partial)
        if aside is not None:
            aside.rename(target)
        raise
    remove_partial(replaced)


def remove_partial(partial: pathlib.Path) -> None:
    """Deletes a folder of `new_partial`, best effort; `tidy` removes leftovers at startup."""
    with contextlib.suppress(OSError):
        _delete(partial)


def remove_step(folder: pathlib.Path, step: int) -> None:
    """Deletes the folder of a step.

    Raises:
      OSError: if it cannot be deleted.
    """
    # Under another name first, so that a partly deleted one is not used as a checkpoint.
    deleted = folder / f".{step}.deleted"
    if is_leftover(deleted):
        _delete(deleted)
    (folder / str(step)).rename(deleted)
    _delete(deleted)


def is_checkpoint(step: pathlib.Path) -> bool:
    """Returns whether a folder is a checkpoint, undamaged but for missing files, and no more."""
    try:
        described = manifest.read_manifest(step)
    except manifest.DamageError:
        return False
    sizes = {step / name: record.size for name, record in described.files.items()}
    return all(
        path == step / manifest.FILE
        or (path in sizes and not path.is_symlink() and path.stat().st_size == sizes[path])
        for path in step.rglob("*")
        if path.is_symlink() or not path.is_dir()
    )


def tidy(folder: pathlib.Path) -> None:
    """Removes or completes the leftovers of a killed process; other folders stay.

    Raises:
      OSError: if a leftover cannot be removed.
    """
    for path in folder.iterdir():
        name = _LEFTOVER.fullmatch(path.name)
        if not name or not is_leftover(path):
            continue
        if name[2] == "replaced" and not (folder / name[1]).exists():
            # Killed between two renames: the new one never had its name.
            path.rename(folder / name[1])
        else:
            _delete(path)


def lock(folder: pathlib.Path) -> int | None:
    """Locks a folder against other processes, until the file is closed or this process ends.

    A killed process leaves no lock. Other users of the folder in this process are not kept out.

    Returns:
      The open file that holds the lock; None on a system or a file system without locks.

    Raises:
      BlockingIOError: if another process holds it.
      OSError: if the folder cannot be written.
    """
    try:
        import fcntl
    except ImportError:
        return None
    file = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        # A lock of the process, which a forked child that outlives it does not hold on to.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        if isinstance(error, BlockingIOError | PermissionError):
            raise BlockingIOError("locked by another process") from None
        return None
    return file


def _unused(path: pathlib.Path) -> pathlib.Path:
    unused, number = path, 1
    while unused.exists():
        number += 1
        unused = path.with_name(f"{path.name}.{number}")
    return unused


def is_leftover(path: pathlib.Path) -> bool:
    """Returns whether a path is a leftover of a checkpoint from a killed process.

    It has such a name, and the mark, or is a checkpoint, or is empty.
    """
    if not _LEFTOVER.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
        return False
    with contextlib.suppress(OSError, ValueError):
        if (path / _MARK).read_text() == _MARKED:
            return True
    return is_checkpoint(path) or not any(path.iterdir())


def _delete(path: pathlib.Path) -> None:
    """Deletes a folder, its mark last, so that a deletion that is killed can be completed."""
    with contextlib.suppress(FileNotFoundError):
        for inner in path.iterdir():
            if inner.is_dir() and not inner.is_symlink():
                shutil.rmtree(inner)
            elif inner.name != _MARK:
                inner.unlink()
        shutil.rmtree(path)
