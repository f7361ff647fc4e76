"""What may happen to a run: each ends in one line and a status, and the run can resume."""

import functools
import json
import os
import shutil
import subprocess
import sys
import time

import programs
import pytest
import quick_programs
from programs import ROOT, flags_of

from experiments.common.errors import UserError
from experiments.long_context import Config, run
from experiments.long_context.__main__ import EXPERIMENT

OPTIONS = {
    "cells": ("rnn",),
    "distances": (2,),
    "seeds": 2,
    "hidden": 8,
    "steps": 200,
    "eval_every": 20,
    "stop_at": 2,
    "test_sequences": 32,
    "devices": "2",
    "checkpoint_every": 0,
    "keep_checkpoints": 3,
    "tensorboard": False,
}
CONFIG = Config().replace(**OPTIONS)
execute = functools.partial(programs.execute, EXPERIMENT, *flags_of(OPTIONS))

# Runs the rest of its arguments under a limit on the size of files, as on a disk that is full.
LIMITED = (
    "import os, resource, sys\n"
    "size = int(sys.argv[1])\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))\n"
    "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])\n"
)


def execute_limited(largest_file, *arguments):
    """Returns (exit status, standard output, standard error) of a process under that limit."""
    command = ["-c", LIMITED, str(largest_file), "-m", "experiments.long_context"]
    done = subprocess.run(
        [sys.executable, *command, *flags_of(OPTIONS), *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        env=quick_programs.environment(),
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def fails(folder, *arguments, text, start=execute):
    """Asserts one line, which holds the text, after whatever the run had to say before."""
    status, _, err = start(f"--run_dir={folder}", *arguments)
    assert status == 1, err
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("long_context: error:")]
    assert len(lines) == 1
    assert err.splitlines()[-1] == lines[0]
    assert text in lines[0], lines[0]


def report(folder):
    found = json.loads((folder / "results.json").read_text())
    return found["complete"], [{**one, "seconds": None} for one in found["results"]]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run that nothing happened to."""
    folder = tmp_path_factory.mktemp("alone")
    run(CONFIG, folder)
    return folder


@pytest.fixture
def unfinished(alone, tmp_path):
    """The same run as if killed after its last checkpoints, before anything was measured."""
    folder = tmp_path / "run"
    shutil.copytree(alone, folder)
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps(results | {"complete": False, "results": []}))
    steps = sorted(
        int(p.name) for p in (folder / "checkpoints/rnn-2").iterdir() if p.name.isdecimal()
    )
    assert len(steps) == 3
    shutil.rmtree(folder / "checkpoints/rnn-2" / str(steps[-1]))
    return folder, folder / "checkpoints/rnn-2" / str(steps[-2])


def resumes(folder, alone):
    """Asserts that the run ends as the other; returns what it had to say."""
    status, _, err = execute(f"--run_dir={folder}")
    assert status == 0, err
    assert report(folder) == report(alone)
    assert (folder / "metrics.jsonl").read_bytes() == (alone / "metrics.jsonl").read_bytes()
    return err


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(unfinished, alone):
    folder, newest = unfinished
    victim = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    said = resumes(folder, alone)
    named = [line for line in said.splitlines() if "is damaged" in line]
    assert len(named) == 1
    assert str(newest) in named[0]


def test_all_checkpoints_damaged(unfinished):
    folder, newest = unfinished
    for manifest in newest.parent.glob("*/manifest.json"):
        manifest.write_text("{}")
    before = {p: p.read_bytes() for p in newest.parent.rglob("*") if p.is_file()}
    fails(folder, text="damaged")
    assert {p: p.read_bytes() for p in newest.parent.rglob("*") if p.is_file()} == before


@pytest.mark.slow
def test_other_options_and_a_clock_that_went_backwards(unfinished, alone):
    folder, newest = unfinished
    fails(folder, "--hidden=9", text="hidden 8 there, 9 got")
    later = time.time() + 7200
    os.utime(newest / "manifest.json", (later, later))
    fails(folder, text="clock")
    os.utime(newest / "manifest.json")
    resumes(folder, alone)


@pytest.mark.slow
def test_a_file_that_is_too_large_for_the_disk(unfinished, alone):
    folder, newest = unfinished
    size = (folder / "metrics.jsonl").stat().st_size

    fails(folder, text="cannot be written", start=functools.partial(execute_limited, size))
    assert newest.exists()
    resumes(folder, alone)


@pytest.mark.slow
def test_a_disk_that_is_full_from_the_start_and_while_plotting(unfinished, alone, tmp_path):
    fails(tmp_path / "new", text="cannot be written", start=functools.partial(execute_limited, 0))
    folder, _ = unfinished
    for plot in folder.glob("*.png"):
        plot.unlink()
        plot.mkdir()
    fails(folder, text="holds accuracy_by_distance.png, which is not what the run there wrote")
    for plot in folder.glob("*.png"):
        plot.rmdir()
    resumes(folder, alone)
    assert len(list(folder.glob("*.png"))) == 2


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"flags": 3}, "results.json is not what a run writes"),
        ({"results": [{"cell": "rnn"}]}, "results.json does not belong to this study"),
        ({"results": [{"cell": "gru", "distance": 2}]}, "does not belong to this study"),
        ({"results": 3}, "results.json does not belong to this study"),
    ],
)
def test_results_that_somebody_changed(unfinished, change, text):
    folder, newest = unfinished
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps(results | change))
    fails(folder, text=text)
    assert newest.exists()


def test_records_that_are_gone(unfinished):
    folder, newest = unfinished
    (folder / "metrics.jsonl").write_text("")
    fails(folder, text="metrics.jsonl: got 0 bytes, expected the ")
    assert newest.exists()


def test_a_rate_that_explodes(tmp_path):
    with pytest.raises(UserError, match="not finite in"):
        run(CONFIG.replace(learning_rate=1e38, clip_norm=float("inf")), tmp_path)
    assert not (tmp_path / "metrics.jsonl").read_text()


def test_a_data_file_that_is_changed_or_gone(tmp_path):
    text = tmp_path / "filler.txt"
    text.write_text("Nothing happens here. Nothing at all happens.")
    folder, filler = tmp_path / "run", f"--filler_file={text}"
    run(CONFIG.replace(filler_file=text, steps=20), folder)
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps(results | {"complete": False}))
    text.write_text("Nothing at all happens. Nothing happens here.")
    changed = "holds a run of other options: filler_file_sha256 "
    fails(folder, filler, "--steps=20", text=changed)
    text.unlink()
    gone = f"filler_file: got '{text}', expected a file that exists"
    fails(folder, filler, "--steps=20", text=gone)


def test_a_coordinator_address_without_a_port(tmp_path):
    arguments = ["--coordinator_address=127.0.0.1", "--num_processes=2", "--process_id=1"]
    status, out, err = execute(*arguments, f"--run_dir={tmp_path / 'run'}")
    assert (status, out) == (2, "")
    assert "got '127.0.0.1', expected HOST:PORT" in err
    assert err.count("\n") == 1
