"""Data are known by digest, decisions are shared, text is data, and a run says what it uses."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
import quick_programs
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from programs import ROOT, load_program
from rich.table import Table

from experiments import captioning, forecasting, long_context
from experiments.common import app, identity, report, runner, saved_models, terminal
from experiments.common.config import absolute_path
from experiments.common.errors import UserError
from experiments.common.sections import ModelOptions, RunOptions
from experiments.common.trainer import Trainer
from experiments.long_context.study import make_tasks
from seqmodels import model_files, plots
from seqmodels.data import image_folder, tables
from seqmodels.storage import reading
from seqmodels.storage.text import printable

program = load_program("experiments/runner_program")
CONFIG = program.Config().replace(
    seeds=2, steps=4, eval_every=2, devices="1", checkpoint_every=0, tensorboard=False
)


# Law 1: what is digested is what is parsed, and what was trained on is what is used.


def test_a_file_is_read_once(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("x\n1\n")
    with reading.read_once():
        digest = reading.digest(file)
        file.write_text("x\n2\n3\n")
        assert tables.read_table(file).column("x") == ["1"]
        assert reading.digest(file) == digest
    assert tables.read_table(file).column("x") == ["2", "3"]
    assert reading.digest(file) != digest


def test_a_picture_that_changes_while_it_is_read_is_refused(tmp_path):
    file = tmp_path / "a.png"
    Image.new("RGB", (4, 4), "red").save(file)
    with reading.read_once():
        before = reading.digest(file, keep=False)
        Image.new("RGB", (4, 4), "blue").save(file)
        with pytest.raises(ValueError, match=f"changed while it was read: .*{before[:12]}"):
            image_folder.read_image(file, (4, 4, 3))


def stored_run(folder, name, config):
    """Writes what a finished run of a configuration leaves, but for its models."""
    found = {"complete": True, "program": name, "results": []}
    found |= {"flags": identity.identity(config), "paths": identity.locations(config)}
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(found))
    return folder


def load(name, run, config, load=lambda config: config):
    return saved_models.data_of_run(name, run, config, load)


def test_a_run_is_evaluated_on_its_own_file(tmp_path, monkeypatch):
    text = "One thing happens here. Another one happens there."
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "f.txt").write_text(text if place == "a" else text[::-1])
    monkeypatch.chdir(tmp_path / "a")
    config = long_context.Config(filler_file="f.txt", distances=(2,))
    run = stored_run(tmp_path / "run", "long_context", config)
    monkeypatch.chdir(tmp_path / "b")  # with another file of that name
    found, tasks = load("long_context", "../run", long_context.Config(), make_tasks)
    assert found.filler_file == str(tmp_path / "a/f.txt")
    assert list(tasks) == [2]
    # A file that was moved is found where the command says, if it is the same.
    (tmp_path / "a/f.txt").rename(tmp_path / "moved.txt")
    with pytest.raises(UserError, match=r"a/f\.txt', expected a file that exists"):
        load("long_context", run, long_context.Config())
    moved = long_context.Config(filler_file=tmp_path / "moved.txt")
    assert load("long_context", run, moved)[0].filler_file == str(tmp_path / "moved.txt")
    with pytest.raises(UserError) as error:
        load("long_context", run, long_context.Config(filler_file="f.txt"))
    digests = [identity.identity(one)["filler_file_sha256"][:12] for one in (
        long_context.Config(filler_file="f.txt"), moved)]  # fmt: skip
    assert str(error.value) == (
        f"filler_file: {tmp_path / 'b/f.txt'}: got sha256 {digests[0]}, expected {digests[1]}, the "
        f"file that {run} was trained on"
    )


def test_a_file_that_the_run_did_not_have_is_refused(tmp_path):
    run = stored_run(tmp_path / "run", "long_context", long_context.Config())
    (tmp_path / "f.txt").write_text("One thing happens here.")
    given = long_context.Config(filler_file=tmp_path / "f.txt")
    with pytest.raises(UserError, match="was not trained on such a file"):
        load("long_context", run, given)


def test_a_folder_of_pictures_is_known_by_digest(tmp_path):
    rows = ["file,caption"]
    for number in range(12):
        Image.new("RGB", (4, 4), (20 * number, 0, 0)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,number {number}")
    (tmp_path / "c.csv").write_text("\n".join(rows))
    config = captioning.Config(data="folder", images_dir=tmp_path, captions_file=tmp_path / "c.csv")
    run = stored_run(tmp_path / "run", "captioning", config)
    load("captioning", run, captioning.Config())
    Image.new("RGB", (4, 4), "green").save(tmp_path / "5.png")
    with pytest.raises(UserError, match=f"images: {tmp_path}: got sha256 .*, expected "):
        load("captioning", run, captioning.Config())


def test_the_same_content_elsewhere_is_the_same_run(tmp_path):
    for name in ("a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_text("One thing." if name != "c.txt" else "Another.")
    a, b, c = (long_context.Config(filler_file=tmp_path / f"{n}.txt") for n in "abc")
    assert identity.identity(a) == identity.identity(b) != identity.identity(c)
    assert identity.short_name(a) == identity.short_name(b) != identity.short_name(c)


def test_another_file_is_not_resumed(tmp_path):
    options = {"distances": (2,), "cells": ("rnn",), "seeds": 1, "devices": "1"}
    for name in "ab":
        (tmp_path / name).write_text(f"One thing {name} happens. Another happens.")
    a, b = (long_context.Config(filler_file=tmp_path / n).replace(**options) for n in "ab")
    a.replace(steps=1)
    run = stored_run(tmp_path / "run", "long_context", a)
    results = json.loads((run / "results.json").read_text()) | {"complete": False}
    (run / "results.json").write_text(json.dumps(results))
    mark = {"format": 3, "program": "long_context", "run": "0" * 16, "files": ["results.json"],
            "states": {"results.json": "open"}}  # fmt: skip
    (run / ".run.json").write_text(json.dumps(mark))
    with pytest.raises(UserError, match=r"filler_file_sha256 .* there, .* got") as error:
        long_context.run(b, run)
    for one in (a, b):
        assert identity.identity(one)["filler_file_sha256"][:12] in str(error.value)
    assert str(tmp_path / "b") in str(error.value)


@pytest.mark.slow
def test_rows_that_are_appended_while_it_trains_change_nothing(tmp_path, monkeypatch):
    values = np.cumsum(np.random.default_rng(0).normal(size=90)) + 20
    file = tmp_path / "a.csv"
    config = forecasting.Config().replace(
        csv=file, horizon=2, bases=("none",), baselines=("last",), seeds=1, steps=10, eval_every=5,
        hidden=4, batch=4, devices="1", tensorboard=False,
    )  # fmt: skip
    real = Trainer.run
    for name in ("left alone", "appended"):
        file.write_text("x\n" + "\n".join(f"{value:.3f}" for value in values) + "\n")

        def run(trainer, interruption, rows=50 if name == "appended" else 0):
            with file.open("a") as more:
                more.write("99\n" * rows)
            real(trainer, interruption)

        monkeypatch.setattr(Trainer, "run", run)
        forecasting.run(config, tmp_path / name)
    for name in ("forecasts.csv", "future.csv", "scores.csv", "metrics.jsonl"):
        found = [(tmp_path / run / name).read_bytes() for run in ("left alone", "appended")]
        assert found[0] == found[1]
    with pytest.raises(UserError, match=r"csv: .*: got sha256 .*, expected .* was trained on"):
        forecasting.evaluate(tmp_path / "appended")


# Paths of the user's.


def test_home_and_relative_paths(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert RunOptions(run_dir="~/runs/a").run_dir == str(tmp_path / "runs/a")
    assert RunOptions(resume="b").resume == str(tmp_path / "b")
    assert ModelOptions(model_dir="~/a").model_dir == str(tmp_path / "a")
    assert absolute_path("~/x") == tmp_path / "x"
    with pytest.raises(ValueError, match="run_dir: got '~nobody-/x', expected a path of a known"):
        RunOptions(run_dir="~nobody-/x")
    assert runner._resolved(CONFIG, "~/runs/a", "p", "batch")[0] == tmp_path / "runs/a"
    assert absolute_path("b/../c") == tmp_path / "c"


# A run that is used says which it is.


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    program.run(CONFIG, run_dir=folder)
    return folder


def evaluate(capsys, *arguments):
    capsys.readouterr()
    status = app.execute(program.EXPERIMENT, ["--evaluate", *arguments])
    shown = capsys.readouterr()
    return status, shown.out.splitlines(), shown.err.splitlines()


def test_the_newest_run_by_its_own_word(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    results = json.loads((finished / "results.json").read_text())
    ended = {"mine": "2030-01-02", "runner_program-1": "2030-01-01", "group/b": "2029-12-31"}
    for name, time_of_end in ended.items():
        shutil.copytree(finished, tmp_path / "runs" / name)
        text = json.dumps(results | {"ended": time_of_end})
        (tmp_path / "runs" / name / "results.json").write_text(text)
    os.utime(tmp_path / "runs/mine/results.json", (0, 0))
    (tmp_path / "runs/notes").mkdir()
    (tmp_path / "runs/notes/results.json").write_text("my own results")
    status, out, _ = evaluate(capsys)
    assert status == 0
    assert out[0] == f"run: {pathlib.Path('runs/mine')}"
    unfinished = results | {"ended": "2031-01-01", "complete": False}
    (tmp_path / "runs/mine/results.json").write_text(json.dumps(unfinished))
    assert evaluate(capsys)[1][0] == f"run: {pathlib.Path('runs/runner_program-1')}"


def test_the_folder_of_a_model_is_that_model(finished, capsys):
    status, (named, *out), _ = evaluate(capsys, f"--model_dir={finished / 'models/gru-1'}")
    assert status == 0
    assert named == f"model: {finished / 'models/gru-1'}"
    assert [line.split()[:2] for line in out if line.startswith("gru")] == [["gru", "1"]]
    assert not [line for line in out if line.startswith("rnn")]
    assert out[-1] == "best gru-1"


# A run is resumed under --overwrite, and complete when its report is written.


def test_a_requeued_command_with_overwrite_ends(finished, tmp_path, capsys):
    kill = CONFIG.replace(kill="SIGTERM:gru:1")
    arguments = [f"--run_dir={tmp_path}", "--overwrite", "--steps=4", "--eval_every=2",
                 "--devices=1", "--checkpoint_every=0", "--notensorboard"]  # fmt: skip
    assert app.execute(program.EXPERIMENT, [*arguments, f"--kill={kill.kill}"]) == 143
    before = json.loads((tmp_path / "results.json").read_text())
    done = len(before["results"])
    assert 2 <= done < 4
    assert app.execute(program.EXPERIMENT, arguments) == 0
    assert "rnn, seed" not in capsys.readouterr().err.partition("the same command resumes")[2]
    after = json.loads((tmp_path / "results.json").read_text())
    assert (after["complete"], after["results"][:done]) == (True, before["results"])
    assert (tmp_path / "metrics.jsonl").read_bytes() == (finished / "metrics.jsonl").read_bytes()
    # It is finished: the next time it is replaced.
    assert app.execute(program.EXPERIMENT, [*arguments, "--seeds=1"]) == 0
    assert len(json.loads((tmp_path / "results.json").read_text())["results"]) == 2


def test_a_figure_that_is_not_finite_is_reported_after_a_resume(finished, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    results = json.loads((run / "results.json").read_text()) | {"complete": False}
    results["results"][0]["test_error"] = results["results"][0]["validation_error"] = None
    results["results"][2]["test_error"] = results["results"][3]["test_error"] = None
    (run / "results.json").write_text(json.dumps(results))
    found = program.run(CONFIG, run_dir=run)
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert ", 1 diverged" in lines["rnn"]
    assert lines["gru"].split()[1] == "diverged"
    assert found["complete"]
    assert found["results"][0]["test_error"] is None


def test_a_table_that_nobody_reads_does_not_keep_the_report_from_being_written(tmp_path):
    written = []

    class Closed:
        def write(self, text):
            raise BrokenPipeError

        def flush(self):
            pass

    def build(config):
        study = program.build(config)

        def show(results, directory):
            study.report(results, directory)
            directory.file("last.txt").write_text("written")
            written.append(results["complete"])

        return study._replace(report=show)

    config = CONFIG.replace(seeds=1, steps=2)
    stdout, sys.stdout = sys.stdout, Closed()
    try:
        with pytest.raises(UserError):
            program.runner.run("p", config, build, run_dir=tmp_path, files=("last.txt",))
    finally:
        sys.stdout = stdout
    assert written == [False]
    assert json.loads((tmp_path / "results.json").read_text())["complete"]
    assert (tmp_path / "last.txt").read_text() == "written"


# Text of the user's is data.

TEXTS = ("wind [m/s]", "flow [/s]", "[bold]b[/bold]", ":smile:", "$x_1$", "<b>&amp;")


def test_text_is_shown_as_it_is_written(capsys):
    table = Table(title=f"{TEXTS[0]} {TEXTS[1]}")
    for text in TEXTS:
        table.add_column(text)
    table.add_row(*TEXTS)
    table.add_row("esc \x1b[31m", "bell \a", "back \b", "c1 \x9b", "turned \u202e", "tab \t")
    report.show(table)
    terminal.say("a \x1b]0;title\a\r\nb")
    out = capsys.readouterr().out
    assert not set(out) & set("\x1b\a\b\x9b\u202e\t\r")
    for text in TEXTS:
        assert out.count(text) >= 2
    for escape in (r"\x1b[31m", r"\x07", r"\x08", r"\x9b", r"\u202e", r"\x1b]0;title\x07\r\nb"):
        assert escape in out


@pytest.mark.parametrize("name", ["_hidden", "$x$", "a\x1b[31m", "\\frac", "[/b]", "a_b^c $"])
def test_text_in_pictures_is_not_a_formula(name, tmp_path):
    figures = [
        plots.prediction_by_word([name, "b"], {name: [0.1, 0.2]}, ylabel=name, title=name),
        plots.confusion_matrices({name: np.eye(2)}, (name, "b"), title=name),
        plots.attention_map(np.eye(2), [name, "b"], [name, "b"], title=name),
    ]
    for number, figure in enumerate(figures):
        assert isinstance(figure, Figure)
        plots.save(figure, tmp_path / f"{number}.svg")
        texts = [text for text in figure.findobj(Text) if printable(name) in text.get_text()]
        assert texts
        assert not any(text.get_parse_math() for text in texts)


def test_experiments_print_through_the_terminal():
    for path in (ROOT / "experiments").rglob("*.py"):
        if path.name in ("terminal.py", "app.py", "worker.py"):
            continue
        assert not re.search(r"^\s*print\(", path.read_text(), re.MULTILINE), path


# The beginning of a command.


def command(*arguments, path, shell=""):
    text = " ".join([sys.executable, "-m", *arguments, shell])
    return subprocess.run(
        text, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(path), str(ROOT)])},
    )  # fmt: skip


def test_ctrl_c_while_modules_are_imported_is_one_line(tmp_path):
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax/__init__.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(20)\n"
    )
    done = command("experiments.sentiment", path=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


@pytest.mark.parametrize("closed", [">&-", pytest.param("<&- >&- 2>&-", marks=pytest.mark.slow)])
def test_closed_streams(closed, tmp_path):
    done = command("experiments.datasets", "--list", f"--data_dir={tmp_path}", path=tmp_path,
                   shell=closed)  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# Several processes.


def two(folder, files, *more):
    """Returns the statuses and errors of two processes of a study, each with a file."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "experiments.long_context", "--cells=rnn", "--distances=2",
             "--seeds=2", "--hidden=4", "--steps=2", "--test_sequences=8", "--notensorboard",
             f"--filler_file={file}", f"--coordinator_address=127.0.0.1:{port}",
             "--num_processes=2", f"--process_id={number}", f"--run_dir={folder / 'run'}", *more],
            cwd=ROOT, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env=quick_programs.environment() | {"PYTHONPATH": str(ROOT)},
        )
        for number, file in enumerate(files)
    ]  # fmt: skip
    ended = [process.communicate(timeout=240)[1] for process in both]
    return [process.returncode for process in both], ended


def own_files(folder, *contents):
    for number, text in enumerate(contents):
        (folder / str(number)).mkdir()
        (folder / str(number) / "f.txt").write_text(f"{text} happens. Another happens.")
    return [folder / str(number) / "f.txt" for number in range(len(contents))]


def test_two_processes_with_different_files_are_refused(tmp_path):
    files = own_files(tmp_path, "One", "Two")
    statuses, errors = two(tmp_path, files)
    assert statuses == [1, 1]
    for number, err in enumerate(errors):
        (line,) = err.splitlines()
        assert line.startswith("long_context: error: filler_file_sha256: got ")
        assert str(files[number]) in line
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("missing", [0, 1])
def test_two_processes_end_when_one_lacks_its_file(missing, tmp_path):
    files = own_files(tmp_path, "One", "One")
    files[missing].unlink()
    statuses, errors = two(tmp_path, files)
    assert statuses == [1, 1]
    line = f"filler_file: got '{files[missing]}', expected a file that exists"
    for number, err in enumerate(errors):
        there = "" if number == missing else f"process {missing}: "
        assert err == f"long_context: error: {there}{line}\n"


@pytest.mark.slow
def test_two_processes_with_the_same_file_at_two_places_train(tmp_path):
    statuses, errors = two(tmp_path, own_files(tmp_path, "One", "One"))
    assert statuses == [0, 0], errors
    assert json.loads((tmp_path / "run/results.json").read_text())["complete"]


def test_an_action_needs_one_process(capsys):
    hosts = ["--coordinator_address=127.0.0.1:9", "--num_processes=2", "--process_id=1"]
    assert app.execute(program.EXPERIMENT, ["--evaluate", *hosts]) == 2
    assert "num_processes: got several with an action" in capsys.readouterr().err


def test_saved_models_say_their_kind(tmp_path):
    model_files.save(tmp_path / "m", "sort", {}, {"w": np.ones(2)})
    with pytest.raises(UserError, match="is of kind sort, expected runner_program"):
        saved_models.best(program.PROGRAM, tmp_path / "m")
