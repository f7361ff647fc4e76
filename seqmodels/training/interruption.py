"""SIGTERM and Ctrl-C: finish the step, write a checkpoint, end with a status that says so."""

import signal
import threading
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """Training was interrupted by a signal, after it wrote a checkpoint for the resume.

    Attributes:
      signal: SIGINT or SIGTERM.
      step: steps taken so far.
    """

    def __init__(self, signal_number: int, step: int):
        super().__init__(f"interrupted at step {step}")
        self.signal = signal_number
        self.step = step

    @property
    def status(self) -> int:
        """The exit status of a program that a signal ended: 130 or 143."""
        return 128 + self.signal


class Interruption:
    """Context manager that records SIGINT and SIGTERM; a second Ctrl-C interrupts at once.

    Attributes:
      signal: the signal that was received, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        # Python lets only the main thread set handlers; other threads need no handler.
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
