"""Files and folders of the user's where runs, models, caches and pictures go: all bytes stay."""

import contextlib
import errno
import fcntl
import functools
import io
import json
import os
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure
from programs import execute, load_program

from experiments.autocorrelation.__main__ import EXPERIMENT as AUTOCORRELATION
from experiments.common import actions
from experiments.common.errors import UserError
from seqmodels import model_files, plots, serving
from seqmodels.training.run_directory import RunDirectory

program = load_program("experiments/runner_program")
CONFIG = program.Config().replace(
    seeds=1, steps=2, eval_every=1, devices="1", checkpoint_every=0, keep_checkpoints=1
)
RUN = ("--seeds=1", "--steps=2", "--eval_every=1", "--devices=1", "--checkpoint_every=0")
MINE = "mine \x1b[31m"


def snapshot(folder):
    """Returns what every path below a folder is and holds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = path.read_bytes() if path.is_file() else "folder"
    return found


def write(path, text=MINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def link(path, target):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def own_model(path):
    model_files.save(path, program.PROGRAM, {"mine": True}, {"w": jnp.ones(2)})


# In the way of a run: it is refused.
IN_THE_WAY = {
    "results": lambda f: write(f / "results.json", '{"complete": false, "flags": {}}'),
    "results that are no JSON": lambda f: write(f / "results.json"),
    "results that are a folder": lambda f: write(f / "results.json/mine"),
    "metrics": lambda f: write(f / "metrics.jsonl", '{"loss": 1.0}\n'),
    "flags": lambda f: write(f / "flags.txt", "--hidden=3\n"),
    "models": lambda f: write(f / "models/notes"),
    "models, empty": lambda f: (f / "models").mkdir(),
    "a model of the library's": lambda f: own_model(f / "models/rnn-0"),
    "models elsewhere": lambda f: (write(f / "mine/a"), link(f / "models", f / "mine")),
    "a link to nothing": lambda f: link(f / "checkpoints", "/nowhere"),
    "checkpoints": lambda f: write(f / "checkpoints/rnn-0/2/arrays/0"),
    "event files": lambda f: write(f / "tensorboard/rnn-0/events.out.tfevents.1.host"),
    "a mark of another program": lambda f: write(f / ".run.json", '{"name": "mine"}'),
    "a mark that is no JSON": lambda f: write(f / ".run.json"),
    "a mark of an older format": lambda f: write(
        f / ".run.json", '{"format": 2, "program": "runner_program", "files": ["models"]}'
    ),
}
# Files next to a run, which trains all the same.
NEXT_TO = {
    "notes": lambda f: write(f / "notes.txt"),
    "a folder": lambda f: write(f / "project/models/a.py"),
    "a repository": lambda f: write(f / ".git/config"),
    "a lock with content": lambda f: write(f / ".lock"),
    "half a file": lambda f: write(f / ".results.json.partial"),
    "half a mark": lambda f: write(f / "..run.json.partial"),
    "a picture": lambda f: write(f / "photo.png"),
    "what a file system leaves": lambda f: write(f / ".DS_Store"),
}


@pytest.mark.parametrize("kind", IN_THE_WAY)
def test_a_run_is_refused_where_something_is_in_its_way(kind, tmp_path):
    IN_THE_WAY[kind](tmp_path)
    before = snapshot(tmp_path)
    for more in ((), ("--overwrite",)):
        status, out, err = execute(program.EXPERIMENT, f"--run_dir={tmp_path}", *RUN, *more)
        assert (status, out) == (1, "")
        assert err.count("\n") == 1
        assert err.startswith(f"runner_program: error: run_dir: {tmp_path}")
        assert snapshot(tmp_path) == before


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run among files of the user's, and what these were before."""
    folder = tmp_path_factory.mktemp("run")
    for put in NEXT_TO.values():
        put(folder)
    before = snapshot(folder)
    with contextlib.redirect_stdout(io.StringIO()):
        program.run(CONFIG, run_dir=folder)
    return folder, before


def test_what_is_beside_a_run_stays_also_when_it_is_overwritten(finished, tmp_path):
    folder, mine = finished
    assert snapshot(folder).items() >= mine.items()
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    # What is put into the folders of the run, too.
    inside = ("models/notes.txt", "models/.DS_Store", "checkpoints/rnn-0/read.me",
              "tensorboard/rnn-0/events.out.tfevents.1.mine")  # fmt: skip
    for name in inside:
        write(run / name)
    mine = mine | {name: MINE.encode() for name in inside}
    config = CONFIG.replace(hidden=3, tensorboard=False, steps=1)
    with pytest.raises(UserError, match=r"holds a run of other options: .*hidden 4 there, 3 got"):
        program.run(config, run_dir=run)
    events = set((run / "tensorboard/rnn-0").iterdir())
    program.run(config, run_dir=run, overwrite=True)
    assert snapshot(run).items() >= mine.items()
    assert len(events) - len(set((run / "tensorboard/rnn-0").iterdir())) == 1
    assert json.loads((run / "results.json").read_text())["flags"]["hidden"] == 3


# In the place of what a run has written: neither resumed over, nor overwritten.
REPLACED = {
    "results": lambda f: write(f / "results.json", '{"complete": true, "flags": {}}'),
    "metrics": lambda f: write(f / "metrics.jsonl", '{"loss": 1.0}\n'),
    "flags": lambda f: write(f / "flags.txt", "--hidden=3\n"),
    "a model": lambda f: (shutil.rmtree(f / "models/rnn-0"), own_model(f / "models/rnn-0")),
    "a further model": lambda f: own_model(f / "models/mine"),
    "arrays of a model": lambda f: write(f / "models/rnn-0/model.json"),
    "models elsewhere": lambda f: (
        (f / "models").rename(f / "mine"), link(f / "models", f / "mine")
    ),
    "a checkpoint": lambda f: write(f / "checkpoints/rnn-0/99/mine"),
    "a file in a checkpoint": lambda f: write(f / "checkpoints/rnn-0/2/mine"),
    "further checkpoints": lambda f: write(f / "checkpoints/mine/2/arrays"),
    "event files": lambda f: write(f / "tensorboard/mine/events.out.tfevents.1.host"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REPLACED)
def test_what_is_in_the_place_of_a_runs_files_stays(kind, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run, symlinks=True)
    REPLACED[kind](run)
    before = snapshot(run)
    with pytest.raises(UserError, match=r"run_dir: .* (holds|is not what)"):
        program.run(CONFIG.replace(hidden=3), run_dir=run, overwrite=True)
    assert snapshot(run) == before


@pytest.mark.parametrize("name", ["metrics.jsonl", "flags.txt"])
def test_a_run_does_not_resume_over_files_that_were_replaced(name, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    results = json.loads((run / "results.json").read_text()) | {"complete": False, "results": []}
    (run / "results.json").write_text(json.dumps(results))
    write(run / name)
    before = snapshot(run)
    for overwrite in (False, True):
        with pytest.raises(UserError, match=f"holds {name}, which is not what the run there wrote"):
            program.run(CONFIG, run_dir=run, overwrite=overwrite)
        assert snapshot(run) == before


def test_what_a_killed_run_left_half_written_is_overwritten(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    half = run / "models/.rnn-0.partial"
    half.mkdir()
    shutil.copy(run / "models/rnn-0/model.json", half)
    (half / "params.safetensors").write_bytes(b"half")
    step = run / "checkpoints/rnn-0/.1.partial"
    step.mkdir()
    (step / ".seqmodels").write_text("a checkpoint\n")
    write(step / "arrays/0")
    write(run / "checkpoints/rnn-0/7.damaged/mine")
    program.run(CONFIG.replace(hidden=3, steps=1), run_dir=run, overwrite=True)
    assert not half.exists()
    assert not step.exists()
    assert (run / "checkpoints/rnn-0/7.damaged/mine").read_text() == MINE


def test_a_picture_that_is_put_in_its_place_while_a_run_trains_stays(tmp_path):
    with RunDirectory(tmp_path, program="test", files=("plot.png",)) as directory:
        write(tmp_path / "plot.png")
        with pytest.raises(ValueError, match=r"holds plot\.png, which is not what"):
            directory.file("plot.png")
    assert (tmp_path / "plot.png").read_text() == MINE


@pytest.mark.parametrize(
    "content",
    [
        {"model.json": MINE},
        {"model.json": "{}", "weights": MINE},
        {"model.json": '{"format": 1, "kind": "sort", "config": {}, "sha256": {}}', "a.txt": MINE},
        {
            "model.json": '{"format": 1, "kind": "sort", "config": {}, "sha256": {"a": "0"}}',
            "a": "",
        },
        {"model.json": '{"format": 1, "kind": "other", "config": {}, "sha256": {}}'},
        {"deep/model.json": MINE},
    ],
)
@pytest.mark.parametrize("place", ["m", ".m.partial"])
def test_models_replace_only_models_that_were_saved(content, place, tmp_path):
    for name, text in content.items():
        write(tmp_path / place / name, text)
    before = snapshot(tmp_path)
    if place == "m":
        with pytest.raises(ValueError, match="holds other things, expected a new name"):
            model_files.save(tmp_path / "m", "sort", {}, {"w": jnp.ones(2)})
        assert snapshot(tmp_path) == before
    elif "a" not in content:  # which a killed process may have left
        model_files.save(tmp_path / "m", "sort", {}, {"w": jnp.ones(2)})
        assert snapshot(tmp_path).items() >= before.items()
        assert model_files.load(tmp_path / "m", "sort").arrays["w"].tolist() == [1, 1]


@pytest.mark.parametrize("name", ["a.png", "a.svg", "a.pdf", "a.jpg", "a"])
def test_pictures_replace_only_pictures_of_the_program(name, tmp_path, capsys):
    file = tmp_path / (name if "." in name else f"{name}.png")
    write(file)
    with pytest.raises(UserError, match=f"plot: {file} is there and is not a picture of this"):
        actions.save_figure(Figure(), tmp_path / name)
    assert file.read_text() == MINE
    file.unlink()
    for _ in range(2):
        assert plots.save(Figure(), tmp_path / name) == file
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_what_is_exported_replaces_only_what_was_exported(tmp_path):
    inputs = {"x": ("", "float32")}
    write(tmp_path / "notes.txt")
    write(tmp_path / "m.seq.unfinished")
    with pytest.raises(UserError, match=r"export: .*notes\.txt is there and is not a model of"):
        actions.export(tmp_path / "notes.txt", lambda p, x: x, {}, inputs)
    for _ in range(2):
        serving.export(tmp_path / "m.seq", lambda p, x: x, {}, inputs)
    assert snapshot(tmp_path).items() >= {
        "notes.txt": MINE.encode(), "m.seq.unfinished": MINE.encode()
    }.items()  # fmt: skip


def test_reports_replace_only_reports(tmp_path):
    values = np.random.default_rng(0).normal(size=60)
    (tmp_path / "a.csv").write_text("x\n" + "\n".join(f"{value:.3f}" for value in values))
    report = functools.partial(execute, AUTOCORRELATION, f"--csv={tmp_path / 'a.csv'}")
    for name in ("acf.csv", "verdict.txt", "correlogram.png", "notes.md"):
        folder = tmp_path / name.partition(".")[0]
        write(folder / name)
        for more in ((), ("--overwrite",)):
            status, _, err = report(f"--out={folder}", *more)
            assert status == (0 if name == "notes.md" and more else 1), err
            assert (folder / name).read_text() == MINE
    before = snapshot(tmp_path / "notes")
    assert report(f"--out={tmp_path / 'notes'}", "--overwrite")[0] == 0
    assert snapshot(tmp_path / "notes").keys() == before.keys()
    (tmp_path / "notes/acf.csv").write_text(MINE)
    assert report(f"--out={tmp_path / 'notes'}", "--overwrite")[0] == 1
    assert (tmp_path / "notes/acf.csv").read_text() == MINE


@pytest.mark.parametrize("working", ["lockf", None])
def test_a_run_on_a_file_system_without_flock(working, monkeypatch, tmp_path, capsys):
    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    for name in ("flock", "lockf"):
        if name != working:
            monkeypatch.setattr(fcntl, name, unsupported)
    with RunDirectory(tmp_path, program="test") as directory:
        directory.write_text("flags.txt", "--a=1\n")
    warned = "cannot be locked (Operation not supported)" in capsys.readouterr().err
    assert warned == (working is None)
