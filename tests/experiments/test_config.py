"""Options: the same values and the same one-line errors from Python and from the command line."""

import dataclasses
import json
import os
import pathlib

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from experiments.common import config as configs
from experiments.common import flags
from experiments.common import identity as identities
from experiments.common.config import Options, option, positive, section, values_by_name
from experiments.common.sections import HostOptions, TrainingConfig


@dataclasses.dataclass(frozen=True)
class Inner(Options):
    """How it is trained."""

    steps: int = option(100, "Steps.", at_least=1)
    rate: str = option("0.1", "Rate.", per_name=positive)


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of a test."""

    task: str = option("sky", "A task.", choices=("sky", "adding"))
    cells: tuple[str, ...] = option(("rnn", "lstm"), "Cells.", choices=("rnn", "gru", "lstm"))
    sizes: tuple[int, ...] = option((3, 4), "Sizes.", at_least=1, distinct=False, empty=True)
    hidden: int = option(64, "Units.", at_least=1, at_most=65_536)
    clip: float = option(1.0, "Norm.", above=0, infinite=True)
    share: float = option(0.5, "Share.", at_least=0, at_most=0.99)
    limit: int | None = option(None, "Limit.", at_least=1)
    pool: bool = option(False, "Pool.")
    file: str | None = option(None, "A file.", digest=True)
    place: str | None = option(None, "A folder.", decides=False)
    columns: tuple[str, ...] | None = option(None, "Columns.")
    inner: Inner = section(Inner(steps=50))

    def check(self):
        if self.task == "adding" and self.pool:
            raise ValueError("pool: got it with task adding, expected task sky")


def parsed(*arguments):
    return flags.parse(["test", *arguments], [Config()])[0]


SAME = {
    "hidden": ({"hidden": 8}, ["--hidden=8"]),
    "space": ({"hidden": 8}, ["--hidden", "8"]),
    "section": ({"steps": 7, "rate": "rnn:1,lstm:2"}, ["--steps=7", "--rate=rnn:1,lstm:2"]),
    "list": ({"cells": ("gru",)}, ["--cells=gru"]),
    "spaces": ({"cells": ("gru", "rnn")}, ["--cells=gru, rnn"]),
    "empty": ({"sizes": ()}, ["--sizes="]),
    "twice": ({"sizes": (3, 3)}, ["--sizes=3,3"]),
    "infinite": ({"clip": float("inf")}, ["--clip=inf"]),
    "bool": ({"pool": True}, ["--pool"]),
    "no": ({"pool": False}, ["--nopool"]),
    "comma": ({"columns": ("Price, EUR", "b")}, ['--columns="Price, EUR",b']),
    "quote": ({"columns": ('a "b"',)}, ['--columns="a ""b"""']),
    "last": ({"hidden": 9}, ["--hidden=8", "--hidden=9"]),
}


@pytest.mark.parametrize("name", SAME)
def test_a_flag_is_a_keyword(name):
    values, arguments = SAME[name]
    assert parsed(*arguments) == Config().replace(**values)


WRONG = {
    "choice": (
        {"task": "skyy"},
        "task: got 'skyy', expected one of sky, adding; did you mean sky?",
    ),
    "zero": ({"hidden": 0}, "hidden: got 0, expected at least 1 and at most 65,536"),
    "large": ({"hidden": 70_000}, "hidden: got 70000, expected at least 1 and at most 65,536"),
    "section": ({"steps": 0}, "steps: got 0, expected at least 1 and at most 1,000,000,000"),
    "nan": ({"clip": float("nan")}, "clip: got nan, expected above 0"),
    "infinite": ({"share": float("inf")}, "share: got inf, expected at least 0 and at most 0.99"),
    "exclusive": ({"clip": 0.0}, "clip: got 0.0, expected above 0"),
    "twice": ({"cells": ("rnn", "rnn")}, "cells: got rnn twice"),
    "none": ({"cells": ()}, "cells: got nothing, expected one or more of rnn, gru, lstm"),
    "near": ({"cells": ("ltsm",)}, "cells: got 'ltsm', expected one of rnn, gru, lstm; did you m"),
    "blank": ({"file": " "}, "file: got ' ', expected a name"),
    "rate": ({"rate": "fast"}, "rate: got 'fast', expected a positive number"),
    "rates": ({"rate": "rnn:1,rnn:2"}, "rate: got rnn twice"),
    "negative": ({"rate": "-1"}, "rate: got '-1', expected a positive number"),
    "both": ({"task": "adding", "pool": True}, "pool: got it with task adding, expected task sky"),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_same_line_from_python_and_from_the_command_line(name):
    values, line = WRONG[name]
    arguments = [
        f"--{key}" if value is True else f"--{key}={flags.to_text(value)}"
        for key, value in values.items()
    ]
    for make in (lambda: Config().replace(**values), lambda: parsed(*arguments)):
        with pytest.raises(ValueError, match=r": |unexpected") as error:
            make()
        assert str(error.value).startswith(line)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--hiden=8"], "hiden: got an unknown option; did you mean hidden?"),
        (["--hidden=many"], "hidden: got 'many', expected a whole number"),
        (["--hidden=1.5"], "hidden: got '1.5', expected a whole number"),
        (["--sizes=3,x"], "sizes: got '3,x', expected whole numbers"),
        (["--share=half"], "share: got 'half', expected a number"),
        (["--pool=maybe"], "pool: got 'maybe', expected true or false"),
        (["lstm"], "got an unexpected argument 'lstm'; every option begins with --"),
        (["--flagfile=/nowhere"], "/nowhere"),
    ],
)
def test_text_that_is_not_a_value(arguments, line):
    with pytest.raises(ValueError, match=r": |unexpected") as error:
        parsed(*arguments)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"hidden": "8"}, "hidden: got '8', expected a whole number"),
        ({"hidden": True}, "hidden: got True, expected a whole number"),
        ({"hidden": 1.5}, "hidden: got 1.5, expected a whole number"),
        ({"hidden": None}, "hidden: got None, expected a whole number"),
        ({"task": 3}, "task: got 3, expected text"),
        ({"pool": 1}, "pool: got 1, expected true or false"),
        ({"cells": "rnn"}, "cells: got 'rnn', expected a list"),
        ({"cells": {"rnn"}}, "cells: got {'rnn'}, expected a list"),
        ({"hidden": np.ones(2)}, "hidden: got array([1., 1.]), expected a whole number"),
        ({"hiden": 8}, "option: got 'hiden', expected one of "),
    ],
)
def test_values_of_a_wrong_type(values, line):
    with pytest.raises(ValueError, match=r": |unexpected") as error:
        Config().replace(**values)
    assert str(error.value).startswith(line)


def test_values_are_normalized(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    config = Config(
        cells=["gru"], hidden=np.int64(8), clip=2, file=pathlib.Path("a.txt"),
        inner=Inner(rate={"rnn": 0.1, "lstm": 1e-3}),
    )  # fmt: skip
    assert config.cells == ("gru",)
    assert type(config.hidden) is int
    assert type(config.clip) is float
    assert config.file == str(tmp_path / "a.txt")
    assert config.inner.rate == "rnn:0.1,lstm:0.001"
    assert Config(file="~/b.txt").file == "/home/me/b.txt"
    assert Inner(rate=0.01).rate == "0.01"
    assert Config(sizes=np.array([1, 2])).sizes == (1, 2)
    assert TrainingConfig(devices=2).devices == "2"
    assert hash(config) == hash(config.replace())


def test_replace_keeps_what_it_is_not_given():
    config = Config(hidden=8).replace(steps=3)
    assert (config.hidden, config.inner.steps) == (8, 3)


names = st.sampled_from(["rnn", "gru", "lstm"])
configurations = st.builds(
    lambda inner, **values: Config(inner=inner, **values),
    inner=st.builds(Inner, steps=st.integers(1, 10**9), rate=st.floats(1e-8, 1e3)),
    task=st.just("sky"),
    cells=st.lists(names, min_size=1, unique=True),
    sizes=st.lists(st.integers(1, 10**9)),
    hidden=st.integers(1, 65_536),
    clip=st.floats(min_value=0, exclude_min=True, allow_nan=False),
    share=st.floats(0, 0.99),
    limit=st.none() | st.integers(1, 10**9),
    pool=st.booleans(),
    file=st.none() | st.just(str(pathlib.Path(__file__))),
    columns=st.none()
    | st.lists(
        st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1), min_size=1, unique=True
    ).map(lambda names: [f"{name}, {name}" for name in names]),
)


@hypothesis.given(configurations)
@hypothesis.settings(deadline=None)
def test_a_flagfile_and_the_stored_values_give_the_configuration_back(config):
    text = flags.flagfile(config, "a comment")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert parsed(*lines) == config
    stored = json.loads(json.dumps(identities.identity(config)))
    stored |= identities.locations(config)
    assert identities.from_stored(Config(), stored) == config.replace(place=None)
    assert identities.short_name(config) == identities.short_name(parsed(*lines))


def test_identity_is_what_decides(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("one")
    config = Config(file=file, place="here")
    identity = identities.identity(config)
    assert "place" not in identity
    assert identity["steps"] == 50
    assert identity["clip"] == 1.0
    assert identities.identity(config.replace(clip=float("inf")))["clip"] == "inf"
    # echo -n one | sha256sum
    assert identity["file_sha256"].startswith("7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e71")
    file.write_text("two")
    assert identities.identity(config)["file_sha256"] != identity["file_sha256"]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # which can be read once, by the experiment
    for path in (tmp_path, pipe):
        assert "file_sha256" not in identities.identity(Config(file=path))
    with pytest.raises(ValueError, match="file: got '/nowhere', expected a file that exists"):
        identities.identity(Config(file="/nowhere"))


def test_values_by_name():
    def values(text, needed=("rnn",)):
        known = ("rnn", "gru", "lstm")
        return values_by_name("rate", text, positive, needed=needed, known=known)

    assert values("3", ("rnn", "lstm")) == {"rnn": 3.0, "lstm": 3.0}
    assert values("rnn:1,lstm:2") == {"rnn": 1.0}
    with pytest.raises(ValueError, match="rate: got rnn, expected a value for gru"):
        values("rnn:1", ("rnn", "gru"))
    with pytest.raises(ValueError, match=r"rate: got 'ltsm', expected one of .* did you mean lstm"):
        values("ltsm:1")


def test_help_shows_every_option_with_its_default():
    text = flags.help_text("test", "What it is.\n\nMore.\n\n    command", [Config(), HostOptions()])
    assert text.startswith("What it is.\n\nMore.\n\n    command\n\noptions of test:\n")
    groups = [Config(), HostOptions()]
    for name, kind, _, _ in (entry for group in groups for entry in configs.all_options(group)):
        shown = f"--[no]{name}" if configs.entry_type(kind) is bool else f"--{name}=..."
        assert shown in text
    assert "how it is trained:\n  --steps=..." in text
    assert "(default: rnn,lstm)" in text
    assert "One of sky, adding." in text
    assert max(map(len, text.splitlines())) <= 100


def test_training_settings():
    config = TrainingConfig(steps=30, eval_every=100, learning_rate={"lstm": 0.1}, average=0.5)
    from experiments.common.sections import SavingConfig

    fit = config.fit(SavingConfig(checkpoint_every=3))
    assert (fit.steps, fit.eval_every, fit.log_every, fit.checkpoint_every) == (30, 30, 30, 3.0)
    assert fit.steps_per_dispatch == 15
    assert config.optimizer(0.1).learning_rate == 0.1
    assert config.learning_rates(("lstm",), ("rnn", "lstm")) == {"lstm": 0.1}
    assert list(TrainingConfig(seeds=2, first_seed=5).all_seeds) == [5, 6]
    for text in ("0", "-1", "many", "1.5"):
        with pytest.raises(ValueError, match=r"devices: got .* expected auto or a positive number"):
            TrainingConfig(devices=text)


@pytest.mark.parametrize(
    "values",
    [{"num_processes": 2}, {"num_processes": 2, "process_id": 2, "coordinator_address": "a:1"}],
)
def test_hosts_that_do_not_fit(values):
    with pytest.raises(ValueError, match=r"(coordinator_address|process_id): got"):
        HostOptions(**values)
