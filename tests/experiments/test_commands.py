"""Every command in flagfiles and help texts has options that its experiment accepts."""

import importlib
import pathlib
import re
import shlex

import pytest
from absl import flags

from experiments.common import app

ROOT = pathlib.Path(__file__).parents[2]
PLACEHOLDERS = {"RATE": "0.01", "INIT": "memory", "PORT": "1234"}


def _commands() -> list[tuple[str, str]]:
    """Returns (file, command) of the flagfiles and the docstrings of experiments.

    Those of the pages are checked in tests/docs.
    """
    files = [
        *(ROOT / "experiments").glob("*/flagfiles/*.flags"),
        *(ROOT / "experiments").glob("*/__main__.py"),
    ]
    return [
        (str(file.relative_to(ROOT)), command)
        for file in sorted(files)
        for command in re.findall(
            r"^[# ]*(python -m experiments\.\w+(?: .*)?)$", file.read_text(), re.MULTILINE
        )
        if "--resume=" not in command  # which needs the folder of a run
    ]


def test_commands_are_found():
    assert len(_commands()) > 30


@pytest.mark.parametrize("command", sorted({command for _, command in _commands()}))
def test_options_of_a_command_are_valid(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    _, _, module, *arguments = shlex.split(command, comments=True)
    for name, value in PLACEHOLDERS.items():
        arguments = [
            re.sub(rf"(?<=[=:]){name}\b", value, argument)
            if argument.startswith("--")
            else argument
            for argument in arguments
        ]
    experiment = importlib.import_module(f"{module}.__main__").EXPERIMENT
    # An option that is not valid ends with SystemExit.
    app._parsed(experiment, [experiment.name, *arguments], flags.FlagValues())
