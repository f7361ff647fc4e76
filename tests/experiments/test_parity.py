"""Parity: the strings, and that every cell learns the rule on short ones."""

import json

import numpy as np
import pytest

from experiments.common import app
from experiments.parity import Config, run
from experiments.parity.__main__ import EXPERIMENT
from experiments.parity.study import strings, trainings
from seqmodels import model_files


def test_strings():
    bits, parity = strings(5, seed=3)
    assert bits.shape == (5, 4096, 1)
    for row in range(20):
        ones = 0
        for t in range(5):
            ones += int(bits[t, row, 0])
            assert parity[t, row] == ones % 2
    assert not np.array_equal(bits, strings(5, seed=4)[0])


def test_a_cell_learns_parity_of_eight_bits_and_goes_beyond(tmp_path, capsys):
    config = Config(cells=("lstm",), hidden=8, length=8, lengths=(8, 20)).replace(
        steps=300, seeds=1, eval_every=150, learning_rate="0.03", devices="1",
        watch=("gates", "gradients"),
    )  # fmt: skip
    results = run(config, tmp_path / "run")
    (record,) = results["results"]
    (baseline,) = results["baselines"]
    assert record["accuracy_8"] > 0.99
    assert record["accuracy_20"] > 0.95
    assert baseline["accuracy_20"] == pytest.approx(0.5, abs=0.05)
    assert "the last bit alone" in capsys.readouterr().out
    saved = model_files.load(tmp_path / "run" / "models" / "lstm-0", "parity")
    assert saved.config == {"cell": "lstm", "hidden": 8, "precision": "float32"}
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [150, 300]
    for name in ("gates/f_high", "gates/time_constant", "gradients/at_1", "gradients/clipped"):
        assert all(json.loads(line)[name] >= 0 for line in lines)


def test_processes_share_the_rows():
    (training,) = trainings(Config(cells=("rnn",), length=3, lengths=(3,)).replace(batch=8))
    whole = training.batches(0, 0, 1)
    halves = [training.batches(0, process, 2) for process in (0, 1)]
    for cursor in range(whole.per_epoch):
        parts = zip(*(half.at(cursor) for half in halves), strict=True)
        for array, part in zip(whole.at(cursor), parts, strict=True):
            together = np.concatenate(part, axis=1)
            np.testing.assert_array_equal(np.sort(array, axis=1), np.sort(together, axis=1))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--cells=lsmt"], "parity: error: cells: got 'lsmt', expected one of "),
        (["--watch_every=100"], "parity: error: watch_every: got 100 without watch, expected both"),
        (["--watch=gate"], "parity: error: watch: got 'gate', expected one of gates, gradients"),
        (
            ["--watch=gates", "--watch_every=30"],
            "parity: error: watch_every: got 30, expected a multiple of log_every (100)",
        ),
        (["--lengths=0"], "parity: error: lengths: got 0, expected at least 1"),
    ],
)
def test_mistakes(arguments, line, capsys):
    assert app.execute(EXPERIMENT, arguments) == 2
    assert capsys.readouterr().err.startswith(line)
