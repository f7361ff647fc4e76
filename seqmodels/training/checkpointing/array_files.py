"""Arrays in files, written and read by Orbax; the only module that uses Orbax."""

import asyncio
import concurrent.futures
import contextlib
import errno
import logging
import os
import pathlib
import re
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any

import numpy as np

# Space in addition to the arrays: an index entry for each, and a few files of one block.
_BYTES_PER_ARRAY = 2048
_BYTES_PER_FOLDER = 1 << 17
# Dtypes that Orbax supports; arrays of other dtypes, such as uint4, are passed as bits.
_NATIVE = frozenset(
    ["bool", "bfloat16", "float16", "float32", "float64", "complex64", "complex128"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)


def write_arrays(folder: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays into a new folder; on return they are written but perhaps not synced.

    It may be called in any thread and, with `jax.distributed`, in any one process: it waits for no
    other. (Orbax's own `save` makes every process of a run take part in it.)

    Args:
      folder: the folder to make.
      arrays: arrays by name, each with at least one element, of any dtype that JAX has.

    Raises:
      OSError: if there is no room for them or the folder cannot be written.
    """
    if not arrays:
        return
    folder.mkdir()
    _reserve(folder, arrays)
    stored = {name: _stored(array) for name, array in arrays.items()}
    try:
        _run(_save(folder, stored))
    except OSError:
        raise
    except Exception as error:
        raise OSError(plain_reason(error)) from error


def read_arrays(folder: pathlib.Path, dtypes: Mapping[str, np.dtype]) -> dict[str, np.ndarray]:
    """Reads what `write_arrays` wrote.

    Args:
      folder: the folder.
      dtypes: for each name, the dtype that was written.

    Returns:
      The arrays by name, bit for bit what they were.

    Raises:
      OSError: if Orbax cannot read them, or they are of other dtypes.
    """
    if not dtypes:
        return {}
    try:
        loaded = _run(_load(folder, list(dtypes)))
    except Exception as error:
        raise OSError(plain_reason(error)) from error
    for name, dtype in dtypes.items():
        if dtype.name not in _NATIVE:
            loaded[name] = loaded[name].view(dtype)
        if loaded[name].dtype != dtype:
            raise OSError(f"array {name}: {loaded[name].dtype} there, {dtype} expected")
    return loaded


def plain_reason(error: BaseException) -> str:
    """Returns a short reason why a file could not be written or read.

    The operating system's own words, if its error number is in the exception or (as with Orbax)
    somewhere in its text. Otherwise the beginning of that text.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error) or type(error).__name__
    number = re.search(r"os_error_code='?(\d+)", text)
    if number:
        return os.strerror(int(number[1]))
    line = text.splitlines()[0]
    return line if len(line) <= 160 else line[:160] + "..."


async def _save(folder: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    from orbax.checkpoint import v1 as ocp

    class Existing(ocp.path.PathAwaitingCreation):
        """The folder already exists."""

        def __init__(self, path: Any):
            self._path = path

        def __truediv__(self, other: Any) -> "Existing":
            return Existing(self._path / other)

        @property
        def path(self) -> Any:
            return self._path

        async def await_creation(self) -> Any:
            return self._path

    # The handler and not `ocp.save`, which checks that all processes have the same path. That check
    # is a collective of all processes, so one process alone would hang.
    context = _context(ocp)
    with context:
        handler = ocp.handlers.PyTreeHandler(context=context)
        written = await handler.save(Existing(context.file.path_class(folder)), arrays)
        await written


async def _load(folder: pathlib.Path, names: list[str]) -> dict[str, np.ndarray]:
    from orbax.checkpoint import v1 as ocp

    context = _context(ocp)
    with context:
        handler = ocp.handlers.PyTreeHandler(context=context)
        targets = dict.fromkeys(names, np.ndarray)
        loading = await handler.load(context.file.path_class(folder), targets)
        return await loading


def _context(ocp: Any) -> Any:
    context = ocp.Context()
    # Only this process takes part.
    context.multiprocessing.primary_host = ocp.multihost.process_index()
    context.multiprocessing.active_processes = {ocp.multihost.process_index()}
    # Weights hardly compress (by 8% in float32), and compression takes longer than writing.
    context.array.saving.use_compression = False
    return context


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    # In a separate thread, because the caller's may have a running event loop, as in a
    # notebook.
    with _orbax_is_silent(), concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


@contextlib.contextmanager
def _orbax_is_silent() -> Iterator[None]:
    """Suppresses Orbax's log records: it logs each exception several times, then raises it."""

    def not_of_orbax(record: logging.LogRecord) -> bool:
        # The file in a record is absl's; Orbax's texts begin with the number of the process.
        return not str(record.msg).startswith("[process=")

    logger = logging.getLogger("absl")
    logger.addFilter(not_of_orbax)
    try:
        yield
    finally:
        logger.removeFilter(not_of_orbax)


def _reserve(folder: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Raises OSError unless there is space: on a full disk Orbax prints hundreds of lines."""
    size = sum(array.nbytes + _BYTES_PER_ARRAY for array in arrays.values()) + _BYTES_PER_FOLDER
    path = folder / ".room"
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
    finally:
        os.close(file)
        path.unlink()


def _stored(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.name in _NATIVE else array.view(f"uint{8 * array.itemsize}")
