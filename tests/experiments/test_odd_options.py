"""Every command with bad options in one process: a line that names the option, and no traceback."""

import importlib

import pytest
from programs import execute

COMMANDS = (
    "ablations", "autocorrelation", "benchmark", "captioning", "character_lm", "convert",
    "datasets", "forecasting", "image_classification", "long_context", "microscope", "parity",
    "sentiment", "translation", "unrolling",
)  # fmt: skip
TRAINING = tuple(
    set(COMMANDS)
    - {"autocorrelation", "benchmark", "convert", "datasets", "microscope", "unrolling"}
)
EVERYWHERE = {
    "unknown": (["--nothing_like_it=1"], "nothing_like_it"),
    "a word": (["surplus"], "surplus"),
    "flagfile": (["--flagfile=not/there.flags"], "there.flags"),
    "not a flagfile": (["--flagfile=."], "flagfile"),
}
IN_TRAINING = {
    "steps": (["--steps=nan"], "steps"),
    "negative": (["--steps=-3"], "steps"),
    "rate": (["--learning_rate=inf"], "learning_rate"),
    "clip": (["--clip_norm=nan"], "clip_norm"),
    "seeds": (["--seeds="], "seeds"),
    "schedule": (["--schedule=cosinus"], "schedule"),
    "accumulate": (["--accumulate=3", "--steps=10"], "accumulate"),
    "devices": (["--devices=some"], "devices"),
    "watch": (["--watch=gradient"], "watch: got 'gradient', expected one of gates, gradients"),
}
CASES = [
    (name, *case)
    for names, cases in ((COMMANDS, EVERYWHERE), (sorted(TRAINING), IN_TRAINING))
    for name in names
    for case in cases.values()
]


NOT_WATCHED = {
    "translation": (["--watch=gates"], "watch: got gates in translation, expected no watch"),
    "captioning": (["--watch=gates"], "watch: got gates in captioning, expected no watch"),
    "forecasting": (["--watch=gradients"], "watch: got gradients in forecasting, expected no "),
    "sentiment": (["--watch=gradients"], "watch: got gradients in sentiment, expected gates"),
    "image_classification": (
        ["--watch=gates", "--models=cnn"],
        "watch: got gates with models cnn, expected a model with a cell",
    ),
}
CASES += [(name, *case) for name, case in NOT_WATCHED.items()]


def test_there_are_enough():
    assert len(CASES) >= 60


@pytest.mark.parametrize(
    ("name", "arguments", "named"), CASES, ids=[f"{case[0]} {' '.join(case[1])}" for case in CASES]
)
def test_one_line_that_names_the_option(name, arguments, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = importlib.import_module(f"experiments.{name}.__main__").EXPERIMENT
    status, out, err = execute(experiment, *arguments)
    assert status in (1, 2)
    assert named in err
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err
    assert not out
    assert not list(tmp_path.iterdir())  # nothing was begun


FILES = {
    "missing": None,
    "folder": None,
    "bytes": b"\xff\xfe\x00\xd8\x81",
    "empty": b"",
}
READERS = {
    "autocorrelation": ["--csv"],
    "forecasting": ["--csv"],
    "long_context": ["--filler_file"],
    "sentiment": ["--data=csv", "--csv"],
    "translation": ["--pairs_file"],
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("file", FILES)
def test_one_line_that_names_the_file(name, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if file == "folder":
        (tmp_path / file).mkdir()
    elif FILES[file] is not None:
        (tmp_path / file).write_bytes(FILES[file])
    experiment = importlib.import_module(f"experiments.{name}.__main__").EXPERIMENT
    *others, option = READERS[name]
    status, out, err = execute(experiment, *others, f"{option}={file}")
    assert status == 1
    assert f"error: {option.removeprefix('--')}: " in err
    assert str(tmp_path / file) in err
    assert len(err.splitlines()) == 1
    assert not out
    assert not (tmp_path / "runs").exists()
