"""Several processes: what they compute, what they agree on, and how they end."""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from seqmodels.training.parallel import processes, transfer
from seqmodels.training.parallel.mesh import make_mesh

ROOT = pathlib.Path(__file__).parents[3]
PROGRAM = pathlib.Path(__file__).with_name("hosts_program.py")
LOST = 75


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(*arguments, wait=60):
    # Without the optimizations or options that the tests may run under: as a user starts it.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SECONDS_TO_WAIT": str(wait)}
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def member(process_id, port, *arguments, num_processes=2, wait=60):
    return start(
        f"--coordinator_address=127.0.0.1:{port}",
        f"--num_processes={num_processes}",
        f"--process_id={process_id}",
        *arguments,
        wait=wait,
    )


@contextlib.contextmanager
def members(*arguments, own=((), ())):
    """The two processes of a run; none of them outlives the test."""
    port = free_port()
    processes = [member(n, port, *arguments, *own[n]) for n in range(2)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()  # and Linux its worker
            process.communicate()


def ends(processes, seconds=90):
    """Returns (status, stdout, stderr) of each."""
    done = [process.communicate(timeout=seconds) for process in processes]
    return [(p.returncode, *text) for p, text in zip(processes, done, strict=True)]


def under_way(process):
    """Waits until the process takes steps. Returns the id of its worker."""
    for line in process.stderr:
        if found := re.search(r"is under way, pid (\d+)", line):
            return int(found[1])
    raise AssertionError("it ended before")


def test_two_processes_train_as_one_does_and_move_every_value():
    with members("--mode=train", "--devices=2") as processes:
        both = ends(processes)
    alone = ends([start("--mode=train", "--devices=4")])[0]
    for status, _, errors in (*both, alone):
        assert status == 0, errors
        assert "Gloo" not in errors
    trained, moved = zip(*[map(json.loads, out.splitlines()) for _, out, _ in both], strict=True)
    want, want_moved = [json.loads(line) for line in alone[1].splitlines()]
    for number, got in enumerate(trained):
        np.testing.assert_allclose(got["losses"], want["losses"], rtol=1e-5)
        assert got["total"] == pytest.approx(want["total"], rel=1e-5)
        assert got["main"] is (number == 0)
        assert got["devices"] == want["devices"] == 4
    # Process 0 holds what the one process of the other run holds, so its values are the oracle.
    for got in moved:
        assert got["broadcast"] == want_moved["broadcast"]
        assert got["anywhere"] == want_moved["anywhere"] == list(range(8))
        assert got["json"] == want_moved["json"] == {"a": [0, 0.1], "text": "é"}
        for name in ("placed", "again"):
            assert got[name] == got["spread"] == want_moved["spread"]
        assert got["agree"] == [[False, False], [True, False], [True, True], [True, True]]
        assert got["local"] == [2, 4, 2]
        assert got["mismatch"] == (
            "broadcast: ['w']: got float64(4,) on process 1 and float64(3,) on process 0, expected "
            "the same on every process"
        )


def test_evaluations_that_differ_in_the_last_digit_are_those_of_process_0():
    """Where each process followed its own, one would stop and the other wait for it."""
    with members("--mode=stray", "--devices=1") as processes:
        both = ends(processes)
    for status, _, errors in both:
        assert (status, errors) == (0, "")
    first, second = [[json.loads(line) for line in out.splitlines()] for _, out, _ in both]
    assert [one["own"] for one in first] == [0.5 + 1e-7, 0.5]
    assert [one["own"] for one in second] == [0.5, 0.5 + 1e-7]
    for mine, theirs in zip(first, second, strict=True):
        assert theirs["values"] == mine["values"]
        assert mine["values"]["score"] == mine["own"]
        assert theirs["param"] == mine["param"]
    assert [one["values"]["step"] for one in first] == [2, 6]


@pytest.mark.parametrize("killed", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_killed_process_ends_the_other_with_one_line(killed):
    with members("--mode=forever") as processes:
        workers = [under_way(process) for process in processes]
        os.kill(workers[killed], signal.SIGKILL)
        done = ends(processes, 60)
    status, out, errors = done[1 - killed]
    assert status == LOST
    assert out == ""
    assert errors == (
        f"process {1 - killed}: another process of this run ended; started again with the same "
        "commands the run resumes from its last checkpoint\n"
    )
    assert done[killed] == (137, "", f"process {killed}: its worker was ended by SIGKILL\n")


def test_sigterm_reaches_the_program_and_one_is_enough_to_stop_all():
    with members("--mode=terminate") as processes:
        for process in processes:
            under_way(process)
        processes[1].send_signal(signal.SIGTERM)
        (status, out, errors), other = ends(processes)[::-1]
    assert (status, json.loads(out), errors) == (3, {"seen": ["SIGTERM"]}, "")
    assert (other[0], json.loads(other[1]), other[2]) == (3, {"seen": []}, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "line"), [("raise", "ValueError: mine"), ("mistake", "run_dir: mine")]
)
def test_a_process_that_fails_says_why_and_the_other_ends(mode, line):
    with members(f"--mode={mode}") as processes:
        (status, _, errors), failed = ends(processes)
    assert failed[0] == 1
    assert failed[2].splitlines()[-1].endswith(line)
    assert status == LOST
    assert errors.splitlines()[-1].startswith("process 0: another process of this run ended")
    assert len(errors.splitlines()) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("own", "line"),
    [
        (("--hidden=4", "--hidden=8"), "hidden: got 8 on process 1 and 4"),
        (("--devices=2", "--devices=1"), "devices: got 1 on process 1 and 2"),
    ],
)
def test_flags_that_differ_are_named(own, line):
    with members("--mode=train", own=([own[0]], [own[1]])) as processes:
        for status, out, errors in ends(processes):
            assert (status, out) == (1, "")
            line_of_both = f"{line} on process 0, expected the same on every process\n"
            assert errors == f"hosts_program: error: {line_of_both}"


@pytest.mark.slow
def test_a_process_that_never_comes():
    status, out, errors = ends([member(0, free_port(), wait=5)])[0]
    assert (status, out) == (LOST, "")
    assert errors == (
        "process 0: not all of the 2 processes came together; is each of 0 to 1 started once, with "
        "the same coordinator_address and num_processes?\n"
    )


def test_a_coordinator_that_is_not_there():
    """Through the whole program: its line, its status, and no traceback."""
    port = free_port()
    status, out, errors = ends([member(1, port, wait=2)])[0]
    assert (status, out) == (1, "")
    assert errors == (
        f"hosts_program: error: coordinator_address: 127.0.0.1:{port} did not answer within 2 s "
        "(Connection refused); is process 0 running?\n"
    )


def test_a_host_that_has_no_address():
    with pytest.raises(ConnectionError, match=r"nowhere\.invalid:1234 did not answer within 1 s"):
        processes.initialize("nowhere.invalid:1234", 2, 1, initialization_seconds=1)


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = f"process 0 cannot listen at port {port}: Address already in use"
        with pytest.raises(ConnectionError, match=line):
            processes.initialize(f"127.0.0.1:{port}", 2, 0)
    assert not jax.distributed.is_initialized()


HERE = "10.0.0.1:1234"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ((HERE, None, None), "num_processes: got nothing, expected coordinator_address, num_proc"),
        ((None, 2, 0), "coordinator_address: got nothing, expected"),
        ((HERE, 2, None), "process_id: got nothing, expected"),
        ((HERE, 0, 0), "num_processes: got 0, expected at least 1"),
        ((HERE, 2, 2), "process_id: got 2, expected 0 to 1, one of the 2 processes"),
        ((HERE, 2, -1), "process_id: got -1, expected 0 to 1"),
        *[
            ((address, 2, 0), f"coordinator_address: got {address!r}, expected HOST:PORT, such as")
            for address in (
                "10.0.0.1",
                "",
                ":1234",
                "10.0.0.1:",
                "10.0.0.1:0",
                "10.0.0.1:65536",
                "10.0.0.1:-1",
                "10.0.0.1:port",
                "10.0.0.1:\uff11",
                "http://10.0.0.1:1234",
                "fe80::1:1234",
                "[]:1234",
                "a b:1234",
            )
        ],
    ],
)
def test_wrong_values_are_named(given, line):
    with pytest.raises(ValueError, match=re.escape(line)):
        processes.check_processes(*given)
    with pytest.raises(ValueError, match=re.escape(line)):
        processes.initialize(*given)


@pytest.mark.parametrize("address", ["localhost:1", "a-b.c:65535", "[::1]:80", "10.0.0.1:1234"])
def test_right_values(address):
    processes.check_processes(address, 1, 0)
    processes.check_processes(address, 3, 2)
    processes.check_processes(None, None, None)


@pytest.mark.parametrize(
    ("name", "value", "most"),
    [
        ("heartbeat_seconds", 0, 30),
        ("heartbeat_seconds", 31, 30),
        ("initialization_seconds", 0, 3600),
        ("shutdown_seconds", 3601, 3600),
    ],
)
def test_times_out_of_range(name, value, most):
    with pytest.raises(ValueError, match=f"{name}: got {value}, expected 1 to {most}"):
        processes.initialize(HERE, 2, 0, **{name: value})


def test_the_command_line_names_a_wrong_flag():
    status, out, errors = ends([start("--num_processes=2", "--process_id=0")])[0]
    assert (status, out) == (2, "")
    assert "coordinator_address: got nothing, expected coordinator_address, num_pro" in errors
    assert len(errors.splitlines()) == 1


def test_one_process_starts_nothing():
    """Every helper without `initialize`, in a process where no backend may have started."""
    code = (
        "import jax, numpy as np\n"
        "from seqmodels.training.parallel import processes as d, transfer as t\n"
        "d.initialize(); d.initialize('10.0.0.1:1', 1, 0)\n"
        "assert d.is_main() and d.process_count() == 1 and d.process_index() == 0\n"
        "assert d.agree(True, False) == (True, False) and d.agree(False, True) == (False, True)\n"
        "assert d.broadcast_json([1.5]) == [1.5]\n"
        "d.check_same({'a': 1})\n"
        "assert t.broadcast({'x': np.arange(3)})['x'].tolist() == [0, 1, 2]\n"
        "assert t.to_host((np.float32(2),))[0] == 2\n"
        "jax.config.update('jax_num_cpu_devices', 3)\n"  # raises after a backend has started
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_what_counts_as_a_lost_peer():
    closed = "UNKNOWN: Gloo AllGather failed: [pair.cc:547] Connection closed by peer [::1]:5"
    assert processes.is_lost_peer(jax.errors.JaxRuntimeError(closed))
    assert processes.is_lost_peer(ValueError(closed))
    assert not processes.is_lost_peer(jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 5 GB"))
    assert not processes.is_lost_peer(ValueError("batch: got 7"))
    assert not processes.is_lost_peer(RuntimeError(closed))
    for outer in (RuntimeError("one line"), KeyError("one line")):
        outer.__context__ = ValueError(closed)
        assert processes.is_lost_peer(outer)


def test_to_host_gives_copies():
    array = jnp.arange(4096.0)
    before = transfer.to_host(array)
    jax.jit(lambda a: a + 1, donate_argnums=0)(array).block_until_ready()
    np.testing.assert_array_equal(before, np.arange(4096.0))
    mine = np.arange(3)
    transfer.to_host({"a": mine})["a"][0] = 9
    assert mine[0] == 0


def test_from_host_with_one_sharding_and_with_several():
    mesh = make_mesh(4, "batch")
    rows, copies = (NamedSharding(mesh, PartitionSpec(*spec)) for spec in (("batch",), ()))
    tree = {"a": np.arange(8), "b": [np.ones(4, bool), jax.random.split(jax.random.key(1), 4)]}
    for sharding in (rows, {"a": copies, "b": rows}, {"a": rows, "b": [copies, rows]}):
        got = transfer.from_host(tree, sharding)
        for leaf, place in zip(
            jax.tree.leaves(got), jax.tree.leaves(jax.tree.broadcast(sharding, tree)), strict=True
        ):
            assert leaf.sharding.is_equivalent_to(place, leaf.ndim)
        back = transfer.to_host(got)
        np.testing.assert_array_equal(back["a"], tree["a"])
        np.testing.assert_array_equal(back["b"][0], tree["b"][0])
        assert (jax.random.key_data(back["b"][1]) == jax.random.key_data(tree["b"][1])).all()


def test_from_host_does_not_follow_the_array_it_came_from():
    """A loader may fill its buffer anew while the batch is still in use."""
    mesh = make_mesh(2, "batch")
    for size in (4, 4096):
        for spec in (("batch",), ()):
            mine = np.zeros(size, np.float32)
            placed = transfer.from_host(mine, NamedSharding(mesh, PartitionSpec(*spec)))
            (local,) = transfer.from_local((mine,), mesh, (0,))
            mine[:] = 1
            assert float(placed.sum()) == 0
            assert float(local.sum()) == 0


def test_from_local_of_one_process_is_the_batch():
    mesh = make_mesh(4, "batch")
    xs, lengths = np.arange(40.0, dtype=np.float32).reshape(5, 8), np.arange(8)
    got = transfer.from_local((xs, {"n": lengths}, 3.0), mesh, (1, 0, None))
    np.testing.assert_array_equal(got[0], xs)
    np.testing.assert_array_equal(got[1]["n"], lengths)
    assert got[2] == 3.0
    assert len({str(shard.index) for shard in got[0].addressable_shards}) == 4


@pytest.mark.parametrize(
    ("shape", "axes", "line"),
    [
        ((3, 6), (1,), "batch: got 6 rows on this process, expected a multiple of its 4 devices"),
        ((3, 0), (1,), "batch: got 0 rows"),
        ((3, 4), (2,), "batch_axes: got 2 for an array of shape (3, 4), expected one of its axes"),
        ((3, 4), (-1,), "batch_axes: got -1"),
        ((3, 4), (1, 0), "batch_axes: got 2, expected one for each of the 1 arguments"),
    ],
)
def test_from_local_names_what_does_not_fit(shape, axes, line):
    with pytest.raises(ValueError, match=re.escape(line)):
        transfer.from_local((np.zeros(shape),), make_mesh(4, "batch"), axes)


@pytest.mark.parametrize("wrong", [0, 5])
def test_a_mesh_of_devices_that_are_not_there(wrong):
    with pytest.raises(ValueError, match=f"num_devices: got {wrong}, expected 1 to 4"):
        make_mesh(wrong, "batch")
