"""Event files for TensorBoard, through tensorboardX."""

import contextlib
import os
import pathlib
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np

from seqmodels.training.files import cannot_be_written

RUN = ".run"  # a file next to the folder: the id of the run, which the names of files then carry


class TensorBoardLog:
    """Scalars by name and step in a new event file; earlier files stay.

    The caller's thread writes events. The SummaryWriter of tensorboardX passes them to another
    thread, which ends at the first failed write; training then waits for it forever. Use the log as
    a context manager, or close it.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        purge_step: int | None = None,
        seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Creates the folder if it does not exist, and a new event file in it.

        Args:
          folder: the run's folder, or one below it.
          purge_step: for a resumed run the first step that it will write. TensorBoard then drops
            later steps of earlier files; its fast loader drops a name when it is written again.
            None for a new run, which drops all earlier events.
          seconds: least time between two writes to the disk.
          clock: returns the time in seconds.

        Raises:
          ModuleNotFoundError: if tensorboardX is not installed.
          OSError: if the file cannot be made, in one line.
        """
        try:
            from tensorboardX.proto import event_pb2, summary_pb2
            from tensorboardX.record_writer import RecordWriter
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "event files need tensorboardX: pip install tensorboardX"
            ) from error
        self._event = event_pb2.Event
        self._summary = summary_pb2.Summary
        self._seconds = seconds
        self._clock = clock
        self._closed = False
        folder = pathlib.Path(folder)
        with cannot_be_written(str(folder)):
            folder.mkdir(parents=True, exist_ok=True)
            # TensorBoard reads files in the order of their names. The number keeps a run that is
            # resumed within a second from writing over the file it left.
            number = len(list(folder.glob("events.out.tfevents.*")))
            name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{number:06d}"
            if (folder.parent / RUN).is_file():
                name += f".{(folder.parent / RUN).read_text().strip()}"
            self.path = folder / name
            self._file = RecordWriter(str(self.path))
            self._add(self._event(file_version="brain.Event:2"))
            # A new run has a start too, because TensorBoard takes the first start for the beginning
            # of a run. From the second start on, it drops what came before.
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._add(self._event(step=int(purge_step or 0), session_log=start))
        self.sync()

    def write(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Adds scalars of one step.

        Args:
          step: the training step.
          scalars: by name a number, or an array (S,), of which element s becomes `name/s`.

        Raises:
          ValueError: if a value is neither; then nothing is added.
          OSError: if the file cannot be written, in one line.
        """
        values = []
        for name, value in scalars.items():
            array = _numbers(name, value)
            tags = [f"{name}/{n}" for n in range(len(array))] if array.ndim else [name]
            values += [
                self._summary.Value(tag=tag, simple_value=number)
                for tag, number in zip(tags, array.ravel().tolist(), strict=True)
            ]
        with cannot_be_written(self.path.name):
            self._add(self._event(step=int(step), summary=self._summary(value=values)))
        if self._clock() - self._synced >= self._seconds:
            self.sync()

    def sync(self) -> None:
        """Flushes all events to disk.

        Raises:
          OSError: if that fails, in one line.
        """
        with cannot_be_written(self.path.name):
            self._file.flush()
        self._synced = self._clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Writes the remaining events and closes the file; a second call has no effect.

        Raises:
          OSError: if the rest cannot be written, in one line.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self.sync()
        finally:
            # A second attempt would fail too; the file is closed in any case.
            with contextlib.suppress(OSError):
                self._file.close()

    def _add(self, event: Any) -> None:
        event.wall_time = time.time()
        self._file.write(event.SerializeToString())


def _numbers(name: str, value: Any) -> np.ndarray:
    """Returns float64, () or (S,)."""
    array = np.asarray(value)
    try:
        if array.ndim > 1:
            raise TypeError
        return array.astype(np.float64, casting="safe")
    except TypeError:
        raise ValueError(
            f"{name}: got {array.dtype} {array.shape}, expected a number or numbers (S,)"
        ) from None
