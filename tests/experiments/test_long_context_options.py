"""Options of long_context: --help, and one line and a status for every mistake."""

import functools
import sys

import programs
import pytest
from programs import flags_of

from experiments.common.sections import SavingConfig, TrainingConfig
from experiments.long_context import Config
from experiments.long_context.__main__ import EXPERIMENT

execute = functools.partial(programs.execute, EXPERIMENT)


def test_help_is_by_subject_with_defaults():
    status, out, err = execute("--help")
    assert (status, err) == (0, "")
    for text in ("options of long_context:", "options of training:", "(default: rnn,gru,lstm)"):
        assert text in out
    assert max(map(len, out.splitlines())) <= 100


def refuse(arguments, status, text, folder):
    """Asserts one line of the command and nothing on the disk; returns the line."""
    if not any(argument.startswith(("--run_dir", "--resume")) for argument in arguments):
        arguments = [*arguments, f"--run_dir={folder}"]
    found, out, err = execute(*arguments)
    assert text in err
    assert found == status
    assert err.count("\n") == 1
    assert err.startswith("long_context: error: ")
    assert not out
    assert not folder.exists()
    return err.removeprefix("long_context: error: ").removesuffix("\n")


# Options with their values, and what the line has.
VALUES = {
    "task": ({"task": "skye"}, "task: got 'skye', expected one of sky, digits, adding, copy, "),
    "nearest": ({"task": "skye"}, "did you mean sky?"),
    "cell": ({"cells": ("rnn", "ltsm")}, "cells: got 'ltsm', expected one of"),
    "nearest cell": ({"cells": ("rnn", "ltsm")}, "did you mean lstm?"),
    "twice": ({"cells": ("rnn", "rnn")}, "cells: got rnn twice"),
    "no cell": ({"cells": ()}, "cells: got nothing, expected one or more of rnn"),
    "no distance": ({"distances": ()}, "distances: got nothing, expected numbers such as 16,64"),
    "negative": ({"distances": (-4,)}, "distances: got -4, expected at least 0"),
    "distance twice": ({"distances": (4, 4)}, "distances: got 4 twice"),
    "huge distance": ({"distances": (10**20,)}, "and at most 1,000,000"),
    "hidden": ({"hidden": 0}, "hidden: got 0, expected at least 1 and at most 65,536"),
    "huge": ({"hidden": 10**20}, "hidden: got 100000000000000000000, expected at least 1"),
    "seeds": ({"seeds": -1}, "seeds: got -1, expected at least 1"),
    "test sequences": ({"test_sequences": 3}, "test_sequences: got 3, expected at least 4"),
    "rate": ({"learning_rate": "0"}, "learning_rate: got '0', expected a positive number"),
    "rate of a cell": ({"learning_rate": "lsmt:1"}, "did you mean lstm?"),
    "a cell without": (
        {"learning_rate": "rnn:1,lstm:1"},
        "got rnn, lstm, expected a value for",
    ),
    "a cell with two": ({"learning_rate": "rnn:1,rnn:2"}, "learning_rate: got rnn twice"),
    "initialisation": ({"initialisation": "memori"}, "did you mean memory?"),
    "not of all": ({"initialisation": "rnn:memory"}, "got rnn, expected a value for gru"),
    "clip": ({"clip_norm": 0}, "clip_norm: got 0.0, expected above 0"),
    "never": ({"stop_at": float("nan")}, "stop_at: got nan, expected above 0"),
    "infinite": ({"weight_decay": float("inf")}, "weight_decay: got inf, expected at least 0"),
    "schedule": ({"schedule": "cosin"}, "did you mean cosine?"),
    "not finite": ({"on_nonfinite": "go"}, "on_nonfinite: got 'go', expected one of stop, skip"),
    "devices": ({"devices": "0"}, "devices: got '0', expected auto or a positive number"),
    "ragged": ({"log_every": 40}, "eval_every: got 100, expected a multiple of log_every (40"),
    "warm-up": ({"warmup": 1001}, "warmup: got 1001 steps, expected at most the 1000 of the"),
    "accumulate": ({"accumulate": 5, "steps": 4}, "accumulate: got 5 steps, expected 1 to the 4"),
    "short": (
        {"task": "temporal_order", "distances": (12, 3)},
        "distances: got 3 with task temporal_order, expected at least 10",
    ),
    "wrong filler": (
        {"task": "copy", "distances": (5,), "filler_file": "x"},
        "filler_file: got it with task copy, expected task sky",
    ),
}


@pytest.mark.parametrize("case", VALUES)
def test_a_configuration_and_a_flag_give_the_same_line(case, tmp_path):
    values, text = VALUES[case]
    line = refuse(flags_of(values), 2, text, tmp_path / "run")
    with pytest.raises(ValueError) as replaced:  # noqa: PT011
        Config().replace(**values)
    assert str(replaced.value) == line
    fields = {name: values[name] for name in values if hasattr(Config(), name)}
    training = {name: values[name] for name in values if hasattr(TrainingConfig(), name)}
    with pytest.raises(ValueError) as made:  # noqa: PT011
        Config(**fields, training=TrainingConfig(**training), saving=SavingConfig())
    assert str(made.value) == line


MISTAKES = {
    "flag": (["--dista=3"], 2, "dista: got an unknown option; did you mean distances?"),
    "argument": (["sky"], 2, "got an unexpected argument 'sky'; every option begins with --"),
    "flagfile": (["--flagfile=/none"], 2, "/none"),
    "words": (["--distances=1,far"], 2, "distances: got '1,far', expected whole numbers"),
    "half": (["--distances=1.5"], 2, "distances: got '1.5', expected whole numbers"),
    "steps": (["--steps=many"], 2, "steps: got 'many', expected a whole number"),
    "number": (["--stop_at=high"], 2, "stop_at: got 'high', expected a number"),
    "boolean": (["--tensorboard=maybe"], 2, "tensorboard: got 'maybe', expected true or false"),
    "run and resume": (["--resume=/none", "--run_dir=/x"], 1, "resume: got it together with run_d"),
    "run and resume apart": (["--resume=/none", "--run_dir", "/x"], 1, "got it together with run_"),
    "no run": (["--resume=/none"], 1, "resume: got '/none', expected the folder of a run (flags.t"),
    "no folder": (["--run_dir="], 2, "run_dir: got '', expected a name"),
    "binary flagfile": ([f"--flagfile={sys.executable}"], 2, "flagfile: got bytes that are not UT"),
    "filler": (["--filler_file=/none.txt"], 1, "got '/none.txt', expected a file that exists"),
    "folder": (["--run_dir=/proc/none"], 1, "run_dir: /proc/none cannot be written"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_line_for_a_mistake(mistake, tmp_path):
    refuse(*MISTAKES[mistake], tmp_path / "run")


def test_resume_in_a_flagfile_is_refused(tmp_path):
    (tmp_path / "own.flags").write_text("--resume=/none\n")
    flagfile = f"--flagfile={tmp_path / 'own.flags'}"
    refuse([flagfile], 2, "resume: got it in a flagfile", tmp_path / "run")


def test_an_unknown_option_of_a_configuration_is_named():
    with pytest.raises(ValueError, match=r"option: got 'hiden', expected .*; did you mean hidden"):
        Config().replace(hiden=3)
