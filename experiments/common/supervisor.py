"""A small parent process that reports in one line how its worker ended.

JAX ends a process that has lost another one by SIGABRT, with pages of C++ on standard error, and no
exception. The parent runs the same command again as its worker, passes on what it writes and the
signals it receives, and reports the end.
"""

import contextlib
import ctypes
import fcntl
import os
import re
import selectors
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from types import FrameType

LOST = 75  # sysexits.h: a temporary failure, worth trying again
ENVIRONMENT = "SEQMODELS_SUPERVISOR"  # set for the worker, to the process id of its parent
_FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_SET_PARENT_DEATH_SIGNAL = 1  # linux/prctl.h
_TICK_SECONDS = 0.2
_HOLD_SECONDS = 5.0
_DRAIN_SECONDS = 2.0

# What gloo writes of its connections. Its threads write it piece by piece and all at once, so the
# pieces of several such lines may stand in any order.
_NOISE = b"[Gloo] Rank "
_PIECES = (
    _NOISE,
    b" is connected to ",
    b" peer ranks. ",
    b"Expected number of connected peer ranks is : ",
    b"\n",
)
_PIECE = re.compile(rb"\d+|" + b"|".join(re.escape(piece) for piece in _PIECES))
_STAMP = rb"[EF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ "
_REPORT = re.compile(_STAMP + rb"(coordination_service\w*\.cc|client\.h):\d+\] ")
_FATAL = re.compile(_STAMP + rb"client\.h:\d+\] Terminating process because the JAX distributed")
_TRACE = re.compile(rb"^(\*\*\* Check failure[^\n]*|    @ [^\n]*)\n?", re.MULTILINE)
# absl has Python write where it was when it was aborted; nothing comes after that.
_ABORTED = re.compile(rb"^Fatal Python error: Aborted\n.*", re.MULTILINE | re.DOTALL)
# What may be the beginning of one of these, at the end of what has come so far.
_MAY_BEGIN = re.compile(
    rb"(\[(G(l(o(o(\](?: (R(a(n(k)?)?)?)?)?)?)?)?)?)?|[EF]\d{1,3}|[EF]\d{4}( [^\n]{0,80})?)\Z"
)


class Passage:
    """Filter of one stream of the worker: passes everything on, except reports of JAX in C++.

    The report of a lost process is held back until it is known whether the worker ended by it.
    """

    def __init__(self) -> None:
        self._tail = b""
        self._report = b""
        self._since = 0.0

    def feed(self, data: bytes) -> bytes:
        """Takes further data, and returns the part of all data that is ready to be written."""
        if self._report:
            self._report += data
            return b""
        data, self._tail = _without_noise(self._tail + data)
        if report := _REPORT.search(data):
            self._report, self._tail = data[report.start() :] + self._tail, b""
            data = data[: report.start()]
        elif not self._tail and (begun := _MAY_BEGIN.search(data)):
            data, self._tail = data[: begun.start()], data[begun.start() :]
        if self._report or self._tail:
            self._since = time.monotonic()
        return data

    def overdue(self) -> bytes:
        """Returns data that were held back for too long while the worker runs."""
        held = time.monotonic() - self._since
        certain = self._report or self._tail.startswith(_NOISE)
        if held > (_HOLD_SECONDS if certain else _TICK_SECONDS):
            return self.rest()
        return b""

    def rest(self) -> bytes:
        """Returns all data that were held back."""
        text, self._tail, self._report = self._report or self._tail, b"", b""
        return text

    def fatal(self) -> bytes:
        """Returns JAX's report that ended the worker, b"" if there is none."""
        return self._report if _FATAL.search(self._report) else b""

    def after_report(self) -> bytes:
        """Returns the held data without the report."""
        ends = [match.end() for match in _TRACE.finditer(self._report)]
        text = _ABORTED.sub(b"", self._report[ends[-1] :]) if ends else b""
        self._report = b""
        return text


def _without_noise(data: bytes) -> tuple[bytes, bytes]:
    """Returns `data` without the lines of gloo, and what may be an unfinished one at its end."""
    kept = b""
    while (start := data.find(_NOISE)) >= 0:
        place, open_lines = start, 0
        while piece := _PIECE.match(data, place):
            place = piece.end()
            open_lines += (piece[0] == _NOISE) - (piece[0] == b"\n")
            if not open_lines:
                break
        kept += data[:start]
        if open_lines and any(piece.startswith(data[place:]) for piece in _PIECES):
            return kept, data[start:]
        data = data[place:]
    return kept + data, b""


class _Stream:
    """A stream of the worker: a terminal if this process has a terminal there, else a pipe."""

    def __init__(self, target: int):
        self.target = target
        self.passage = Passage()
        self._terminal = os.isatty(target)
        if self._terminal:
            self.source, self.inner = os.openpty()
            settings = termios.tcgetattr(self.inner)
            settings[1] &= ~termios.OPOST  # the real terminal does that
            termios.tcsetattr(self.inner, termios.TCSANOW, settings)
            self.resize()
        else:
            self.source, self.inner = os.pipe()

    def resize(self) -> None:
        """Gives the worker's terminal the size of the real one."""
        if self._terminal:
            with contextlib.suppress(OSError):
                size = fcntl.ioctl(self.target, termios.TIOCGWINSZ, struct.pack("4H", 0, 0, 0, 0))
                fcntl.ioctl(self.source, termios.TIOCSWINSZ, size)

    def pass_on(self) -> bool:
        """Passes on the available data. Returns whether more may come."""
        try:
            data = os.read(self.source, 1 << 16)
        except OSError:  # a terminal that nobody has open
            data = b""
        self.write(self.passage.feed(data))
        return bool(data)

    def write(self, data: bytes) -> None:
        """Writes all of `data`; drops it if the reader is gone."""
        with contextlib.suppress(BrokenPipeError):
            while data:
                data = data[os.write(self.target, data) :]


def supervise(command: Sequence[str], process_id: int, num_processes: int) -> int:
    """Runs a command as the worker of this process and returns its exit status.

    SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 are passed on. If this process is killed,
    so is the worker, on Linux.

    Args:
      command: program and arguments.
      process_id: number of this process, for the lines that it writes.
      num_processes: number of processes of the run.

    Returns:
      The status of the worker. 75 if it ended because another process ended or did not start. 128
      plus the number of the signal, if a signal ended it. Standard error gets one line on the last
      two.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    streams = [_Stream(1), _Stream(2)]
    worker: subprocess.Popen | None = None
    early: list[int] = []

    def forward(number: int, _: FrameType | None) -> None:
        if worker is None:
            early.append(number)
        else:
            worker.send_signal(number)

    def resize(*_: object) -> None:
        for stream in streams:
            stream.resize()

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    before[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, resize)
    try:
        # In a session of its own, so that Ctrl-C reaches it once, through here.
        worker = subprocess.Popen(
            command,
            stdout=streams[0].inner,
            stderr=streams[1].inner,
            start_new_session=True,
            env={**os.environ, ENVIRONMENT: str(os.getpid())},
        )
        for number in early:
            worker.send_signal(number)
        for stream in streams:
            os.close(stream.inner)
        _pass_on_all(worker, streams)
        return _last_word(worker.wait(), streams, process_id, num_processes)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for stream in streams:
            os.close(stream.source)


def end_with_parent(parent: int) -> None:
    """Has Linux kill this process when its parent, of that process id, ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(LOST)


def _pass_on_all(worker: subprocess.Popen, streams: list[_Stream]) -> None:
    """Passes on the output of the worker until it ends."""
    ended = None
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream.source, selectors.EVENT_READ, stream)
        while selector.get_map():
            for key, _ in selector.select(_TICK_SECONDS):
                if not key.data.pass_on():
                    selector.unregister(key.fd)
            if worker.poll() is None:
                for stream in streams:
                    stream.write(stream.passage.overdue())
            else:
                # A process that the worker has left behind may hold its streams open.
                ended = ended or time.monotonic()
                if time.monotonic() - ended > _DRAIN_SECONDS:
                    return


def _last_word(status: int, streams: list[_Stream], process_id: int, num_processes: int) -> int:
    """Writes the held data and the cause of the end. Returns the exit status."""
    fatal = b"".join(stream.passage.fatal() for stream in streams)
    replaced = status == LOST or (status == -signal.SIGABRT and fatal)
    for stream in streams:
        passage = stream.passage
        stream.write(passage.after_report() if replaced else passage.rest())
    line = ""
    if replaced and b"RegisterTask" in fatal:
        line = (
            f"not all of the {num_processes} processes came together; is each of 0 to "
            f"{num_processes - 1} started once, with "
            "the same coordinator_address and num_processes?"
        )
    elif replaced:
        line = (
            "another process of this run ended; started again with the same commands the run "
            "resumes from its last checkpoint"
        )
    elif status < 0 and -status not in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        line = f"its worker was ended by {signal.Signals(-status).name}"
    if line:
        streams[1].write(f"process {process_id}: {line}\n".encode())
    if replaced:
        return LOST
    return status if status >= 0 else 128 - status
