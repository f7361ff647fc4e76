"""Run directories: new, resumed, refused, overwritten; nothing of others is removed."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from seqmodels import model_files
from seqmodels.training.errors import RunError
from seqmodels.training.files import cannot_be_written, json_value
from seqmodels.training.run_directory import RunDirectory, check_run_directory, stored_results

FLAGS = {"hidden": 64, "rate": "0.1", "cells": ["rnn", "lstm"]}


def open_run(path, settings=FLAGS, **more):
    return RunDirectory(path, program="test", settings=settings, **more)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run_in(path, complete, flags=FLAGS):
    """Makes a folder with a run that has a checkpoint, and with a file of the user's."""
    directory = open_run(path, flags, files=("picture.png",))
    directory.write_results({"complete": complete, "flags": flags})
    with directory.metrics_log() as log:
        log.append({"step": 1})
    with directory.checkpoints("rnn") as checkpoints:
        checkpoints.save(3, {"w": np.ones(2)}, {})
    model_files.save(directory.model("rnn-0"), "test", {}, {"w": np.ones(2)}, {"more": "text"})
    directory.file("picture.png").write_text("picture")
    (path / "mine.txt").write_text("keep")
    directory.close()


def test_a_new_directory(tmp_path):
    directory = open_run(tmp_path / "a" / "run")
    assert directory.results is None
    assert (directory.path / "metrics.jsonl").read_bytes() == b""
    directory.write_results({"a": (1, 2), "b": float("nan"), "c": np.arange(2)})
    assert stored_results(directory.path) == {"a": [1, 2], "b": None, "c": [0, 1]}
    assert stored_results(tmp_path) is None


def test_an_unfinished_run_is_resumed(tmp_path):
    run_in(tmp_path, complete=False)
    before = contents(tmp_path)
    for overwrite in (False, True):
        directory = open_run(tmp_path, dict(FLAGS), files=("picture.png",), overwrite=overwrite)
        assert directory.results == {"complete": False, "flags": FLAGS}
        directory.close()
        assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("complete", "settings", "line"),
    [
        (True, FLAGS, "holds this run, finished; use another directory, or overwrite it"),
        (
            False,
            FLAGS | {"hidden": 8},
            "holds a run of other options: hidden 64 there, 8 got; use",
        ),
        (True, FLAGS | {"new": 1}, "holds a run of other options: new nothing there, 1 got; use"),
        (False, None, r"already holds a run \(results.json\); use another directory, or overwrite"),
    ],
)
def test_a_run_that_is_refused_stays(tmp_path, complete, settings, line):
    run_in(tmp_path, complete)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=f"run_dir: {tmp_path} {line}") as error:
        open_run(tmp_path, settings)
    assert "\n" not in str(error.value)
    assert contents(tmp_path) == before


def test_a_run_of_another_program_is_refused(tmp_path):
    run_in(tmp_path, complete=False)
    with pytest.raises(RunError, match="other options: program test there, other got"):
        RunDirectory(tmp_path, program="other", settings=FLAGS)


def test_a_check_changes_nothing(tmp_path):
    check_run_directory(tmp_path / "new", program="test", settings=FLAGS)
    assert not (tmp_path / "new").exists()
    run_in(tmp_path, complete=True)
    before = contents(tmp_path)
    with pytest.raises(RunError, match="holds this run, finished"):
        check_run_directory(tmp_path, program="test", settings=FLAGS)
    check_run_directory(tmp_path, program="test", settings=FLAGS, overwrite=True)
    assert contents(tmp_path) == before


def test_files_put_into_a_run_without_results_are_not_removed(tmp_path):
    open_run(tmp_path, files=("picture.png",)).close()
    for name in ("picture.png", "models"):
        mine = tmp_path / name
        mine.write_text("mine")
        with pytest.raises(RunError, match="already holds a run"):
            open_run(tmp_path, files=("picture.png",))
        with pytest.raises(RunError, match=f"holds {name}, which is not what the run there wrote"):
            open_run(tmp_path, files=("picture.png",), overwrite=True)
        assert mine.read_text() == "mine"
        mine.unlink()


@pytest.mark.parametrize("complete", [True, False])
def test_overwriting_removes_the_run_and_nothing_else(tmp_path, complete):
    run_in(tmp_path, complete)
    directory = open_run(tmp_path, FLAGS | {"hidden": 8}, overwrite=True)
    assert directory.results is None
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"metrics.jsonl", "mine.txt", ".lock", ".run.json"}
    assert (tmp_path / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize(
    "name", ["models", "checkpoints", "results.json", "flags.txt", "metrics.jsonl", "picture.png"]
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_no_run_wrote_is_refused_and_stays(tmp_path, name, overwrite):
    """A user's own folder of models, or a run of a version without the mark."""
    mine = tmp_path / name / "mine.txt" if "." not in name else tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("{}")
    with pytest.raises(RunError, match=f"holds {name}, which a run of this version did not write"):
        open_run(tmp_path, files=("picture.png",), overwrite=overwrite)
    assert mine.read_text() == "{}"
    assert not (tmp_path / ".run.json").exists()


def test_a_picture_of_the_user_is_refused_in_a_run_too(tmp_path):
    run_in(tmp_path, complete=False)
    (tmp_path / "other.png").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(RunError, match=r"holds other\.png, which a run"):
            open_run(tmp_path, files=("other.png",), overwrite=overwrite)
    assert (tmp_path / "other.png").read_text() == "mine"
    assert (tmp_path / "checkpoints" / "rnn" / "3").exists()


@pytest.mark.parametrize(
    ("mark", "line"),
    [
        ({"format": 1, "files": []}, "holds a run of format 1, expected 3"),
        ({"format": 3, "files": ["../mine"]}, "holds a run of format 3"),
        ({"format": 3, "files": "all"}, "holds a run of format 3"),
        ([1], "is not what a run writes"),
    ],
)
def test_a_mark_that_is_not_ours_is_not_obeyed(tmp_path, mark, line):
    (tmp_path / "mine").write_text("keep")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".run.json").write_text(json.dumps(mark))
    with pytest.raises(RunError, match=line):
        open_run(folder, overwrite=True)
    assert (tmp_path / "mine").read_text() == "keep"


@pytest.mark.parametrize("text", ["", "{", "[1]", "\0"])
def test_results_that_are_not_those_of_a_run(tmp_path, text):
    run_in(tmp_path, complete=False)
    (tmp_path / "results.json").write_text(text)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"results\.json is not what a run writes; use another"):
        open_run(tmp_path)
    assert contents(tmp_path) == before


def test_checkpoints_without_results_are_not_thrown_away(tmp_path):
    run_in(tmp_path, complete=False)
    (tmp_path / "results.json").unlink()
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="already holds a run"):
        open_run(tmp_path)
    assert contents(tmp_path) == before


def test_a_run_killed_before_its_first_result_begins_again(tmp_path):
    directory = open_run(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("half a li")
    os.close(directory._lock_file)  # what the end of a process does
    directory._lock_file = -1
    directory = open_run(tmp_path)
    assert directory.results is None
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_one_process_at_a_time(tmp_path):
    code = (
        "import sys; from seqmodels.training.run_directory import RunDirectory\n"
        "try: RunDirectory(sys.argv[1], program='test', settings={}, overwrite=True)\n"
        "except ValueError as error: print(error)"
    )

    def other():
        command = [sys.executable, "-c", code, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    directory = open_run(tmp_path)
    assert other() == f"run_dir: {tmp_path} is in use by another process\n"
    directory.close()
    assert not other()


def test_a_process_that_does_not_write_changes_nothing(tmp_path):
    with open_run(tmp_path / "run", writes=False) as directory:
        directory.write_settings("--hidden=8\n")
        directory.write_results({"complete": True})
        with directory.metrics_log() as log:
            log.append({"step": 1})
            log.truncate(0)
            log.sync()
            assert log.offset == 0
        with directory.checkpoints("lstm-0") as checkpoints:
            assert not checkpoints.steps()
        assert directory.events("lstm-0") is None
        elsewhere = directory.model("lstm-0")
        elsewhere.mkdir(parents=True)
        assert not (tmp_path / "run").exists()
    assert not elsewhere.exists()


def test_paths_of_a_run(tmp_path):
    with open_run(tmp_path, files=("picture.png",)) as directory:
        assert directory.model("lstm-0") == tmp_path / "models" / "lstm-0"
        assert directory.events("lstm-0") == tmp_path / "tensorboard" / "lstm-0"
        assert directory.file("picture.png") == tmp_path / "picture.png"
        with pytest.raises(ValueError, match=r"file: got 'mine\.txt', expected one of"):
            directory.file("mine.txt")
        with pytest.raises(ValueError, match="file: got"):
            directory.write_text("mine.txt", "text")
    with open_run(tmp_path / "b", tensorboard=False) as directory:
        assert directory.events("lstm-0") is None


def test_a_directory_that_cannot_be(tmp_path):
    file = tmp_path / "file"
    file.write_text("keep")
    for path in (file, file / "below"):
        with pytest.raises(ValueError, match=r"run_dir: .* cannot be written: "):
            open_run(path)
    assert file.read_text() == "keep"


def test_a_failed_write_leaves_the_old_file(tmp_path):
    directory = open_run(tmp_path, None)
    directory.write_text("results.json", "old")
    os.mkdir(tmp_path / f".results.json.{directory.run}.partial")
    with pytest.raises(OSError, match=r"results\.json cannot be written: Is a directory"):
        directory.write_text("results.json", "new")
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
