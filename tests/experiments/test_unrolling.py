"""Four ways through time give the same outputs; the command writes its picture and table."""

import jax
import numpy as np
import pytest

import seqmodels as sm
from experiments.common import app
from experiments.unrolling import Config, run
from experiments.unrolling.__main__ import EXPERIMENT
from experiments.unrolling.ways import outputs, ways_of


@pytest.mark.parametrize("make", [sm.gru, sm.min_gru, sm.lru])
def test_every_way_gives_the_same_outputs(make):
    cell = make(2, 3)
    params = cell.init(jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (5, 2, 2))
    expected, *others = (np.asarray(outputs(cell, way)(params, xs)) for way in ways_of(cell))
    for ys in others:
        np.testing.assert_allclose(ys, expected, atol=1e-6)


def test_the_command(tmp_path, capsys):
    path = tmp_path / "cell.svg"
    config = Config(
        cell="rnn", input_size=2, hidden=3, batch=2, lengths=(3, 5), longest_program=3,
        longest_loop=4, rounds=1, out=str(path),
    )  # fmt: skip
    results = run(config)
    assert set(results["3"]) == {"Python loop", "unrolled in one program", "scan", "fused"}
    assert set(results["5"]) == {"scan", "fused"}
    assert all(cost["run_ms"] > 0 and cost["megabytes"] >= 0 for cost in results["3"].values())
    out = capsys.readouterr().out
    assert "Python loop" in out
    assert str(path) in out
    assert path.read_text().count("<path") > 20
    # A file of the user's stays.
    path.write_text("mine")
    assert app.execute(EXPERIMENT, [f"--out={path}", "--cell=rnn"]) == 1
    assert capsys.readouterr().err.startswith("unrolling: error: out: ")
    assert path.read_text() == "mine"
    # Nor is a picture written next to a folder that was given.
    assert app.execute(EXPERIMENT, [f"--out={tmp_path}", "--cell=rnn"]) == 1
    assert "is a folder, expected a file" in capsys.readouterr().err
