"""The folder of a run: new, gone on with, refused, overwritten."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from seqmodels.training.run_directory import (
    RunFolder,
    cannot_be_written,
    json_value,
    stored_results,
)

FLAGS = {"hidden": 64, "rate": "0.1", "cells": ["rnn", "lstm"]}


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run_in(path, complete, flags=FLAGS):
    """Makes a folder with a run that has a checkpoint."""
    folder = RunFolder(path, settings=flags)
    folder.write_json("results.json", {"complete": complete, "flags": flags})
    (path / "metrics.jsonl").write_text('{"step": 1}\n')
    (path / "checkpoints" / "rnn").mkdir(parents=True)
    (path / "checkpoints" / "rnn" / "file").write_text("arrays")
    (path / "mine.txt").write_text("keep")
    folder.close()


def test_a_new_folder(tmp_path):
    folder = RunFolder(tmp_path / "a" / "run", settings=FLAGS)
    assert folder.results is None
    assert (folder.path / "metrics.jsonl").read_bytes() == b""
    folder.write_json("results.json", {"a": (1, 2), "b": float("nan"), "c": np.arange(2)})
    assert stored_results(folder.path) == {"a": [1, 2], "b": None, "c": [0, 1]}
    assert stored_results(tmp_path) is None


def test_an_unfinished_run_goes_on(tmp_path):
    run_in(tmp_path, complete=False)
    before = contents(tmp_path)
    folder = RunFolder(tmp_path, settings=dict(FLAGS))
    assert folder.results == {"complete": False, "flags": FLAGS}
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("complete", "settings", "line"),
    [
        (True, FLAGS, "holds this run, finished; give another name, or --overwrite"),
        (
            False,
            FLAGS | {"hidden": 8},
            "holds a run of other flags: hidden 64 there, 8 got; give",
        ),
        (True, FLAGS | {"new": 1}, "holds a run of other flags: new nothing there, 1 got; give"),
        (False, None, r"already holds a run \(results.json\); give another name, or --overwrite"),
    ],
)
def test_a_run_that_is_refused_stays(tmp_path, complete, settings, line):
    run_in(tmp_path, complete)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=f"run_dir: {tmp_path} {line}") as error:
        RunFolder(tmp_path, settings=settings)
    assert "\n" not in str(error.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("complete", [True, False])
def test_overwriting_takes_the_run_and_nothing_else(tmp_path, complete):
    run_in(tmp_path, complete)
    folder = RunFolder(tmp_path, settings=FLAGS | {"hidden": 8}, overwrite=True)
    assert folder.results is None
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.jsonl", "mine.txt", ".lock"}
    assert (tmp_path / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize("text", ["", "{", "[1]", "\0"])
def test_results_that_are_not_those_of_a_run(tmp_path, text):
    run_in(tmp_path, complete=False)
    (tmp_path / "results.json").write_text(text)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"results\.json is not what a run writes; give another"):
        RunFolder(tmp_path, settings=FLAGS)
    assert contents(tmp_path) == before


def test_checkpoints_without_results_are_not_thrown_away(tmp_path):
    run_in(tmp_path, complete=False)
    (tmp_path / "results.json").unlink()
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="already holds a run"):
        RunFolder(tmp_path, settings=FLAGS)
    assert contents(tmp_path) == before


def test_one_process_at_a_time(tmp_path):
    code = (
        "import sys; from seqmodels.training.run_directory import RunFolder\n"
        "try: RunFolder(sys.argv[1], settings={}, overwrite=True)\n"
        "except ValueError as error: print(error)"
    )

    def other():
        command = [sys.executable, "-c", code, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    folder = RunFolder(tmp_path, settings=FLAGS)
    assert other() == f"run_dir: {tmp_path} is in use by another process\n"
    folder.close()
    assert not other()


def test_a_folder_that_cannot_be(tmp_path):
    file = tmp_path / "file"
    file.write_text("keep")
    for path in (file, file / "below"):
        with pytest.raises(ValueError, match=r"run_dir: .* cannot be written: "):
            RunFolder(path)
    assert file.read_text() == "keep"


def test_a_failed_write_leaves_the_old_file(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_text("results.json", "old")
    os.mkdir(tmp_path / ".results.json.partial")
    with pytest.raises(OSError, match=r"results\.json cannot be written: Is a directory"):
        folder.write_text("results.json", "new")
    assert (tmp_path / "results.json").read_text() == "old"


def test_errors_of_the_system_keep_their_number():
    match = "it cannot be written: No space left on device"
    with pytest.raises(OSError, match=match) as error, cannot_be_written("it"):
        raise OSError(28, "No space left on device")
    assert error.value.errno == 28


def test_json_value():
    value = {"a": [1.0, float("inf"), np.float32("nan")], 2: (np.int64(3), True, None, "x")}
    assert json.loads(json.dumps(json_value(value))) == {
        "a": [1.0, None, None], "2": [3, True, None, "x"],
    }  # fmt: skip
