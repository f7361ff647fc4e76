"""The main job end to end as a user runs it, and one line for every mistake."""

import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest
import torture

ROOT = pathlib.Path(__file__).parents[2]
TINY = [
    "--cells=rnn,lstm",
    "--distances=2",
    "--seeds=2",
    "--hidden=16",
    "--steps=300",
    "--eval_every=150",
    "--test_sequences=128",
    "--devices=2",
]


def command(*arguments):
    return [sys.executable, "-m", "experiments.long_context", *arguments]


def run(*arguments, status=0):
    done = subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == status, done.stderr
    return done


def results(folder):
    return json.loads((folder / "results.json").read_text())


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def measured(folder):
    """All that a run measured, but for how long it took."""
    return [{**m, "seconds": None} for m in results(folder)["measurements"]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "first"
    return folder, run(*TINY, f"--run_dir={folder}")


def test_it_learns_and_reports(finished):
    folder, done = finished
    report = results(folder)
    assert report["complete"]
    assert report["chance"] == 1 / 8
    assert len(report["measurements"]) == 2
    for one in report["measurements"]:
        assert len(one["accuracy"]) == 2
        assert min(one["accuracy"]) > 0.5  # chance is .125
        assert all(0 < g < 1e3 for g in one["gradient_initial"] + one["gradient_trained"])
        assert one["diverged"] == [False, False]
    for word in ("rnn", "lstm", "without memory", "0.125", "horizon"):
        assert word in done.stdout
    assert "rnn at distance 2: accuracy" in done.stderr
    for name in ("accuracy_by_distance.png", "gradient_by_distance.png"):
        assert (folder / name).stat().st_size > 10_000
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {(line["cell"], line["distance"]) for line in lines} == {
        ("rnn", 2),
        ("lstm", 2),
    }
    assert all(len(line["loss"]) == 2 and min(line["loss"]) > 0 for line in lines)


def test_the_flags_file_repeats_the_run(finished, tmp_path):
    folder, _ = finished
    again = tmp_path / "again"
    run(f"--flagfile={folder / 'flags.txt'}", f"--run_dir={again}")
    assert measured(again) == measured(folder)
    assert (again / "metrics.jsonl").read_text() == (folder / "metrics.jsonl").read_text()
    assert (again / "flags.txt").read_text() == (folder / "flags.txt").read_text()


def test_a_seed_does_not_depend_on_the_others(finished, tmp_path):
    """It trains and stops by itself; only rounding may differ with the number of seeds."""
    folder, _ = finished
    run(*TINY, "--cells=lstm", "--seeds=1", "--first_seed=1", f"--run_dir={tmp_path / 'run'}")
    together = [m for m in measured(folder) if m["cell"] == "lstm"]
    for one, both in zip(measured(tmp_path / "run"), together, strict=True):
        assert one["steps"] == both["steps"][1:]
        assert one["accuracy"] == pytest.approx(both["accuracy"][1:], abs=0.05)
        assert one["gradient_initial"] == pytest.approx(both["gradient_initial"][1:], rel=1e-3)


def test_a_run_is_not_overwritten(finished):
    folder, _ = finished
    before = contents(folder)
    done = run(*TINY, f"--run_dir={folder}", status=1)
    assert "holds this run, finished; give another name, or --overwrite" in done.stderr
    other = run(*TINY, "--hidden=8", "--cells=rnn", f"--run_dir={folder}", status=1)
    assert (
        "of other flags: cells ['rnn', 'lstm'] there, ['rnn'] got; hidden 16 there, 8 got; "
        in other.stderr
    )
    resumed = run(f"--resume={folder}", status=1)
    assert "holds this run, finished" in resumed.stderr
    for one in (done, other, resumed):
        assert one.stderr.count("\n") == 1
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("task", "cells"),
    [
        ("digits", ["rnn_relu"]),
        ("adding", ["gru", "gru_after"]),
        ("copy", ["lstm"]),
        ("temporal_order", ["gru_after"]),
    ],
)
def test_every_task_runs(task, cells, tmp_path):
    run(
        f"--task={task}",
        f"--cells={','.join(cells)}",
        "--distances=10",
        "--seeds=1",
        "--hidden=8",
        "--steps=4",
        "--test_sequences=32",
        f"--initialisation={','.join(f'{cell}:standard' for cell in cells)}",
        f"--learning_rate={','.join(f'{cell}:0.01' for cell in cells)}",
        f"--run_dir={tmp_path / 'run'}",
    )
    report = results(tmp_path / "run")
    assert report["task"] == task
    assert [m["steps"] for m in report["measurements"]] == [[4]] * len(cells)


def test_own_filler(tmp_path):
    text = tmp_path / "filler.txt"
    text.write_text("Nothing happens here. Nothing at all happens.")
    run(
        "--cells=rnn", "--distances=2", "--seeds=1", "--hidden=4", "--steps=2",
        "--test_sequences=8", f"--filler_file={text}", f"--run_dir={tmp_path / 'run'}",
    )  # fmt: skip
    assert f"--filler_file={text}" in (tmp_path / "run" / "flags.txt").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_was_measured_and_the_command_goes_on(number, tmp_path):
    folder, alone = tmp_path / "run", tmp_path / "alone"
    arguments = [
        "--cells=rnn", "--distances=0,30", "--seeds=2", "--steps=400", "--hidden=16",
        "--eval_every=20", "--stop_after=1", "--stop_at=0.3", "--learning_rate=0.001",
    ]  # fmt: skip
    process = subprocess.Popen(
        command(*arguments, f"--run_dir={folder}"),
        cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    for line in process.stderr:
        if line.startswith("rnn at distance 0"):
            process.send_signal(number)
            break
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number, err
    assert "Traceback" not in err
    assert "measured so far: 1; the same command goes on" in err
    assert "rnn" in out
    report = results(folder)
    assert not report["complete"]
    assert [m["distance"] for m in report["measurements"]] == [0]
    assert (folder / "accuracy_by_distance.png").exists()
    done = run(f"--resume={folder}")
    assert "rnn at distance 0" not in done.stderr
    run(*arguments, f"--run_dir={alone}")
    assert results(folder)["complete"]
    assert measured(folder) == measured(alone)
    assert (folder / "metrics.jsonl").read_bytes() == (alone / "metrics.jsonl").read_bytes()


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


def test_two_at_once_in_one_folder(finished):
    folder, _ = finished
    with open(folder / ".lock") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = run(*TINY, f"--run_dir={folder}", "--overwrite", status=1)
    assert f"run_dir: {folder} is in use by another process" in done.stderr


def test_help_is_by_subject_with_defaults():
    done = run("--help")
    for text in ("options of long_context:", "how a model is trained:", "(default: rnn,gru,lstm)"):
        assert text in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert not done.stderr


MISTAKES = {
    "flag": (["--dista=3"], 2, "Unknown command line flag 'dista'. Did you mean: distances ?"),
    "argument": (["sky"], 2, "unexpected argument 'sky'; every option begins with --"),
    "flagfile": (["--flagfile=/none"], 2, "/none"),
    "task": (["--task=skye"], 2, "got 'skye', expected one of sky, digits, adding, copy, "),
    "nearest": (["--task=skye"], 2, "did you mean sky?"),
    "cell": (["--cells=rnn,ltsm"], 2, "got 'ltsm', expected one of"),
    "nearest cell": (["--cells=rnn,ltsm"], 2, "did you mean lstm?"),
    "twice": (["--cells=rnn,rnn"], 2, "got rnn twice"),
    "no cell": (["--cells="], 2, "got nothing, expected one or more of rnn"),
    "no distance": (["--distances="], 2, "got nothing, expected whole numbers such as 0,16,64"),
    "words": (["--distances=1,far"], 2, "got 'far', expected whole numbers"),
    "half": (["--distances=1.5"], 2, "got '1.5', expected whole numbers"),
    "negative": (["--distances=-4"], 2, "got -4, expected numbers that are not negative"),
    "distance twice": (["--distances=4,4"], 2, "got 4 twice"),
    "hidden": (["--hidden=0"], 2, "--hidden=0"),
    "seeds": (["--seeds=-1"], 2, "--seeds=-1"),
    "steps": (["--steps=many"], 2, "--steps=many"),
    "rate": (["--learning_rate=0"], 2, "got '0', expected a positive number"),
    "rate of a cell": (["--learning_rate=lsmt:1"], 2, "did you mean lstm?"),
    "initialisation": (["--initialisation=memori"], 2, "did you mean memory?"),
    "clip": (["--clip_norm=0"], 2, "got '0.0', expected a positive number"),
    "a cell without": (["--learning_rate=rnn:1,lstm:1"], 1, "got for rnn, lstm, expected for gru"),
    "a cell with two": (["--learning_rate=rnn:1,rnn:2"], 2, "got rnn twice"),
    "ragged": (["--log_every=40"], 1, "eval_every: got 100, expected a multiple of log_every (40"),
    "warm-up": (["--warmup=1001"], 1, "warmup: got 1001 steps, expected at most the 1000 of the"),
    "schedule": (["--schedule=cosin"], 2, "did you mean cosine?"),
    "not finite": (["--on_nonfinite=go"], 2, "got 'go', expected one of stop, skip"),
    "run and resume": (
        ["--resume=/none", "--run_dir=/other"],
        1,
        "resume: got together with run",
    ),
    "run and resume apart": (
        ["--resume=/none", "--run_dir", "/x"],
        1,
        "got together with run_dir",
    ),
    "no run": (["--resume=/none"], 1, "resume: got '/none', expected the folder of a run (flags.t"),
    "short": (["--task=temporal_order", "--distances=3"], 1, "got 3, expected at least 10"),
    "devices": (["--devices=0"], 2, "got '0', expected auto or a positive number"),
    "huge distance": (["--distances=100000000000000000000"], 2, "expected numbers up to 1000000"),
    "huge": (["--hidden=99999999999999999999"], 2, "--hidden=99999999999999999999"),
    "no folder": (["--run_dir="], 2, "got '', expected a name"),
    "binary flagfile": ([f"--flagfile={sys.executable}"], 2, "flagfile: is not UTF-8 text"),
    "never": (["--stop_at=nan"], 2, "got 'nan', expected a positive number"),
    "filler": (["--filler_file=/none.txt"], 1, "/none.txt: cannot be read: No such file"),
    "wrong filler": (["--task=copy", "--distances=5", "--filler_file=x"], 1, "filler_file: got"),
    "folder": (["--run_dir=/proc/none"], 1, "run_dir: /proc/none cannot be written"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_line_for_a_mistake(mistake, tmp_path):
    arguments, status, text = MISTAKES[mistake]
    if not any(a.startswith(("--run_dir", "--resume")) for a in arguments):
        arguments = [*arguments, f"--run_dir={tmp_path / 'run'}"]
    done = run(*arguments, status=status)
    assert text in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("long_context: error: ")
    assert not done.stdout
    assert not (tmp_path / "run").exists()
