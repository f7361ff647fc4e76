"""The parent of a worker: what it passes on, what it holds back, and its last word."""

import contextlib
import fcntl
import itertools
import os
import pathlib
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from experiments.common import supervisor
from experiments.common.supervisor import LOST, Passage

ROOT = pathlib.Path(__file__).parents[2]
GLOO = (
    b"[Gloo] Rank 0 is connected to 1 peer ranks. Expected number of connected peer ranks is : 1\n"
)
# As JAX 0.10.2 writes it, and 0.12 but for the source location.
ERROR = (
    b"E1123 18:28:24.154434   21126 coordination_service.cc:1549] [947] Use error polling to "
    b"propagate the following error to all tasks: UNAVAILABLE: The following tasks are unhealthy:\n"
    b"1\nThe tasks have crashed. Check the task logs.\n"
)
FATAL = (
    b"F1123 18:28:24.155263   21137 client.h:80] Terminating process because the JAX distributed "
    b"service detected fatal errors. This most likely indicates that another task died.\n1\n\n"
    b"RPC: /xla.coordination.CoordinationService/PollForError []\n"
    b"*** Check failure stack trace: ***\n"
    b"    @     0x7f727ae40634  absl::lts_20260107::log_internal::LogMessage::SendToLog()\n"
    b"    @     0x7f72824a71f5  (unknown)\n"
)
PYTHON = b'Fatal Python error: Aborted\n\nThread 0x1 (most recent call first):\n  File "a.py"\n'
ENDED = (
    b"process 1: another process of this run ended; started again with the same commands the run "
    b"resumes from its last checkpoint\n"
)


def passed_on(passage, chunks):
    return b"".join(passage.feed(chunk) for chunk in chunks) + passage.rest()


def cut(data, places):
    ends = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(ends)]


LINES = st.sampled_from(
    [b"12% lstm: loss 0.5\n", b"\x1b[2K\rbar", b"", b"E1123 mine\n", b"F", b"[Gloo]\n", b"\xff\n"]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(LINES | st.binary(max_size=20)), st.lists(st.integers(0, 10**6), max_size=8))
def test_what_is_not_a_report_passes_unchanged(lines, places):
    data = b"".join(lines)
    assume(b"[Gloo] Rank " not in data)
    assert passed_on(Passage(), cut(data, places)) == data


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=30), st.binary(max_size=30), st.integers(0, 10**6))
def test_lines_of_gloo_are_dropped_wherever_they_are_cut(before, after, place):
    assume(b"[Gloo]" not in before + after)
    data = before + b"\n" + GLOO + after
    assert passed_on(Passage(), cut(data, [place])) == before + b"\n" + after


def gloo_pieces(rank):
    return [
        b"[Gloo] Rank ",
        b"%d" % rank,
        b" is connected to ",
        b"3",
        b" peer ranks. ",
        b"Expected number of connected peer ranks is : ",
        b"3",
        b"\n",
    ]


@settings(max_examples=300, deadline=None)
@given(
    st.permutations([0] * 8 + [1] * 8 + [13] * 8),
    st.lists(st.integers(0, 10**6), max_size=8),
    st.sampled_from([b"", b"\n", b"b\n", b"3\n", b"b"]),
)
def test_lines_that_gloo_writes_at_once_are_dropped_in_any_order(order, places, after):
    lines = {rank: iter(gloo_pieces(rank)) for rank in (0, 1, 13)}
    data = b"a\n" + b"".join(next(lines[rank]) for rank in order)
    assert passed_on(Passage(), cut(data + after, places)) == b"a\n" + after


def test_an_unfinished_line_of_gloo_is_held_longer_than_one_that_may_begin(monkeypatch):
    now = 100.0
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: now)
    passage = Passage()
    assert passage.feed(b"a\n[Gloo] Rank 0 is conn") == b"a\n"
    now = 101.0
    assert passage.overdue() == b""
    assert passage.feed(GLOO[len(b"[Gloo] Rank 0 is conn") :] + b"b\n") == b"b\n"


def test_a_line_that_is_not_finished_is_shown_at_once():
    passage = Passage()
    for text in (b"\r 12%", b"\r 13%", b"note E", b" 1 [a", b"done", b" E1123: mine"):
        assert passage.feed(text) == text


def test_a_line_that_may_become_a_report_is_shown_when_nothing_follows(monkeypatch):
    now = 100.0
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: now)
    passage = Passage()
    assert passage.feed(b"see F1123") == b"see "
    assert passage.overdue() == b""
    now = 100.3
    assert passage.overdue() == b"F1123"
    assert passage.feed(b" mine\n") == b" mine\n"


@pytest.mark.parametrize("report", [FATAL, ERROR + FATAL, b"bar" + FATAL])
def test_the_report_is_held_and_what_follows_it_is_not_lost(report):
    passage = Passage()
    text = passage.feed(b"before\n" + report + b"after\n" + PYTHON)
    assert text == b"before\n" + (b"bar" if report.startswith(b"bar") else b"")
    assert b"Terminating process" in passage.fatal()
    assert passage.after_report() == b"after\n"


def test_a_report_without_an_end_is_released(monkeypatch):
    """The worker still runs: then what looked like the beginning of its end is shown."""
    now = 100.0
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: now)
    passage = Passage()
    assert passage.feed(b"a\n" + ERROR) == b"a\n"
    assert passage.feed(b"10%\n") == b""
    now = 104.0
    assert passage.overdue() == b""
    now = 105.5
    assert passage.overdue() == ERROR + b"10%\n"
    assert passage.feed(b"11%\n") == b"11%\n"
    assert passage.fatal() == b""


def code(body):
    return [sys.executable, "-c", "import os, sys, signal, time\n" + body]


def parent(body, **options):
    """Starts a parent whose worker runs `body`."""
    text = (
        "import sys\nfrom experiments.common.supervisor import supervise\n"
        f"sys.exit(supervise({code(body)!r}, 1, 2))\n"
    )
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", text], cwd=ROOT, env=environment, **options)


def run(body):
    process = parent(body)
    out, errors = process.communicate(timeout=60)
    return process.returncode, out, errors


def test_status_and_both_streams_pass():
    body = "os.write(1, b'out\\0' + b'x' * 200_000); os.write(2, b'err'); sys.exit(7)"
    assert run(body) == (7, b"out\0" + b"x" * 200_000, b"err")


@pytest.mark.parametrize("report", [FATAL, ERROR + FATAL + PYTHON])
def test_a_lost_process_is_one_line(report):
    body = f"os.write(2, b'mine\\n' + {report!r}); os.kill(os.getpid(), signal.SIGABRT)"
    assert run(body) == (LOST, b"", b"mine\n" + ENDED)


def test_processes_that_do_not_come_together_are_one_line():
    report = FATAL.replace(b"PollForError", b"RegisterTask")
    status, _, errors = run(f"os.write(2, {report!r}); os.kill(os.getpid(), signal.SIGABRT)")
    assert status == LOST
    assert errors.startswith(b"process 1: not all of the 2 processes came together; is each of 0 ")
    assert errors.count(b"\n") == 1


def test_a_worker_that_says_so_itself_is_the_same_line():
    assert run(f"sys.exit({LOST})") == (LOST, b"", ENDED)


def test_an_abort_of_another_kind_is_shown_whole():
    text = ERROR + b"assertion failed\n"
    assert run(f"os.write(2, {text!r}); os.kill(os.getpid(), signal.SIGABRT)") == (
        128 + signal.SIGABRT,
        b"",
        text + b"process 1: its worker was ended by SIGABRT\n",
    )


def test_a_report_that_ended_nothing_is_shown_whole():
    assert run(f"os.write(2, {ERROR!r}); sys.exit(4)") == (4, b"", ERROR)


def test_a_worker_that_is_killed():
    line = b"process 1: its worker was ended by SIGKILL\n"
    assert run("os.kill(os.getpid(), signal.SIGKILL)") == (137, b"", line)


def wait_for(process, text):
    line = process.stderr.readline()
    assert line == text, line


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"])
def test_signals_reach_the_worker_once(name):
    body = (
        f"signal.signal(signal.{name}, lambda *_: os.write(1, b'seen '))\n"
        "os.write(2, b'ready\\n')\n"
        "time.sleep(0.7)\n"
        "time.sleep(0.7)\n"
        "sys.exit(5)\n"
    )
    process = parent(body)
    wait_for(process, b"ready\n")
    process.send_signal(getattr(signal, name))
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (5, b"seen ")


def test_a_signal_nobody_handles_ends_both():
    process = parent("os.write(2, b'ready\\n'); time.sleep(60)")
    wait_for(process, b"ready\n")
    process.terminate()
    assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == 128 + signal.SIGTERM


def state_of(process):
    return pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux signals the end of a parent to its child"
)
def test_the_worker_does_not_outlive_a_killed_parent():
    body = (
        "from experiments.common.supervisor import ENVIRONMENT, end_with_parent\n"
        "end_with_parent(int(os.environ[ENVIRONMENT]))\n"
        "os.write(2, b'%d\\n' % os.getpid())\n"
        "time.sleep(60)\n"
    )
    process = parent(body)
    worker = int(process.stderr.readline())
    process.kill()
    # The worker held the other end: it is closed when the worker is gone.
    assert process.communicate(timeout=30) == (b"", b"")
    end = time.monotonic() + 30
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        while state_of(worker) != "Z":
            assert time.monotonic() < end
            time.sleep(0.02)


def test_a_worker_whose_parent_ended_before_it_looked():
    body = "from experiments.common import supervisor; supervisor.end_with_parent(1)"
    done = subprocess.run(code(body), cwd=ROOT, check=False, timeout=60)
    assert done.returncode == LOST


def test_a_process_left_behind_does_not_hold_the_parent():
    body = "if not os.fork():\n  time.sleep(20)\n  os._exit(0)\nos.write(1, b'done')\nos._exit(3)\n"
    with parent(body) as process:
        assert process.stdout.read() == b"done"
        assert process.wait(timeout=15) == 3


def test_a_reader_that_went_away_is_no_error():
    body = "os.write(2, b'ready\\n'); time.sleep(0.5); os.write(1, b'x'); sys.exit(6)"
    with parent(body) as process:
        wait_for(process, b"ready\n")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 6


def test_a_terminal_stays_one():
    """The progress bar asks for it, and for the width; bytes come out as they went in."""
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("4H", 11, 77, 0, 0))
    body = (
        "size = os.get_terminal_size(2)\n"
        "print(os.isatty(1), os.isatty(2), size.columns, size.lines, file=sys.stderr, flush=True)\n"
        "os.write(2, b'\\r 12%')\n"
        "time.sleep(0.5)\n"
    )
    process = parent(body, stderr=inner)
    os.close(inner)
    seen = b""
    end = time.monotonic() + 30
    while b"12%" not in seen and time.monotonic() < end:
        if select.select([outer], [], [], 1)[0]:
            seen += os.read(outer, 1000)
    assert process.poll() is None  # it was shown while the worker still ran
    assert process.communicate(timeout=60)[0] == b""
    assert process.returncode == 0
    os.close(outer)
    assert seen == b"False True 77 11\r\n\r 12%"
