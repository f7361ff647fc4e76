"""The common training command: what a run leaves, how it goes on, and which model is used."""

import json
import pathlib

import pytest
from programs import starter

PROGRAM = pathlib.Path(__file__).with_name("runner_program.py")
start = starter(PROGRAM)


def records(folder):
    """Returns what a run has found, but for the times it took."""
    found = json.loads((folder / "results.json").read_text())
    return found["baselines"], [{**one, "seconds": 0} for one in found["results"]]


def files(folder, name):
    return {path.name: (path / name).read_bytes() for path in (folder / "models").iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    done = start(folder, "--devices=2", "--checkpoint_every=0", "--run_dir=run")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_a_run_leaves_a_table_records_and_models(whole):
    folder, table = whole
    baselines, results = records(folder / "run")
    assert baselines[0]["model"] == "zero"
    assert [(one["model"], one["seed"]) for one in results] == [
        ("rnn", 0),
        ("rnn", 1),
        ("gru", 0),
        ("gru", 1),
    ]
    for one in results:
        assert one["steps"] == 20
        assert 5 <= one["best_step"] <= 20
        assert one["test_error"] < 20
    assert [line.split()[0] for line in table.splitlines() if line.strip()][-3:] == [
        "zero",
        "rnn",
        "gru",
    ]
    lines = (folder / "run/metrics.jsonl").read_text().splitlines()
    assert len(lines) == 4 * 20 // 5


def test_devices_change_nothing_but_rounding(whole, tmp_path):
    assert start(tmp_path, "--devices=1", "--run_dir=run").returncode == 0
    for got, want in zip(records(tmp_path / "run")[1], records(whole[0] / "run")[1], strict=True):
        assert got["test_error"] == pytest.approx(want["test_error"], rel=1e-3)


@pytest.mark.parametrize(
    "kill",
    [pytest.param("SIGKILL:rnn:2", marks=pytest.mark.slow), "SIGKILL:gru:6", "SIGTERM:gru:2"],
)
def test_a_run_that_was_killed_ends_as_one_that_was_not(whole, tmp_path, kill):
    command = ["--devices=2", "--checkpoint_every=0", "--run_dir=run"]
    died = start(tmp_path, f"--kill={kill}", *command)
    assert died.returncode == (-9 if "KILL" in kill else 143), died.stderr
    if "TERM" in kill:
        assert "interrupted; trained so far: 2" in died.stderr
        assert "rnn" in died.stdout
    done = start(tmp_path, *command)
    assert done.returncode == 0, done.stderr
    assert records(tmp_path / "run") == records(whole[0] / "run")
    logs = [(folder / "run/metrics.jsonl").read_bytes() for folder in (tmp_path, whole[0])]
    assert logs[0] == logs[1]
    got, want = (files(folder / "run", "params.safetensors") for folder in (tmp_path, whole[0]))
    assert got == want
    again = start(tmp_path, *command)
    assert again.returncode == 1
    assert "holds this run, finished" in again.stderr


def test_which_model_is_used(whole, tmp_path):
    folder, _ = whole
    shown = start(folder, "--evaluate", "--model_dir=run")
    assert shown.returncode == 0, shown.stderr
    results = records(folder / "run")[1]
    best = min(results, key=lambda one: one["validation_error"])
    assert shown.stdout.splitlines()[-1] == f"best {best['model']}-{best['seed']}"
    assert len(shown.stdout.splitlines()) == 5
    one = start(folder, "--evaluate", "--model_dir=run/models/gru-1")
    assert one.stdout.splitlines()[-1] == "best gru-1"
    nothing = start(tmp_path, "--evaluate")
    assert nothing.returncode == 1
    assert nothing.stderr == (
        "runner_program: error: model_dir: got nothing, and there is no finished run below runs/; "
        "train first: python -m experiments.runner_program\n"
    )
    wrong = start(folder, "--evaluate", "--model_dir=nowhere")
    assert wrong.returncode == 1
    assert "expected the folder of a run" in wrong.stderr
    (tmp_path / "other").mkdir()
    text = (folder / "run/results.json").read_text().replace("runner_program", "other")
    (tmp_path / "other/results.json").write_text(text)
    other = start(tmp_path, "--evaluate", "--model_dir=other")
    assert "holds a run of other, expected one of runner_program" in other.stderr


def test_folders_of_the_users_stay(tmp_path):
    (tmp_path / "run/models").mkdir(parents=True)
    (tmp_path / "run/models/mine").write_text("mine")
    refused = start(tmp_path, "--run_dir=run")
    assert refused.returncode == 1
    assert "already holds a run (models)" in refused.stderr
    assert (tmp_path / "run/models/mine").read_text() == "mine"
