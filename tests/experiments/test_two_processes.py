"""Every experiment that trains, in two processes: the records of one process, and how it ends."""

import csv
import importlib
import json
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
import quick_programs
from PIL import Image
from programs import ROOT, flags_of

pytestmark = pytest.mark.slow
HERE = pathlib.Path(__file__).parent
FILES = {"character_lm": HERE / "plays_program.py", "runner_program": HERE / "runner_program.py"}
SECONDS = 240  # none of them may hang
SMALL = {"seeds": 2, "steps": 6, "eval_every": 3, "batch": 8, "tensorboard": False}
WORDS = ("red", "green", "blue", "old", "new", "big", "small", "warm")


def own_reviews(folder):
    """Writes sentiment's texts."""
    rng = np.random.default_rng(0)
    with (folder / "own.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(80):
            words = [*rng.choice(WORDS, 3), ("awful", "great")[number % 2], str(number)]
            writer.writerow([" ".join(rng.permutation(words)), number % 2])


def own_pairs(folder):
    """Writes translation's pairs, with sources that are far from each other."""
    rng = np.random.default_rng(0)
    syllables = [first + second for first in "bdfgklmn" for second in "aeiou"]
    words = ["".join(rng.choice(syllables, 2)) for _ in range(200)]
    sources = [" ".join(rng.choice(words, rng.integers(3, 5))) for _ in range(120)]
    lines = [f"{text}\t{' '.join(reversed(text.split()))}\n" for text in sources]
    (folder / "pairs.tsv").write_text("".join(lines), encoding="utf-8")


def own_pictures(folder):
    """Writes captioning's pictures and captions."""
    rows = ["file,caption"]
    for number in range(24):
        color = ("red", "blue")[number % 2]
        image = Image.new("RGB", (9, 9), color)
        image.putpixel((0, 0), (number, number, number))
        image.save(folder / f"{number}.png")
        rows.append(f"{number}.png,all {color}")
    (folder / "captions.csv").write_text("\n".join(rows))


def own_series(folder):
    """Writes forecasting's series."""
    rng = np.random.default_rng(0)
    values = 50 + rng.normal(size=90).cumsum() + 5 * np.sin(np.arange(90) / 2)
    (folder / "sales.csv").write_text("x\n" + "\n".join(f"{value:.3f}" for value in values) + "\n")


def nothing(folder):
    """Writes nothing: the data are made, or come with a package."""


# Of each experiment: what is written into its folder, and its options, with dropout where it has
# any. Files are named relative to that folder.
CASES = {
    "long_context": (
        nothing,
        {
            "cells": ("rnn", "lstm"), "distances": (2, 5), "hidden": 4, "test_sequences": 8,
            "learning_rate": 0.003,
        },
    ),
    "ablations": (
        nothing,
        {
            "variants": ("no_forget_gate", "rnn"), "tasks": ("sky",), "distances": (2,),
            "hidden": 4, "embedding": 3, "rates": (0.003, 0.01), "test_sequences": 8,
        },
    ),
    "parity": (nothing, {"cells": ("rnn", "lstm"), "hidden": 4, "length": 5, "lengths": (5, 7)}),
    "sentiment": (
        own_reviews,
        {
            "data": "csv", "csv": "own.csv", "models": ("gru", "bilstm"), "hidden": 4,
            "embedding": 4, "buckets": 50, "max_words": 8, "average": 0.9,
        },
    ),
    "translation": (
        own_pairs,
        {
            "pairs_file": "pairs.tsv", "attention": ("luong",), "hidden": 6, "embedding": 4,
            "vocabulary": 280, "max_tokens": 24, "beam": 2, "scheduled_sampling": 0.2, "seeds": 1,
        },
    ),
    "captioning": (
        own_pictures,
        {
            "data": "folder", "images_dir": ".", "captions_file": "captions.csv", "hidden": 8,
            "features": 8, "embedding": 4, "channels": (2, 2), "decode": "beam", "beam": 2,
        },
    ),
    "character_lm": (nothing, {"cells": ("rnn", "lstm"), "hidden": 6, "embedding": 5, "length": 8}),
    "image_classification": (
        nothing, {"models": ("cnn", "rnn"), "hidden": 8, "channels": (4,), "shift": 1},
    ),
    "forecasting": (
        own_series,
        {
            "csv": "sales.csv", "models": ("gru",), "bases": ("none", "ar"), "hidden": 4,
            "window": 20, "baselines": ("last",), "horizon": 2, "dropout": 0.2, "head": "gaussian",
        },
    ),
}  # fmt: skip


def start(experiment, folder, *arguments):
    """Returns the running command; its programs compile quickly, as in the other tests."""
    named = [str(FILES[experiment])] if experiment in FILES else ["-m", f"experiments.{experiment}"]
    return subprocess.Popen(
        [sys.executable, *named, *arguments],
        cwd=folder,
        env=quick_programs.environment() | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ends(processes):
    """Returns (status, standard output, standard error) of each; none outlives the test."""
    try:
        texts = [process.communicate(timeout=SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, *text) for p, text in zip(processes, texts, strict=True)]


def start_two(experiment, folders, *arguments, own=((), ())):
    """Returns the two processes of a run, each with a folder and arguments of its own."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    hosts = [f"--coordinator_address=127.0.0.1:{port}", "--num_processes=2"]
    return [
        start(experiment, folders[n], *arguments, *hosts, f"--process_id={n}", *own[n])
        for n in range(2)
    ]


def arguments_of(experiment, **more):
    options = SMALL | CASES[experiment][1] | more
    return flags_of(options)


def results_of(folder):
    """Returns results.json without what says when and on how many devices, and metrics.jsonl."""
    found = json.loads((folder / "results.json").read_text())
    assert found["complete"]
    for record in found["results"]:
        record["seconds"] = None
    for name in ("run", "ended", "devices"):
        del found[name]
    for name in ("devices", "num_processes"):
        found["flags"].pop(name, None)
    return found, (folder / "metrics.jsonl").read_text().splitlines()


def numbers(value, path=()):
    """Returns the numbers and texts of JSON by their place."""
    if isinstance(value, dict):
        value = value.items()
    elif isinstance(value, list):
        value = enumerate(value)
    else:
        return {path: value}
    return {
        place: one for name, item in value for place, one in numbers(item, (*path, name)).items()
    }


def test_every_experiment_that_trains_is_here():
    named = {path.parent.name for path in (ROOT / "experiments").glob("*/__main__.py")}
    found = {
        name
        for name in named
        if importlib.import_module(f"experiments.{name}.__main__").EXPERIMENT.hosts
    }
    assert found == set(CASES)


@pytest.mark.parametrize("experiment", CASES)
def test_two_processes_end_with_the_records_of_one(experiment, tmp_path):
    CASES[experiment][0](tmp_path)
    alone = start(experiment, tmp_path, *arguments_of(experiment, devices=2), "--run_dir=one")
    arguments = [*arguments_of(experiment, devices=1), "--run_dir=two"]
    both = start_two(experiment, [tmp_path, tmp_path], *arguments)
    (one, first, second) = ends([alone, *both])
    for status, _, errors in (one, first, second):
        assert status == 0, errors
    assert (bool(first[1]), second[1]) == (True, "")
    (want, want_lines), (got, got_lines) = (results_of(tmp_path / name) for name in ("one", "two"))
    different = {
        place: (value, numbers(want).get(place))
        for place, value in numbers(got).items()
        if numbers(want).get(place) != value
    }
    assert different == {}
    assert got == want
    assert got_lines == want_lines


def test_a_process_that_computes_otherwise_follows_process_0(tmp_path):
    """Its first parameters and its evaluations are others; the records are those of one process."""
    arguments = ["--steps=8", "--eval_every=2", "--notensorboard"]
    alone = start("runner_program", tmp_path, *arguments, "--devices=2", "--run_dir=one")
    arguments += ["--devices=1", "--stray=0.001", "--run_dir=two"]
    for status, _, errors in ends(
        [alone, *start_two("runner_program", [tmp_path] * 2, *arguments)]
    ):
        assert status == 0, errors
    one, two = (results_of(tmp_path / name) for name in ("one", "two"))
    assert two == one


# What the processes do not have in common ends both with one line.


def refused(experiment, folders, own=((), ())):
    """Returns the error line of each of two processes, without the name of the experiment."""
    both = start_two(
        experiment, folders, *arguments_of(experiment, devices=1), "--run_dir=run", own=own
    )
    lines = []
    for status, out, errors in ends(both):
        (line,) = errors.splitlines()
        assert (status, out) == (1, "")
        lines.append(line.removeprefix(f"{experiment}: error: "))
    assert not any((folder / "run").exists() for folder in folders)
    return lines


@pytest.fixture
def folders(tmp_path):
    """Two folders, for a process each."""
    found = [tmp_path / "0", tmp_path / "1"]
    for folder in found:
        folder.mkdir()
    return found


DIFFERENT = {
    "forecasting": ("sales.csv", "csv"),
    "captioning": ("5.png", "images"),
    "translation": ("pairs.tsv", "pairs_file"),
}


@pytest.mark.parametrize("experiment", DIFFERENT)
def test_different_files_of_the_same_name(experiment, folders):
    name, option = DIFFERENT[experiment]
    for folder in folders:
        CASES[experiment][0](folder)
    changed = folders[1] / name
    changed.write_bytes(changed.read_bytes() + b"\n")
    for line, folder in zip(refused(experiment, folders), folders, strict=True):
        assert line.startswith(f"{option}_sha256: got ")
        assert str(folder) in line


def test_different_options(folders):
    for folder in folders:
        own_series(folder)
    lines = refused("forecasting", folders, own=([], ["--learning_rate=0.02"]))
    assert lines == [
        "learning_rate: got 0.02 on process 1 and 0.003 on process 0, expected the same on every "
        "process"
    ] * 2  # fmt: skip


@pytest.mark.parametrize("missing", [0, 1])
def test_a_file_that_one_process_lacks(missing, folders):
    for folder in folders:
        own_pictures(folder)
    (folders[missing] / "captions.csv").unlink()
    lines = refused("captioning", folders)
    own = f"captions_file: got '{folders[missing] / 'captions.csv'}', expected a file that exists"
    assert lines[missing] == own
    assert lines[1 - missing] == f"process {missing}: {own}"
