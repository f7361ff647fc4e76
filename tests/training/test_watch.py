"""Metrics of cells while training: their values, and where the loop records them."""

import functools
import json

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

import seqmodels as sm
from seqmodels.training.fit import fit
from seqmodels.training.loop import Inspection
from seqmodels.training.metrics import MetricsLog
from seqmodels.training.settings import FitSettings
from seqmodels.training.state import TrainState
from seqmodels.training.steps import StepMetrics
from seqmodels.training.watch import Reading, gradient_metrics, make_watch


def last_valid(lengths, ys):
    return jnp.sum(jnp.take_along_axis(ys, lengths[None, :, None] - 1, axis=0))


def test_gates_of_an_lstm_by_the_loop():
    cell, lengths = sm.lstm(cases.D, cases.H), np.array([7, 3, 5, 1])
    params, xs = cases.params_of(cell), 3 * cases.inputs()
    watch = jax.jit(
        make_watch(("gates",), cell, lambda p, rows: Reading(p, rows[0], lengths=rows[1]))
    )
    found = watch(params, (xs, lengths))
    p, x, H = *oracle.as_numpy((params, xs)), cases.H
    gates = []
    for n in range(4):
        s = {"h": np.zeros(H), "c": np.zeros(H)}
        for t in range(lengths[n]):
            a = x[t, n] @ p.w_x + s["h"] @ p.w_h + p.b
            gates.append(np.concatenate([oracle.sigmoid(a), np.tanh(a)]).reshape(8, H))
            s, _ = oracle.lstm_step(p, s, x[t, n])
    gates = np.stack(gates)
    want = {"gates/g_saturated": np.mean(np.abs(gates[:, 6]) > 0.9)}
    for number, name in ((0, "i"), (1, "f"), (3, "o")):
        want[f"gates/{name}_low"] = np.mean(gates[:, number] < 0.1)
        want[f"gates/{name}_high"] = np.mean(gates[:, number] > 0.9)
    want["gates/time_constant"] = np.median(-1 / np.log(gates[:, 1]).mean(0))
    assert set(found) == set(want)
    for name, value in want.items():
        assert found[name] == pytest.approx(value, rel=1e-4), name


def test_gradients_of_a_linear_network():
    """h_t = r Q h_tm1 with Q orthogonal: a factor r a step, and r is the spectral radius."""
    cell = sm.rnn(cases.D, cases.H, activation=lambda a: a)
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(cases.H, cases.H)))[0]
    params = cases.init(cell)._replace(w_h=jnp.asarray(0.8 * q, jnp.float32))
    lengths = jnp.array([15, 12, 3])
    reading = Reading(
        params, cases.inputs((3,), 15), lengths, score=functools.partial(last_valid, lengths)
    )
    found = gradient_metrics(cell, reading)
    assert set(found) == {f"gradients/{n}" for n in ("at_1", "at_10", "decay", "spectral_radius")}
    assert found["gradients/at_1"] == pytest.approx(0.8, rel=1e-4)
    assert found["gradients/at_10"] == pytest.approx(0.8**10, rel=1e-4)
    assert found["gradients/decay"] == pytest.approx(0.8, rel=1e-4)
    assert found["gradients/spectral_radius"] == pytest.approx(0.8, rel=1e-4)


def test_layers_have_their_place_in_front():
    cell = sm.stack([sm.gru(cases.D, cases.H), sm.rnn(cases.H, cases.H)])
    params, xs = cases.params_of(cell), cases.inputs()
    read = lambda p, x: Reading(p, x, score=lambda ys: jnp.sum(ys[-1]))  # noqa: E731
    found = make_watch(("gates", "gradients"), cell, read)(params, xs)
    for name in ("gates/0.z_low", "gates/1.h_saturated", "gradients/0.at_1", "gradients/1.decay"):
        assert np.isfinite(found[name])
    radii = [
        np.abs(np.linalg.eigvals(block)).max()
        for block in (*np.split(params[0].w_h, 2, 1), params[0].w_n, params[1].w_h)
    ]
    assert found["gradients/spectral_radius"] == pytest.approx(max(radii), rel=1e-4)


def test_mistakes():
    cell = sm.rnn(1, 1)
    with pytest.raises(ValueError, match="watch: got 'gate', expected gates or gradients"):
        make_watch(("gate",), cell, Reading)
    with pytest.raises(ValueError, match="watch: got gradients without a score"):
        make_watch(("gradients",), cell, Reading)(cases.init(cell), jnp.ones((2, 1, 1)))


@pytest.mark.parametrize(("every", "steps"), [(0, [4, 8, 10]), (2, [2, 4, 6, 8, 10])])
def test_the_loop_records_at_an_interval(tmp_path, every, steps):
    """Two seeds; the norm of step t is t, and clipped above 5."""
    zeros = jnp.zeros(2)
    start = TrainState({"w": zeros}, (), zeros.astype(int), zeros, zeros.astype(int), (), zeros > 0)

    def train(state, batches=None):
        norm = (state.step + 1.0)[:, None]  # (S, steps of a dispatch)
        metrics = StepMetrics(norm, norm, norm[..., None], norm > 0, {})
        return state._replace(step=state.step + 1), metrics

    inspection = Inspection(lambda state: {"gates/step": 10 * state.step}, every, clip_norm=5.0)
    settings = FitSettings(steps=10, log_every=2, eval_every=4)
    with pytest.raises(ValueError, match="inspection: every: got 3, expected a multiple of"):
        fit(start, train, settings, inspection=inspection._replace(every=3))
    with MetricsLog(tmp_path / "metrics.jsonl") as log:
        fit(start, train, settings, inspection=inspection, log=log, tensorboard=tmp_path / "tb")
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    seen = {line["step"][0]: line["gates/step"] for line in lines if "gates/step" in line}
    assert seen == {step: [10 * step] * 2 for step in steps}
    clipped = {line["step"][0]: line["gradients/clipped"][1] for line in lines}
    assert clipped == {2: 0, 4: 0, 6: 0.5, 8: 1, 10: 1}
    assert lines[-1]["gradients/clip_factor"][0] == pytest.approx((5 / 9 + 5 / 10) / 2)
    events = next((tmp_path / "tb").glob("events*")).read_bytes()
    assert b"gates/step/1" in events
    assert b"gradients/clipped/0" in events
