"""The common trainer: what a run leaves, how it resumes, and which model is used."""

import json
import os
import pathlib
import shutil
import signal

import pytest
from programs import load_program, starter

from experiments.common import app
from experiments.common.errors import UserError
from seqmodels.training.interruption import Interrupted

FILE = pathlib.Path(__file__).with_name("runner_program.py")
start = starter(FILE)


program = load_program("experiments/runner_program")
CONFIG = program.Config().replace(devices="2", checkpoint_every=0, tensorboard=False)
COMMAND = ("--devices=2", "--checkpoint_every=0", "--notensorboard", "--run_dir=run")


def records(folder):
    """Returns what a run has found, but for the times it took."""
    found = json.loads((folder / "results.json").read_text())
    return found["baselines"], [{**one, "seconds": 0} for one in found["results"]]


def files(folder, name):
    return {path.name: (path / name).read_bytes() for path in (folder / "models").iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of the command itself, which nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    done = start(folder, *COMMAND)
    assert done.returncode == 0, done.stderr
    return folder / "run", done.stdout


def ended_as(whole, run):
    """Asserts that a run found, logged and saved the same as the other."""
    assert records(run) == records(whole[0])
    assert (run / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()
    got, want = (files(folder, "params.safetensors") for folder in (run, whole[0]))
    assert got == want
    return True


def test_a_run_leaves_a_table_records_and_models(whole):
    folder, table = whole
    baselines, results = records(folder)
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
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 4 * 20 // 5


def test_a_function_call_is_the_command(whole, tmp_path):
    found = program.run(CONFIG, run_dir=tmp_path)
    assert found["complete"]
    assert ended_as(whole, tmp_path)


def test_without_a_folder_the_same_configuration_finds_its_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = CONFIG.replace(steps=5, seeds=1, devices="1")
    program.run(config)
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("runner_program-")
    with pytest.raises(UserError, match="holds this run, finished"):
        program.run(config.replace(keep_checkpoints=1))  # which does not decide the run
    program.run(config.replace(hidden=5))
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_devices_change_nothing_but_rounding(whole, tmp_path):
    program.run(CONFIG.replace(devices="1", seeds=1), run_dir=tmp_path)
    of_first_seed = [one for one in records(whole[0])[1] if one["seed"] == 0]
    for got, want in zip(records(tmp_path)[1], of_first_seed, strict=True):
        assert got["test_error"] == pytest.approx(want["test_error"], rel=1e-3)


@pytest.mark.parametrize(
    "kill", [pytest.param("SIGKILL:rnn:2", marks=pytest.mark.slow), "SIGKILL:gru:6"]
)
def test_a_run_that_was_killed_ends_as_one_that_was_not(whole, tmp_path, kill):
    died = start(tmp_path, f"--kill={kill}", *COMMAND)
    assert died.returncode == -9, died.stderr
    assert not json.loads((tmp_path / "run/results.json").read_text())["complete"]
    program.run(CONFIG, run_dir=tmp_path / "run")
    assert ended_as(whole, tmp_path / "run")


def test_a_run_that_was_interrupted_ends_as_one_that_was_not(whole, tmp_path, capsys):
    for number, kill in enumerate(("SIGTERM:gru:2", "SIGINT:gru:1")):
        before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
        with pytest.raises(Interrupted) as interrupted:
            program.run(CONFIG.replace(kill=kill), run_dir=tmp_path)
        assert interrupted.value.status == (143, 130)[number]
        assert {n: signal.getsignal(n) for n in before} == before
        shown = capsys.readouterr()
        text = f"interrupted; trained so far: {2 + number}; the same command resumes"
        assert text in shown.err
        assert "rnn" in shown.out
    resume = [f"--resume={tmp_path}", "--kill=no:one:0"]
    assert app.execute(program.EXPERIMENT, resume) == 0
    assert ended_as(whole, tmp_path)
    assert "rnn, seed 0" not in capsys.readouterr().err
    assert app.execute(program.EXPERIMENT, resume) == 1
    assert "holds this run, finished" in capsys.readouterr().err


def evaluate(capsys, *arguments):
    """Returns the exit status, and the lines of standard output and of standard error."""
    status = app.execute(program.EXPERIMENT, ["--evaluate", *arguments])
    shown = capsys.readouterr()
    return status, shown.out.splitlines(), shown.err.splitlines()


def test_which_model_is_used(whole, tmp_path, monkeypatch, capsys):
    folder, _ = whole
    status, lines, _ = evaluate(capsys, f"--model_dir={folder}")
    assert status == 0
    best = min(records(folder)[1], key=lambda one: one["validation_error"])
    assert lines[-1] == f"best {best['model']}-{best['seed']}"
    assert lines[0] == f"run: {folder}"
    assert len(lines) == 7
    assert evaluate(capsys, f"--model_dir={folder / 'models/gru-1'}")[1][-1] == "best gru-1"
    monkeypatch.chdir(tmp_path)
    assert evaluate(capsys) == (
        1,
        [],
        [
            "runner_program: error: model_dir: got nothing, and there is no finished run below "
            "runs/; train first: python -m experiments.runner_program"
        ],
    )
    shutil.copytree(folder, "runs/runner_program-0")
    shutil.copytree(folder, "runs/runner_program-1")
    os.utime("runs/runner_program-0/results.json", (0, 0))
    shutil.rmtree("runs/runner_program-0/models")
    found = evaluate(capsys)[1]
    assert found[0] == f"run: {pathlib.Path('runs/runner_program-1')}"
    assert [line for line in found[1:] if not line.startswith("model:")] == [
        line for line in lines[1:] if not line.startswith("model:")
    ]
    found = json.loads((folder / "results.json").read_text())
    next(one for one in found["results"] if one["seed"] == 0)["validation_error"] = None
    shutil.copytree(folder, "diverged")
    pathlib.Path("diverged/results.json").write_text(json.dumps(found))
    left = [one for one in records(folder)[1] if (one["model"], one["seed"]) != ("rnn", 0)]
    best = min(left, key=lambda one: one["validation_error"])
    shown = evaluate(capsys, "--model_dir=diverged")[1]
    assert shown[-1] == f"best {best['model']}-{best['seed']}"
    status, _, (line,) = evaluate(capsys, "--model_dir=nowhere")
    assert status == 1
    assert "expected the folder of a run" in line
    pathlib.Path("other").mkdir()
    text = (folder / "results.json").read_text().replace("runner_program", "other")
    pathlib.Path("other/results.json").write_text(text)
    status, _, (line,) = evaluate(capsys, "--model_dir=other")
    assert status == 1
    assert "holds a run of other, expected one of runner_program" in line


@pytest.mark.parametrize("name", ["models", "checkpoints", "tensorboard"])
def test_folders_of_the_users_stay(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").write_text("mine")
    line = f"holds {name}, which a run of this version did not write"
    for overwrite in (False, True):
        with pytest.raises(UserError, match=line):
            program.run(CONFIG, run_dir=tmp_path, overwrite=overwrite)
    assert (tmp_path / name / "mine").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) in ([".lock", name], [name])
