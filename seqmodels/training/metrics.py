"""Append-only JSON Lines log that can be truncated on resume."""

import json
import os
import pathlib
from typing import Any, Self

from seqmodels.training.errors import RunError
from seqmodels.training.files import cannot_be_written, json_value

_BLOCK = 65_536


class MetricsLog:
    """A file of JSON lines that only grows, except that a resume truncates it.

    A record holds only values that a run with the same settings repeats to the last digit, so none
    that depend on a clock. Then the file of a resumed run equals that of an uninterrupted run.

    Every line is appended by one write, so a process that is killed leaves at most one incomplete
    line, at the end. Use it as a context manager, or close it.
    """

    def __init__(self, path: str | os.PathLike[str], *, writes: bool = True):
        """Opens the file and keeps its content, or creates it.

        Args:
          path: the file, such as `folder / "metrics.jsonl"`.
          writes: False if another process writes: then nothing is recorded and `offset` is 0.

        Raises:
          OSError: if it cannot be created or written, in one line.
        """
        self.path = pathlib.Path(path)
        self._file, self._offset = -1, 0
        self._writes = writes
        if not writes:
            return
        with cannot_be_written(self.path.name):
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            self._offset = self._end_of_last_line()

    @property
    def offset(self) -> int:
        """The size of all complete lines in bytes, to be saved in a checkpoint."""
        return self._offset

    def append(self, record: dict[str, Any]) -> None:
        """Appends one line.

        Args:
          record: names and JSON values, also NumPy's and JAX's numbers and arrays; a number that is
            not finite becomes null.

        Raises:
          OSError: if the line cannot be written, in one line; the file is then as before.
          TypeError: if JSON cannot hold a value.
          ValueError: if the file has grown by other means, such as an incomplete line of a process
            that was killed: `truncate` first.
        """
        if not self._writes:
            return
        line = (json.dumps(json_value(record)) + "\n").encode()
        with cannot_be_written(self.path.name):
            more = os.fstat(self._file).st_size - self._offset
            if more:
                raise ValueError(
                    f"{self.path.name}: got {more} bytes after the last complete line, expected "
                    f"none; truncate it to {self._offset} first"
                )
            written = 0
            try:
                # One write, unless the disk becomes full during it; the next write then raises.
                while written < len(line):
                    written += os.write(self._file, line[written:])
            except OSError:
                if written:
                    os.ftruncate(self._file, self._offset)
                raise
            self._offset += written

    def truncate(self, offset: int) -> None:
        """Drops every line after the first `offset` bytes.

        Args:
          offset: an earlier value of `offset`; 0 for an empty file.

        Raises:
          RunError: if the file is shorter than that, or no line ends there; it stays as it is.
          OSError: if it cannot be written, in one line.
        """
        if not self._writes:
            return
        with cannot_be_written(self.path.name):
            size = os.fstat(self._file).st_size
            if not 0 <= offset <= size:
                raise RunError(
                    f"{self.path}: got {size} bytes, expected the {offset} that there were when "
                    "the checkpoint was written; put them back, or overwrite the run"
                )
            if offset and os.pread(self._file, 1, offset - 1) != b"\n":
                raise RunError(
                    f"{self.path}: no line ends after {offset} bytes, as it did when the "
                    "checkpoint was written; put it back, or overwrite the run"
                )
            os.ftruncate(self._file, offset)
            self._offset = offset

    def sync(self) -> None:
        """Flushes all lines to disk; call it before a checkpoint is saved.

        Raises:
          OSError: if that fails, in one line.
        """
        if not self._writes:
            return
        with cannot_be_written(self.path.name):
            os.fsync(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; a second call has no effect."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _end_of_last_line(self) -> int:
        end = os.fstat(self._file).st_size
        while end:
            begin = max(end - _BLOCK, 0)
            found = os.pread(self._file, end - begin, begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            end = begin
        return 0
