"""Metrics: whole lines, cut back to a checkpoint; event files that TensorBoard can read."""

import errno
import json
import os
import resource
import struct
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqmodels.training.metrics import MetricsLog
from seqmodels.training.tensorboard import TensorBoardLog


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_lines_are_whole_and_at_once_there(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as log:
        assert (log.offset, path.read_bytes()) == (0, b"")
        log.append({"loss": float("nan"), "seeds": np.array([1.5, np.inf], np.float32)})
        assert path.read_bytes() == b'{"loss": null, "seeds": [1.5, null]}\n'
        assert log.offset == 37
        log.append({"step": np.int64(3), 2: jnp.float32(0.5), "half": jnp.bfloat16(0.25)})
        assert path.read_bytes()[37:] == b'{"step": 3, "2": 0.5, "half": 0.25}\n'
        log.append({"name": "Zürich\n", "flag": True, "none": None, "pair": (1, 2)})
        log.sync()
    log.close()
    assert lines(path)[2] == {"name": "Zürich\n", "flag": True, "none": None, "pair": [1, 2]}
    assert len(lines(path)) == 3


def test_one_write_a_line(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(
        os, "write", lambda file, data, write=os.write: written.append(data) or write(file, data)
    )
    with MetricsLog(tmp_path / "metrics.jsonl") as log:
        for step in range(5):
            log.append({"step": step, "text": "x" * 100_000})
    assert len(written) == 5
    assert all(data.endswith(b"}\n") and data.count(b"\n") == 1 for data in written)


@given(
    first=st.lists(st.integers(), max_size=8),
    lost=st.lists(st.integers(), max_size=4),
    torn=st.sampled_from([b"", b"{", b'{"step": 3', b'{"step": 3}']),
)
def test_a_resumed_run_writes_the_same_file(tmp_path_factory, first, lost, torn):
    """Killed after a checkpoint, with some more lines and perhaps a piece of one."""
    path = tmp_path_factory.mktemp("run") / "metrics.jsonl"
    with MetricsLog(path) as log:
        for step in first:
            log.append({"step": step})
        offset = log.offset
        for step in lost:
            log.append({"step": step})
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    with MetricsLog(path) as log:
        assert log.offset == len(whole)
        assert path.read_bytes() == whole + torn  # opening alone takes nothing away
        log.truncate(offset)
        for step in lost:
            log.append({"step": step})
    assert path.read_bytes() == whole


def test_an_incomplete_line_is_not_written_on(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"st')
    with MetricsLog(path) as log:
        with pytest.raises(
            ValueError,
            match=r"^metrics.jsonl: got 4 bytes after the last complete line, expected none; trunc",
        ):
            log.append({"step": 2})
        assert path.read_text() == '{"step": 1}\n{"st'
        log.truncate(log.offset)
        log.append({"step": 2})
    assert lines(path) == [{"step": 1}, {"step": 2}]


def test_the_last_line_end_is_found_in_a_long_file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for before, torn in [(b"a" * 200_000 + b"\n", b"b" * 200_000), (b"", b"c" * 65_536)]:
        path.write_bytes(before + torn)
        with MetricsLog(path) as log:
            assert log.offset == len(before)


@pytest.mark.parametrize(
    ("offset", "message"),
    [
        (25, "metrics.jsonl: got 24 bytes, expected the 25 that there were when the checkpoint "),
        (-1, "metrics.jsonl: got 24 bytes, expected the -1 that there were when the checkpoint "),
        (11, "metrics.jsonl: no line ends after 11 bytes, as it did when the checkpoint was wr"),
        (1, "metrics.jsonl: no line ends after 1 bytes, as it did when the checkpoint was writ"),
    ],
)
def test_wrong_offsets(tmp_path, offset, message):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as log:
        log.append({"step": 1})
        log.append({"step": 2})
        with pytest.raises(ValueError, match=message) as error:
            log.truncate(offset)
        assert "\n" not in str(error.value)
        assert lines(path) == [{"step": 1}, {"step": 2}]
        for right in (24, 12, 0):
            log.truncate(right)
            assert path.stat().st_size == log.offset == right


def test_what_json_cannot_hold(tmp_path):
    with MetricsLog(tmp_path / "metrics.jsonl") as log:
        with pytest.raises(TypeError, match="Object of type complex is not JSON serializable"):
            log.append({"z": np.complex64(1j)})
        assert log.offset == log.path.stat().st_size == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the device is Linux's")
def test_a_full_disk_is_one_line(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    message = r"^metrics\.jsonl cannot be written: No space left on device$"
    with MetricsLog(tmp_path / "metrics.jsonl") as log:
        with pytest.raises(OSError, match=message) as caught:
            log.append({"step": 1})
        assert caught.value.errno == errno.ENOSPC
        assert log.offset == 0


def test_a_line_that_fits_in_part_is_taken_back(tmp_path):
    """The disk becomes full within a line: here a limit on the size of files."""
    path = tmp_path / "metrics.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with MetricsLog(path) as log:
        log.append({"step": 1})
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
        try:
            with pytest.raises(OSError, match=r"^metrics\.jsonl cannot be written: File too l"):
                log.append({"step": 2})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert path.read_bytes() == b'{"step": 1}\n'
        log.append({"step": 2})
    assert lines(path) == [{"step": 1}, {"step": 2}]


def test_no_such_place(tmp_path):
    (tmp_path / "file").write_text("keep")
    with pytest.raises(OSError, match=r"^m\.jsonl cannot be written: No such file or directory$"):
        MetricsLog(tmp_path / "nowhere" / "m.jsonl")
    with pytest.raises(OSError, match=r"^/.*/file cannot be written: File exists$"):
        TensorBoardLog(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "keep"


def crc32c(data):
    """Castagnoli's checksum bit by bit, masked as TFRecord files have it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(path):
    """The events of one TFRecord file, checksums checked."""
    from tensorboardX.proto.event_pb2 import Event

    data, found = path.read_bytes(), []
    while data:
        head, (size,) = data[:8], struct.unpack("<Q", data[:8])
        body = data[12 : 12 + size]
        assert struct.unpack("<I", data[8:12]) == (crc32c(head),)
        assert struct.unpack("<I", data[12 + size : 16 + size]) == (crc32c(body),)
        found.append(Event.FromString(body))
        data = data[16 + size :]
    return found


def scalars(path):
    return [
        (event.step, value.tag, value.simple_value)
        for event in events(path)
        for value in event.summary.value
    ]


def as_tensorboard_shows(folder):
    """(step, tag) -> value, read as TensorBoard does: in the order of names, a restart purges."""
    shown, started = {}, False
    for path in sorted(folder.iterdir()):
        assert "tfevents" in path.name
        for event in events(path):
            if event.HasField("session_log"):
                assert event.session_log.status == event.session_log.START
                if started:
                    shown = {key: value for key, value in shown.items() if key[0] < event.step}
                started = True
            for value in event.summary.value:
                shown[event.step, value.tag] = value.simple_value
    return shown


def test_event_files(tmp_path):
    with TensorBoardLog(tmp_path / "a" / "b") as log:
        log.write(1, {"loss": 0.5, "steps_per_second": np.float32(10)})
        log.write(np.int64(2**40), {"accuracy": np.array([0.25, 1]), "n": 3, "b": jnp.bfloat16(2)})
        log.write(3, {"loss": float("nan"), "grad_norm": [float("inf"), 1e300], "flag": True})
        log.write(4, {})
    log.close()
    first, *_ = events(log.path)
    assert first.file_version == "brain.Event:2"
    assert all(event.wall_time > 1.7e9 for event in events(log.path))
    got = scalars(log.path)
    assert got[:2] == [(1, "loss", 0.5), (1, "steps_per_second", 10)]
    assert got[2:6] == [
        (2**40, "accuracy/0", 0.25), (2**40, "accuracy/1", 1), (2**40, "n", 3), (2**40, "b", 2),
    ]  # fmt: skip
    assert str(got[6:]) == str(
        [
            (3, "loss", np.nan),
            (3, "grad_norm/0", np.inf),
            (3, "grad_norm/1", np.inf),
            (3, "flag", 1.0),
        ]
    )


def test_a_resumed_run_replaces_what_came_after(tmp_path):
    """Even within the same second, as here, no file is written over."""
    with TensorBoardLog(tmp_path) as log:
        for step in range(1, 7):
            log.write(step, {"loss": 1.0, "only_before": 1.0})
    with TensorBoardLog(tmp_path, purge_step=4) as log:
        log.write(4, {"loss": 2.0})
    with TensorBoardLog(tmp_path, purge_step=5) as log:
        log.write(5, {"loss": 3.0})
    assert len(list(tmp_path.iterdir())) == 3
    want = {(step, tag): 1.0 for step in (1, 2, 3) for tag in ("loss", "only_before")}
    want |= {(4, "loss"): 2.0, (5, "loss"): 3.0}
    assert as_tensorboard_shows(tmp_path) == want


def test_events_reach_the_disk_from_time_to_time(tmp_path):
    now = [100.0]
    with TensorBoardLog(tmp_path, seconds=5, clock=lambda: now[0]) as log:
        assert len(events(log.path)) == 2  # a reader finds a whole file at once
        log.write(1, {"loss": 1})
        assert scalars(log.path) == []
        now[0] = 105.0
        log.write(2, {"loss": 1})
        assert len(scalars(log.path)) == 2
        log.write(3, {"loss": 1})
        assert len(scalars(log.path)) == 2
        log.sync()
        assert len(scalars(log.path)) == 3
        log.write(4, {"loss": 1})
    assert len(scalars(log.path)) == 4


@pytest.mark.parametrize(
    ("value", "shown"),
    [(np.zeros((2, 3)), r"float64 \(2, 3\)"), ("high", r"<U4 \(\)"), (1j, r"complex128 \(\)")],
)
def test_what_is_no_scalar(tmp_path, value, shown):
    message = f"^x: got {shown}, expected a number or numbers"
    with TensorBoardLog(tmp_path) as log, pytest.raises(ValueError, match=message):
        log.write(1, {"loss": 1.0, "x": value})
    assert scalars(log.path) == []


def test_event_files_on_a_full_disk(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = TensorBoardLog(tmp_path, seconds=0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60, hard))
    try:
        with pytest.raises(OSError, match=r"^events.out.* cannot be written: File too large$"):
            log.write(1, {"loss": np.ones(9)})
        with pytest.raises(OSError, match=r"^events.out.* cannot be written: File too large$"):
            log.close()
        log.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_without_the_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.delitem(sys.modules, "tensorboardX.proto", raising=False)
    monkeypatch.delitem(sys.modules, "tensorboardX.record_writer", raising=False)
    with pytest.raises(ModuleNotFoundError, match="event files need tensorboardX: pip install"):
        TensorBoardLog(tmp_path)
