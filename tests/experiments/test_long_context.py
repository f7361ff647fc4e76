"""The main job end to end: what a run leaves, how it resumes, and one line for every mistake."""

import fcntl
import functools
import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import programs
import pytest
import quick_programs
import torture
from programs import ROOT, flags_of, starter

from experiments.common.errors import UserError
from experiments.long_context import Config, run
from experiments.long_context.__main__ import EXPERIMENT
from experiments.long_context.config import SHORTEST
from experiments.long_context.saving import best_seed
from experiments.long_context.study import _TASKS, make_tasks

start = starter("experiments.long_context")
TINY = {
    "cells": ("rnn", "lstm"),
    "distances": (2,),
    "seeds": 2,
    "hidden": 16,
    "steps": 300,
    "eval_every": 150,
    "test_sequences": 128,
    "devices": "2",
    "tensorboard": False,
    "watch": ("gates", "gradients"),
}
SMALL = TINY | {"cells": ("rnn",), "hidden": 4, "seeds": 1, "steps": 4, "test_sequences": 8}
SMALL |= {"watch": ()}


execute = functools.partial(programs.execute, EXPERIMENT)


def results(folder):
    return json.loads((folder / "results.json").read_text())


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def measured(found):
    """All that a run measured, but for how long it took."""
    return [{**one, "seconds": None} for one in found["results"]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of the command itself, with what it wrote."""
    folder = tmp_path_factory.mktemp("run") / "first"
    done = start(ROOT, *flags_of(TINY), f"--run_dir={folder}")
    assert done.returncode == 0, done.stderr
    return folder, done


def test_it_learns_and_reports(finished):
    folder, done = finished
    report = results(folder)
    assert report["complete"]
    assert report["chance"] == 1 / 8
    assert len(report["results"]) == 2
    for one in report["results"]:
        assert len(one["accuracy"]) == 2
        assert min(one["accuracy"]) > 0.5  # chance is .125
        assert one["mean"] == pytest.approx(np.mean(one["accuracy"]))
        assert one["low"] <= one["mean"] <= one["high"]
        assert all(0 < g < 1e3 for g in one["gradient_initial"] + one["gradient_trained"])
        assert one["diverged"] == [False, False]
    for word in ("rnn", "lstm", "without memory", "0.125", "horizon"):
        assert word in done.stdout
    assert "rnn at distance 2: accuracy" in done.stderr
    for name in ("accuracy_by_distance.png", "gradient_by_distance.png"):
        assert (folder / name).stat().st_size > 10_000
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {(line["cell"], line["distance"]) for line in lines} == {("rnn", 2), ("lstm", 2)}
    assert all(len(line["loss"]) == 2 and min(line["loss"]) > 0 for line in lines)
    lstm = [line for line in lines if line["cell"] == "lstm"]
    for name in ("gates/f_high", "gates/time_constant", "gradients/at_1", "gradients/clipped"):
        assert all(len(line[name]) == 2 and min(line[name]) >= 0 for line in lstm)


def test_the_kept_seed_is_the_best_that_did_not_diverge():
    """The first of equal ones."""
    record = {"validation_accuracy": [0.5, 1.0, 0.9, 0.9, np.nan], "diverged": [False] * 5}
    assert best_seed(record) == 1
    assert best_seed(record | {"diverged": [False, True, False, False, False]}) == 2
    assert best_seed(record | {"diverged": [True] * 5}) == 0


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run of few steps, with a user's own filler: its folder and configuration."""
    folder = tmp_path_factory.mktemp("small")
    text = folder / "filler.txt"
    text.write_text("Nothing happens here. Nothing at all happens.")
    config = Config().replace(**SMALL, filler_file=text)
    assert run(config, folder / "run") == results(folder / "run")
    return folder / "run", config


def test_the_flags_file_repeats_the_run(small, tmp_path):
    folder, config = small
    again = tmp_path / "again"
    status, _, err = execute(f"--flagfile={folder / 'flags.txt'}", f"--run_dir={again}")
    assert status == 0, err
    assert measured(results(again)) == measured(results(folder))
    for name in ("metrics.jsonl", "flags.txt"):
        assert (again / name).read_text() == (folder / name).read_text()
    assert f"--filler_file={config.filler_file}\n" in (again / "flags.txt").read_text()


def test_a_seed_does_not_depend_on_the_others(finished, tmp_path):
    """It trains and stops by itself; only rounding may differ with the number of seeds."""
    folder, _ = finished
    alone = {"cells": ("lstm",), "seeds": 1, "first_seed": 1}
    found = run(Config().replace(**TINY | alone), tmp_path / "run")
    assert found == results(tmp_path / "run")
    together = [one for one in measured(results(folder)) if one["cell"] == "lstm"]
    for one, both in zip(measured(found), together, strict=True):
        assert one["steps"] == both["steps"][1:]
        assert one["accuracy"] == pytest.approx(both["accuracy"][1:], abs=0.05)
        assert one["gradient_initial"] == pytest.approx(both["gradient_initial"][1:], rel=1e-3)


def test_a_run_is_not_overwritten(finished):
    folder, _ = finished
    before = contents(folder)
    text = "holds this run, finished; use another directory, or overwrite it"
    config = Config().replace(**TINY)
    with pytest.raises(UserError, match=text):
        run(config, folder)
    other = "of other options: cells .*'rnn', 'lstm'.* there, .*'rnn'.* got; hidden 16 there, 8 got"
    with pytest.raises(UserError, match=other):
        run(config.replace(hidden=8, cells=("rnn",)), folder)
    status, out, err = execute(f"--resume={folder}")
    assert (status, out) == (1, "")
    assert text in err
    assert err.count("\n") == 1
    assert contents(folder) == before


def test_overwrite_leaves_the_files_of_a_user(small, tmp_path, capsys):
    folder, config = small
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "mine").mkdir()
    mine = [tmp_path / "notes.txt", tmp_path / "mine/notes.txt"]
    for file in mine:
        file.write_text("mine")
    found = run(config.replace(hidden=5), tmp_path, overwrite=True)
    assert [file.read_text() for file in mine] == ["mine", "mine"]
    assert found == results(tmp_path)
    before = results(folder)["results"][0]["parameters"]
    assert found["results"][0]["parameters"] > before
    assert not list(tmp_path.glob("checkpoints/*/.*partial"))
    assert "without memory" in capsys.readouterr().out


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["models", "checkpoints", "accuracy_by_distance.png"])
def test_what_a_user_has_of_the_name_of_a_run_s_file_is_refused(tmp_path, name, overwrite):
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").write_text("mine")
    line = f"run_dir: {tmp_path} holds {name}, which a run of this version did not write"
    with pytest.raises(UserError, match=line):
        run(Config().replace(**SMALL), tmp_path, overwrite=overwrite)
    assert (tmp_path / name / "mine").read_text() == "mine"
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize("extra", [[], ["--overwrite"]])
def test_a_run_of_the_version_before_is_refused(tmp_path, extra):
    """It has no mark, and its records stand under another name."""
    (tmp_path / "results.json").write_text('{"complete": false, "flags": {}, "measurements": []}')
    (tmp_path / "flags.txt").write_text("--cells=rnn\n")
    (tmp_path / "checkpoints/rnn-2/4").mkdir(parents=True)
    before = contents(tmp_path)
    status, out, err = execute(*flags_of(SMALL), f"--run_dir={tmp_path}", *extra)
    assert (status, out) == (1, "")
    assert f"run_dir: {tmp_path} holds results.json, which a run of this version did not" in err
    assert err.count("\n") == 1
    assert contents(tmp_path).items() >= before.items()
    assert (tmp_path / "checkpoints/rnn-2/4").is_dir()


TASKS = {
    "digits": ("rnn_relu",),
    "adding": ("gru",),
    "copy": ("lstm",),
    "temporal_order": ("gru_after",),
}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_runs(task, tmp_path, capsys):
    cells = TASKS[task]
    config = Config().replace(
        **SMALL
        | {
            "task": task,
            "cells": cells,
            "distances": (10,),
            "initialisation": dict.fromkeys(cells, "standard"),
            "learning_rate": dict.fromkeys(cells, 0.01),
        }
    )
    report = run(config, tmp_path / "run")
    assert report["task"] == task
    assert [one["steps"] for one in report["results"]] == [[4]] * len(cells)
    assert f"{task}: test accuracy by distance" in capsys.readouterr().out


@pytest.mark.parametrize("task", SHORTEST)
def test_the_shortest_distance_is_that_of_the_task(task):
    make_tasks(Config(task=task, distances=(SHORTEST[task],)))
    with pytest.raises(ValueError, match="distances: got "):
        Config(task=task, distances=(SHORTEST[task] - 1,))
    if task != "sky":
        with pytest.raises(ValueError, match=f"distance: got {SHORTEST[task] - 1}, expected at l"):
            _TASKS[task](SHORTEST[task] - 1)


def test_two_at_once_in_one_folder(tmp_path):
    with open(tmp_path / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=f"run_dir: {tmp_path} is in use by another process"):
            run(Config().replace(**SMALL), tmp_path, overwrite=True)


SIGNALED = TINY | {
    "cells": ("rnn",),
    "distances": (0, 30),
    "steps": 200,
    "eval_every": 20,
    "stop_after": 1,
    "stop_at": 0.3,
    "learning_rate": "0.001",
}


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    run(Config().replace(**SIGNALED), folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM]
)
def test_a_signal_keeps_what_was_measured_and_the_command_resumes(number, left_alone, tmp_path):
    process = subprocess.Popen(
        torture.command(tmp_path, flags_of(SIGNALED)),
        cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=quick_programs.environment() | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    for line in process.stderr:
        if line.startswith("rnn at distance 0"):
            process.send_signal(number)
            break
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number, err
    assert "Traceback" not in err
    assert "interrupted; trained so far: 1; the same command resumes" in err
    assert "rnn" in out
    report = results(tmp_path)
    assert not report["complete"]
    assert [one["distance"] for one in report["results"]] == [0]
    assert (tmp_path / "accuracy_by_distance.png").exists()
    if number == signal.SIGINT:
        done = start(ROOT, f"--resume={tmp_path}")
        status, said = done.returncode, done.stderr
    else:
        status, _, said = execute(f"--resume={tmp_path}")
    assert status == 0, said
    assert "rnn at distance 0" not in said
    assert results(tmp_path)["complete"]
    assert measured(results(tmp_path)) == measured(results(left_alone))
    got, want = ((folder / "metrics.jsonl").read_bytes() for folder in (tmp_path, left_alone))
    assert got == want


@pytest.mark.slow
def test_killed_twice_it_ends_the_same(tmp_path):
    """The short form of `python tests/torture.py`."""
    study = [*torture.STUDY, "--cells=rnn", "--distances=2", "--steps=600"]
    subprocess.run(torture.command(tmp_path / "alone", study), cwd=ROOT, check=True)
    _, complaints = torture.torture(tmp_path / "killed", 2, seed=3, study=study)
    assert not complaints
    assert not torture.compare(tmp_path / "alone", tmp_path / "killed")


@pytest.mark.slow
def test_killed_twenty_times_it_ends_the_same():
    subprocess.run([sys.executable, "tests/torture.py", "--kills=20"], cwd=ROOT, check=True)
