"""Checkpoints of processes that are killed, of full disks, and of several processes at once."""

import errno
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import seqmodels
from seqmodels.training.checkpointing import array_files, manifest
from seqmodels.training.checkpointing.checkpoints import Checkpoints

ROOT = pathlib.Path(seqmodels.__file__).parents[1]


class KilledError(BaseException):
    pass


def simple(step):
    return {"w": np.full(50, step, np.float32), "n": np.array(step)}


def holds(found, step):
    assert (found.step, found.progress) == (step, {"n": step})
    assert (found.state["w"] == step).all()
    assert found.state["n"] == step


def python(code, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def kill_at(monkeypatch, number):
    """Raises at the given of the writing thread's changes to the disk, which counts them."""
    count = [0]

    def counted(real):
        def function(*arguments, **options):
            if threading.current_thread().name.startswith("checkpoints"):
                count[0] += 1
                if count[0] >= number:
                    raise KilledError
            return real(*arguments, **options)

        return function

    for name in ("mkdir", "rename", "rmdir", "unlink", "fsync"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    return count


def write_simply(folder, arrays):
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / name, array)


def read_simply(folder, dtypes):
    return {name: np.load(folder / f"{name}.npy") for name in dtypes}


@pytest.mark.parametrize("case", ["another step", "the same step", "a damaged step"])
def test_killed_at_each_change_to_the_disk(tmp_path, monkeypatch, case):
    """Not by Orbax, whose own changes are all below the partial folder."""
    monkeypatch.setattr(array_files, "write_arrays", write_simply)
    monkeypatch.setattr(array_files, "read_arrays", read_simply)
    new = 3 if case == "another step" else 2
    with Checkpoints(tmp_path / "before") as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, simple(step), {"n": step}, best=step == 1)
    if case == "a damaged step":
        (tmp_path / "before" / "2" / "manifest.json").unlink()
    last_whole = 1 if case == "a damaged step" else 2
    number, killed, outcomes = 0, True, set()
    while killed:
        number += 1
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "before", folder)
        lines = []
        with monkeypatch.context() as patch:
            checkpoints = Checkpoints(folder, keep=1, report=lines.append)
            checkpoints.restore(simple(0))
            count = kill_at(patch, number)
            try:
                checkpoints.save(new, simple(new), {"n": new}, best=True)
                checkpoints.wait()
                killed = False
            except KilledError:
                pass
            assert killed == (count[0] >= number)
        checkpoints.close()
        with Checkpoints(folder, keep=1, report=lines.append) as checkpoints:
            assert not [path for path in folder.iterdir() if re.match(r"\.\d", path.name)]
            found = checkpoints.restore(simple(0))
            holds(found, found.step)
            for step in checkpoints.steps():
                if (case, step, found.step) != ("a damaged step", 2, 1):
                    manifest.check_files(
                        folder / str(step), manifest.read_manifest(folder / str(step))
                    )
            outcomes.add(found.step)
            # The best is the old one until the new one is there.
            best = checkpoints.best(simple(0)).step
            assert best == (1 if found.step < new else new) or (case, best) == ("the same step", 1)
            for step in range(found.step + 1, 5):
                checkpoints.save(step, simple(step), {"n": step})
            holds(checkpoints.restore(simple(0)), 4)
            assert 4 in checkpoints.steps()
    assert number > 12
    assert outcomes == {last_whole, new}


WRITER = """
import sys, numpy as np
from seqmodels.training.checkpointing.checkpoints import Checkpoints
def state(step): return {"w": np.full(200_000, step, np.float32), "n": np.array(step)}
checkpoints = Checkpoints(sys.argv[1], keep=2)
found = checkpoints.restore(state(0))
step = found.step if found else 0
if found: assert (found.state["w"] == step).all() and found.progress == {"n": step}
print("begun", step, flush=True)
while True:
    step += 1
    checkpoints.save(step, state(step), {"n": step}, best=step % 5 == 0)
"""


def kill_writers(folder, times):
    generator = random.Random(1)
    begun = []
    for _ in range(times):
        process = python(WRITER, folder)
        line = process.stdout.readline()
        if not line.startswith("begun "):
            process.kill()
            pytest.fail(process.communicate()[1])
        begun.append(int(line.split()[1]))
        # Until it is past its first save; then at any moment.
        deadline = time.monotonic() + 60
        while not (Checkpoints(folder, writes=False).steps() or [0])[-1] > begun[-1]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        assert errors == ""
    assert begun == sorted(set(begun))
    template = {"w": np.zeros(200_000, np.float32), "n": np.array(0)}
    reports = []
    with Checkpoints(folder, report=reports.append) as checkpoints:
        holds(checkpoints.restore(template), checkpoints.steps()[-1])
        best = checkpoints.best(template)
        assert best is None or best.step % 5 == 0
        assert best or checkpoints.steps()[-1] < 5
    assert not reports
    assert not [path for path in folder.iterdir() if re.match(r"\.\d", path.name)]


def test_killed_with_sigkill(tmp_path):
    kill_writers(tmp_path / "c", 2)


@pytest.mark.slow
def test_killed_with_sigkill_many_times(tmp_path):
    kill_writers(tmp_path / "c", 15)


def test_two_processes_do_not_write_one_folder(tmp_path):
    code = (
        "import sys\n"
        "from seqmodels.training.checkpointing.checkpoints import Checkpoints\n"
        "assert 'orbax' not in sys.modules\n"
        "try: Checkpoints(sys.argv[1])\n"
        "except ValueError as error: print(error)\n"
        "Checkpoints(sys.argv[1], writes=False)\n"
    )
    with Checkpoints(tmp_path):
        out, errors = python(code, tmp_path).communicate(timeout=60)
    assert errors == ""
    assert out == (
        f"checkpoints: {tmp_path} is being written by another process; wait until it ends, or give "
        "another folder\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock"]


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(small_disk, capfd):
    folder = small_disk / "c"
    big = {"w": np.zeros(100_000), "n": np.array(0)}
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(1, big, {})
        with pytest.raises(OSError, match="step 1") as error:
            checkpoints.wait()
        assert str(error.value) == (
            f"checkpoints: step 1 cannot be written to {folder}: No space left on device; "
            "there is none before it"
        )
        checkpoints.save(200, simple(200), {"n": 200})
        checkpoints.save(300, big, {})
        with pytest.raises(OSError, match="step 300") as error:
            checkpoints.save(400, simple(400), {})
        assert str(error.value) == (
            f"checkpoints: step 300 cannot be written to {folder}: No space left on device; "
            "the last one is step 200"
        )
        assert sorted(path.name for path in folder.iterdir()) == [".lock", "200"]
        # It has been said; what was not begun can be saved again.
        checkpoints.save(400, simple(400), {"n": 400})
        holds(checkpoints.restore(simple(0)), 400)
        checkpoints.save(500, big, {})
        with pytest.raises(OSError, match=r"step 500 .* the last one is step 400"):
            checkpoints.close()
        checkpoints.close()
    assert capfd.readouterr() == ("", "")


def test_a_disk_that_fills_up_while_orbax_writes(small_disk, monkeypatch, caplog):
    monkeypatch.setattr(array_files, "_reserve", lambda *_: None)
    with Checkpoints(small_disk) as checkpoints:
        checkpoints.save(1, {"w": np.random.default_rng(0).random(100_000)}, {})
        with pytest.raises(OSError, match=r"cannot be written to \S*: No space left on device; "):
            checkpoints.wait()
    assert [path.name for path in small_disk.iterdir()] == [".lock"]
    assert not caplog.records


def test_files_that_may_not_be_so_large(tmp_path):
    code = (
        "import resource, sys, numpy as np\n"
        "from seqmodels.training.checkpointing.checkpoints import Checkpoints\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "checkpoints = Checkpoints(sys.argv[1])\n"
        "checkpoints.save(1, np.zeros(10), {})\n"
        "checkpoints.save(2, np.zeros(100_000), {})\n"
        "try: checkpoints.close()\n"
        "except OSError as error: print(error)\n"
    )
    assert hasattr(resource, "RLIMIT_FSIZE")
    out, errors = python(code, tmp_path).communicate(timeout=60)
    assert errors == ""
    assert out == (
        f"checkpoints: step 2 cannot be written to {tmp_path}: File too large; "
        "the last one is step 1\n"
    )
    assert Checkpoints(tmp_path).restore(np.zeros(10)).step == 1


def test_a_write_that_fails_anywhere_leaves_what_was_there(tmp_path, monkeypatch):
    """An error of the disk at each of the thread's changes up to where the new one is there."""
    monkeypatch.setattr(array_files, "write_arrays", write_simply)
    monkeypatch.setattr(array_files, "read_arrays", read_simply)
    count = [0, 0]

    def failing(real):
        def function(*arguments, **options):
            if threading.current_thread().name.startswith("checkpoints"):
                count[0] += 1
                if count[0] == count[1]:
                    raise OSError(errno.EIO, "Input/output error")
            return real(*arguments, **options)

        return function

    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, simple(1), {"n": 1})
        checkpoints.save(2, simple(2), {"n": 2})
        checkpoints.wait()
        while True:
            count[:] = [0, count[1] + 1]
            errors = []
            with monkeypatch.context() as patch:
                for name in ("mkdir", "rename", "fsync"):
                    patch.setattr(os, name, failing(getattr(os, name)))
                checkpoints.save(2, {**simple(2), "w": simple(20)["w"]}, {"n": 2})
                try:
                    checkpoints.wait()
                except OSError as error:
                    errors.append(str(error))
            if count[0] < count[1]:
                break
            assert errors == [
                f"checkpoints: step 2 cannot be written to {tmp_path}: Input/output error; "
                "the last one is step 2"
            ]
            holds(checkpoints.restore(simple(0)), 2)
            assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "1", "2"]
        assert errors == []
        assert count[1] > 10
        assert (checkpoints.restore(simple(0)).state["w"] == 20).all()


def test_what_ended_the_run_is_not_hidden_by_a_failed_write(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(array_files, "write_arrays", fail)
    lines = []

    def run():
        with Checkpoints(tmp_path, report=lines.append) as checkpoints:
            checkpoints.save(1, simple(1), {})
            return 1 / 0

    with pytest.raises(ZeroDivisionError):
        run()
    assert lines == [
        f"checkpoints: step 1 cannot be written to {tmp_path}: Read-only file system; there is "
        "none before it"
    ]


def test_plain_reasons():
    text = "RESOURCE_EXHAUSTED: Error writing x: y [os_error_code='28'] [source locations='...\n..."
    assert array_files.plain_reason(ValueError(text)) == "No space left on device"
    assert array_files.plain_reason(OSError(errno.EACCES, "Permission denied")) == (
        "Permission denied"
    )
    assert array_files.plain_reason(ValueError("first\nsecond")) == "first"
    assert array_files.plain_reason(ValueError("x" * 1000)) == "x" * 160 + "..."
    assert array_files.plain_reason(MemoryError()) == "MemoryError"


PROCESS = """
import sys, time, pathlib, numpy as np, jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
port, index, folder = int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize(f"127.0.0.1:{port}", 2, index)
from seqmodels.training.checkpointing.checkpoints import Checkpoints
mesh = Mesh(jax.devices(), ("data",))
assert jax.process_count() == 2 and mesh.size == 4
def put(value, *axes):
    sharding = NamedSharding(mesh, PartitionSpec(*axes))
    return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])
state = {"copied": put(np.arange(6.0)), "here": jax.numpy.arange(3)}
checkpoints = Checkpoints(folder / "c", writes=index == 0)
done = folder / "done"
if index == 0:
    # Alone: the other process takes no part in any of this.
    for step in (1, 2):
        checkpoints.save(step, state, {"n": step})
    checkpoints.wait()
    found = checkpoints.restore(state)
    assert found.step == 2 and (found.state["copied"] == np.arange(6.0)).all()
    try: checkpoints.save(3, {"spread": put(np.arange(8.0), "data")}, {})
    except ValueError as error: print(error)
    checkpoints.close()
    done.touch()
else:
    checkpoints.save(1, state, {})
    while not done.exists(): time.sleep(.05)
    print(checkpoints.steps())
"""


def test_one_of_two_processes_writes_alone(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [python(PROCESS, port, index, tmp_path) for index in (0, 1)]
    try:
        outputs = [process.communicate(timeout=60) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert outputs[0][0] == (
        "state['spread']: got an array spread over several processes, expected one that each has "
        "whole\n"
    )
    assert outputs[1][0] == "[1, 2]\n"
