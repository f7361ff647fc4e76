"""The first moments of a command: closed streams, and Ctrl-C while modules are imported."""

import os
import signal
import sys
from types import FrameType

_INTERRUPTED = 130


def prepare() -> None:
    """Prepares this process if it runs `python -m experiments.NAME`; imports alone do nothing.

    Call it before any slow import.
    """
    # While Python looks for the module of -m, it stands for the name of the program.
    if sys.argv[:1] != ["-m"]:
        return
    open_streams()
    signal.signal(signal.SIGINT, _end)


def open_streams() -> None:
    """Opens standard streams that are closed, so that no other file gets their descriptors."""
    for number, mode in enumerate("rww"):
        name = ("stdin", "stdout", "stderr")[number]
        try:
            os.fstat(number)
        except OSError:
            # The lowest free descriptor, and so this one.
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - stays open


def imported() -> None:
    """Restores Python's handler of Ctrl-C; call it where a KeyboardInterrupt becomes one line."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    """Ends at once, since a library that is being imported may swallow an exception."""
    del number, frame
    os.write(2, b"interrupted\n")
    os._exit(_INTERRUPTED)
