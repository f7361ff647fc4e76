"""Reading of input files: digest and parser see the same bytes."""

import contextlib
import contextvars
import hashlib
import io
import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

SHORT = 12  # hexadecimal digits of a digest in a message


class _Reads(NamedTuple):
    """Bytes and digests of the files that were read, by absolute path."""

    contents: dict[str, bytes]
    digests: dict[str, str]


_reads: contextvars.ContextVar[_Reads | None] = contextvars.ContextVar("reads", default=None)


@contextlib.contextmanager
def read_once() -> Iterator[None]:
    """Context manager in which each file is read once, so that all readers see the same bytes.

    A nested `read_once` has no effect. The contents are dropped at the end.
    """
    if _reads.get() is not None:
        yield
        return
    token = _reads.set(_Reads({}, {}))
    try:
        yield
    finally:
        _reads.reset(token)


def read_bytes(path: str | os.PathLike[str], *, keep: bool = True) -> bytes:
    """Returns the content of a file; within `read_once` that of the first call.

    Args:
      path: the file; also a pipe.
      keep: whether the bytes are kept for the next call. False for large files, such as pictures:
        they are read again, and refused if they have changed.

    Raises:
      ValueError: if the file has changed since the first call.
      OSError: if it cannot be read.
    """
    reads, name = _reads.get(), os.path.abspath(path)
    if reads is None:
        return pathlib.Path(path).read_bytes()
    if name in reads.contents:
        return reads.contents[name]
    data = pathlib.Path(path).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    before = reads.digests.setdefault(name, found)
    if found != before:
        raise ValueError(
            f"{path}: changed while it was read: got sha256 {short(found)}, expected "
            f"{short(before)}, that of the first reading"
        )
    if keep:
        reads.contents[name] = data
    return data


def open_text(
    path: str | os.PathLike[str], encoding: str = "utf-8", newline: str | None = None
) -> io.TextIOWrapper:
    """Returns the text of a file as a stream; see `read_bytes`.

    Args:
      path: the file.
      encoding: such as "utf-8-sig".
      newline: as for `open`.
    """
    return io.TextIOWrapper(io.BytesIO(read_bytes(path)), encoding=encoding, newline=newline)


def digest(path: str | os.PathLike[str], *, keep: bool = True) -> str:
    """Returns the SHA-256 of a file; see `read_bytes`."""
    reads, name = _reads.get(), os.path.abspath(path)
    if reads is not None and name in reads.digests:
        return reads.digests[name]
    return hashlib.sha256(read_bytes(path, keep=keep)).hexdigest()


def short(sha256: object) -> str:
    """Returns the first digits of a digest, for messages."""
    return str(sha256)[:SHORT]
