"""What may happen to a run: each ends in one line and a status, and the run can go on."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
STUDY = [
    "--cells=rnn", "--distances=2", "--seeds=2", "--hidden=8", "--steps=400", "--eval_every=20",
    "--stop_at=2", "--test_sequences=32", "--devices=2", "--checkpoint_every=0",
    "--keep_checkpoints=3",
]  # fmt: skip


# Runs the rest of its arguments under a limit on the size of files, as on a disk that is full.
LIMITED = (
    "import os, resource, sys\n"
    "size = int(sys.argv[1])\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))\n"
    "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])\n"
)


def run(*arguments, largest_file=None):
    limit = [] if largest_file is None else ["-c", LIMITED, str(largest_file)]
    return subprocess.run(
        [sys.executable, *limit, "-m", "experiments.long_context", *STUDY, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def fails(*arguments, text, largest_file=None):
    """Asserts one line, which holds the text, after whatever the run had to say before."""
    done = run(*arguments, largest_file=largest_file)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("long_context: error:")]
    assert len(lines) == 1
    assert done.stderr.splitlines()[-1] == lines[0]
    assert text in lines[0], lines[0]


def report(folder):
    found = json.loads((folder / "results.json").read_text())
    return found["complete"], [{**m, "seconds": None} for m in found["measurements"]]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run that nothing happened to."""
    folder = tmp_path_factory.mktemp("alone")
    assert run(f"--run_dir={folder}").returncode == 0
    return folder


@pytest.fixture
def unfinished(alone, tmp_path):
    """The same run as if killed after its last checkpoints, before anything was measured."""
    folder = tmp_path / "run"
    shutil.copytree(alone, folder)
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(
        json.dumps(results | {"complete": False, "measurements": []})
    )
    steps = sorted(
        int(p.name) for p in (folder / "checkpoints/rnn-2").iterdir() if p.name.isdecimal()
    )
    assert len(steps) == 3
    shutil.rmtree(folder / "checkpoints/rnn-2" / str(steps[-1]))
    return folder, folder / "checkpoints/rnn-2" / str(steps[-2])


def goes_on(folder, alone):
    done = run(f"--run_dir={folder}")
    assert done.returncode == 0, done.stderr
    assert report(folder) == report(alone)
    assert (folder / "metrics.jsonl").read_bytes() == (alone / "metrics.jsonl").read_bytes()
    return done


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(unfinished, alone):
    folder, newest = unfinished
    victim = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    done = goes_on(folder, alone)
    named = [line for line in done.stderr.splitlines() if "is damaged" in line]
    assert len(named) == 1
    assert str(newest) in named[0]


@pytest.mark.slow
def test_all_checkpoints_damaged(unfinished):
    folder, newest = unfinished
    for manifest in newest.parent.glob("*/manifest.json"):
        manifest.write_text("{}")
    before = {p: p.read_bytes() for p in newest.parent.rglob("*") if p.is_file()}
    fails(f"--run_dir={folder}", text="damaged")
    assert {p: p.read_bytes() for p in newest.parent.rglob("*") if p.is_file()} == before


@pytest.mark.slow
def test_a_clock_that_went_backwards(unfinished, alone):
    folder, newest = unfinished
    later = time.time() + 7200
    os.utime(newest / "manifest.json", (later, later))
    fails(f"--run_dir={folder}", text="clock")
    os.utime(newest / "manifest.json")
    goes_on(folder, alone)


@pytest.mark.slow
def test_other_flags(unfinished, alone):
    folder, _ = unfinished
    fails(f"--run_dir={folder}", "--hidden=9", text="hidden 8 there, 9 got")
    goes_on(folder, alone)


def test_a_file_that_is_too_large_for_the_disk(unfinished, alone):
    folder, newest = unfinished
    size = (folder / "metrics.jsonl").stat().st_size

    fails(f"--run_dir={folder}", text="cannot be written", largest_file=size)
    assert newest.exists()
    goes_on(folder, alone)


@pytest.mark.slow
def test_a_disk_that_is_full_from_the_start_and_while_plotting(unfinished, alone, tmp_path):
    fails(f"--run_dir={tmp_path / 'new'}", text="cannot be written", largest_file=0)
    folder, _ = unfinished
    for plot in folder.glob("*.png"):
        plot.unlink()
        plot.mkdir()
    fails(f"--run_dir={folder}", text="accuracy_by_distance.png cannot be written: Is a directory")
    for plot in folder.glob("*.png"):
        plot.rmdir()
    goes_on(folder, alone)
    assert len(list(folder.glob("*.png"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"flags": 3}, "results.json is not what a run writes"),
        ({"measurements": [{"cell": "rnn"}]}, "results.json is not what this study writes"),
    ],
)
def test_results_that_somebody_changed(unfinished, change, text):
    folder, newest = unfinished
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps(results | change))
    fails(f"--run_dir={folder}", text=text)
    assert newest.exists()


@pytest.mark.slow
def test_records_that_are_gone(unfinished):
    folder, newest = unfinished
    (folder / "metrics.jsonl").write_text("")
    fails(f"--resume={folder}", text="metrics.jsonl: got 0 bytes, expected the ")
    assert newest.exists()


def test_a_rate_that_explodes(tmp_path):
    arguments = ["--learning_rate=1e38", "--clip_norm=inf", f"--run_dir={tmp_path / 'run'}"]
    fails(*arguments, text="not finite in")
    assert not (tmp_path / "run" / "metrics.jsonl").read_text()


@pytest.mark.slow
def test_a_data_file_that_is_changed_or_gone(tmp_path):
    text = tmp_path / "filler.txt"
    text.write_text("Nothing happens here. Nothing at all happens.")
    folder = tmp_path / "run"
    arguments = [f"--filler_file={text}", f"--run_dir={folder}"]
    assert run(*arguments).returncode == 0
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps(results | {"complete": False}))
    text.write_text("Nothing at all happens. Nothing happens here.")
    fails(*arguments, text="holds a run of other flags: filler_sha256 ")
    text.unlink()
    fails(*arguments, text=f"{text}: cannot be read: No such file")


def test_a_coordinator_that_is_not_there(tmp_path):
    arguments = ["--coordinator_address=127.0.0.1", "--num_processes=2", "--process_id=1"]
    done = run(*arguments, f"--run_dir={tmp_path / 'run'}")
    assert done.returncode == 2
    assert "got '127.0.0.1', expected HOST:PORT" in done.stderr
    assert done.stderr.count("\n") == 1
