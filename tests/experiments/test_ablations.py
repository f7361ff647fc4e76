"""The ablation study: its variants, the choice of a learning rate, a small run with resume."""

import json

import jax
import numpy as np
import pytest

from experiments.ablations import Config, run, study
from experiments.ablations.__main__ import EXPERIMENT
from experiments.ablations.variants import NAMES, make_variant
from experiments.common import app
from seqmodels.datasets.plays import Plays

TEXT = Plays(*("to be or not to be, that is the question. " * n for n in (20, 4, 4)))
SMALL = Config(
    variants=("gate_recurrence", "rnn"),
    tasks=("characters",),
    distances=(2,),
    window=8,
    hidden=5,
    embedding=3,
    rates=(1e-4, 0.03),
    test_sequences=64,
).replace(seeds=2, steps=4, batch=8, eval_every=2, devices="1")


def test_every_variant_has_parameters_of_its_own_shape():
    shapes = {
        name: [leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(
            make_variant(name, 8, 20)(3).init, jax.random.key(0)))]
        for name in NAMES
    }  # fmt: skip
    assert len(NAMES) == 16
    sizes = {name: sum(map(np.prod, of)) for name, of in shapes.items()}
    block = 3 * 8 + 8 * 8 + 8
    assert sizes["lstm"] == sizes["chrono"] == sizes["relu_gates"] == 4 * block
    assert {sizes[f"no_{gate}_gate"] for gate in ("input", "forget", "output")} == {3 * block}
    assert sizes["peepholes"] == 4 * block + 3 * 8
    assert sizes["gate_recurrence"] == 4 * block + (3 * 8) ** 2
    assert sizes["rnn"] == block


def test_the_rate_is_the_best_in_validation_and_of_equal_ones_the_largest():
    nan = float("nan")
    assert study.best_rate((0.1, 0.2, 0.3), np.array([[0.5, 0.5], [0.4, 0.8], [1, nan]])) == 1
    assert study.best_rate((0.1, 0.3, 0.2), np.array([[0.5, 0.7], [0.7, 0.5], [0.6, 0.6]])) == 1
    # Of those without a right answer, one that did not diverge.
    assert study.best_rate((0.1, 0.3, 0.9), np.array([[0, 0], [0, 0], [nan, 0]])) == 1


def test_a_rate_that_diverges_is_not_chosen(tmp_path, capsys):
    """No answer is within the tolerance after 80 steps, so both rates have accuracy 0."""
    config = SMALL.replace(
        variants=("rnn",), tasks=("adding",), adding_length=9, hidden=2, rates=(1e-3, 1e30),
        steps=80, seeds=1, batch=2, test_sequences=4, on_nonfinite="skip",
    )  # fmt: skip
    (record,) = run(config, tmp_path / "run")["results"]
    assert (record["rate"], record["diverged"]) == (1e-3, [False])
    assert np.isfinite(record["loss"]).all()
    assert "nan" not in capsys.readouterr().out


def test_a_run_compares_all_variants_and_resumes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(study.plays, "load", lambda folder: TEXT)
    results = run(SMALL, tmp_path / "run")
    out = capsys.readouterr().out
    assert "gate_recurrence" in out
    assert "tanh" in out
    assert {(r["variant"], r["task"]) for r in results["results"]} == {
        (variant, "characters") for variant in SMALL.variants
    }
    for record in results["results"]:
        assert record["rate"] in SMALL.rates
        assert len(record["accuracy"]) == len(record["loss"]) == 2
        best = int(np.argmax(record["validation_by_rate"]))
        ties = record["validation_by_rate"].count(record["validation_by_rate"][best])
        assert ties > 1 or record["rate"] == SMALL.rates[best]
    assert {path.name for path in (tmp_path / "run").glob("*.png")} == set(study.report.FILES)

    # A run whose last record is missing trains that one alone, to the same figures.
    path = tmp_path / "run" / "results.json"
    stored = json.loads(path.read_text())
    stored |= {"complete": False, "results": stored["results"][:-1]}
    path.write_text(json.dumps(stored))
    again = run(SMALL, tmp_path / "run")["results"][-1]
    assert {k: v for k, v in again.items() if k not in ("seconds", "metrics_bytes")} == {
        k: v for k, v in results["results"][-1].items() if k not in ("seconds", "metrics_bytes")
    }


def test_rates_differ_and_seeds_are_those_of_one_rate(tmp_path, monkeypatch):
    """Two rates at once give what each gives alone."""
    one = SMALL.replace(variants=("lstm",), tasks=("sky",))
    both = run(one, tmp_path / "both")["results"][0]
    alone = [run(one.replace(rates=(rate,)), tmp_path / str(rate))["results"][0]
             for rate in SMALL.rates]  # fmt: skip
    means = [float(np.mean(record["validation_accuracy"])) for record in alone]
    np.testing.assert_allclose(both["validation_by_rate"], means, rtol=1e-6)
    chosen = alone[SMALL.rates.index(both["rate"])]
    np.testing.assert_allclose(both["loss"], chosen["loss"], rtol=1e-5)
    assert alone[0]["loss"] != alone[1]["loss"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--variants=lsmt"], "ablations: error: variants: got 'lsmt', expected one of "),
        (["--rates=0"], "ablations: error: rates: got 0"),
        (["--learning_rate=0.1"], "ablations: error: learning_rate: got 0.1, expected rates"),
        (["--average=0.9"], "ablations: error: average: got 0.9, expected 0"),
    ],
)
def test_mistakes(arguments, line, capsys):
    assert app.execute(EXPERIMENT, arguments) == 2
    assert capsys.readouterr().err.startswith(line)
