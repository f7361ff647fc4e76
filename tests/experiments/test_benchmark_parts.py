"""The parts of the benchmark: precisions, interpreters, latency, shares, resume."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm
from experiments.benchmark import interpreters, latency, ours, shares
from experiments.benchmark.arrays import inputs
from experiments.benchmark.cases import (
    Case,
    Shape,
    Worker,
    cases_for,
    decode,
    encode,
    runs,
    workers_for,
    wrapper_cases,
)
from experiments.benchmark.ratios import Times, precision_bars, views
from experiments.benchmark.record import Record
from experiments.benchmark.substitution import check_parts, without
from experiments.benchmark.timing import (
    BLOCK,
    BLOCK_BEGIN,
    Log,
    Plan,
    Timing,
    disagreeing,
    measure,
    percentiles,
)
from experiments.benchmark.worker import Server
from seqmodels.training.metrics import MetricsLog

ONE = Worker("ours", 1)
SHAPE = Shape(6, 4, 2, 3)
STEP = Shape(1, 2, 3, 4)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(
    "kinds", [(), ("products",), ("activations",), ("products", "activations")]
)
def test_a_cell_without_a_part_is_what_numpy_says(kinds):
    cell, params = ours.make("lstm", 3, 4)
    w_x, w_h, b = (np.asarray(leaf, np.float64) for leaf in params[:3])
    squash = (lambda x: x / 4 + 0.5) if "activations" in kinds else sigmoid
    tanh = (lambda x: x) if "activations" in kinds else np.tanh
    width = 2 if "products" in kinds else None
    h, c = (np.random.default_rng(seed).standard_normal((2, 4)) for seed in (0, 1))
    x_t = inputs(STEP)[0].astype(np.float64)
    gates = x_t[:, :width] @ w_x[:width] + h[:, :width] @ w_h[:width] + b
    i, f, g, o = np.split(gates, 4, axis=-1)
    c_t = squash(f) * c + squash(i) * tanh(g)
    changed = without(cell, **dict.fromkeys(kinds, True))
    state = type(cell.initial_state(params))(*(jnp.asarray(a, jnp.float32) for a in (h, c)))
    (h_out, c_out), y_t = changed.step(params, state, jnp.asarray(x_t, jnp.float32))
    np.testing.assert_allclose(c_out, c_t, atol=1e-6)
    np.testing.assert_allclose(y_t, squash(o) * tanh(c_t), atol=1e-6)
    np.testing.assert_array_equal(h_out, y_t)


def test_a_cell_without_products_trains_under_the_fused_driver():
    cell, params = ours.make("gru", 3, 4)
    thin, xs = without(cell, products=True), inputs(Shape(5, 2, 3, 4))
    assert sm.unroll_full(thin, params, xs).info.method == "fused"
    gradients = [
        jax.jit(jax.grad(ours.loss_of(thin, way)))(params, xs) for way in ("fused", "scan")
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *gradients)
    # Only the first two rows of each matrix are read, so only those have a gradient.
    assert np.all(np.asarray(gradients[0].w_x)[2:] == 0)
    assert np.any(np.asarray(gradients[0].w_x)[:2] != 0)
    check_parts(cell.step, params, cell.initial_state(params, (1,)), xs[0, :1], products=True)
    with pytest.raises(ValueError, match="found no activations in the program"):
        check_parts(lambda x: x @ x, jnp.ones((2, 2)), products=True, activations=True)
    with pytest.raises(TypeError, match="got one without stages"):
        without(sm.lru(3, 4), products=True)


def test_shares_by_hand():
    found = shares.cases(SHAPE, ["lstm", "peephole"], "auto", ["float32", "bfloat16"])
    # The peepholes are in float32 alone.
    assert len(found) == 3 * 2 * 4
    whole = found[0]
    seconds = dict(zip(shares.VARIANTS, (4.0, 1.0, 3.0, 0.5), strict=True))
    timings = [Timing(whole._replace(variant=variant), {}, [s]) for variant, s in seconds.items()]
    (only,) = shares.shares(timings).items()
    assert only[0] == whole
    assert only[1] == (4.0, 0.75, 0.25, 0.125)
    assert only[1].overlap == pytest.approx(-0.125)
    assert shares.shares(timings[:3]) == {}


def test_labels_and_cases_of_two_interpreters():
    homes = {"ours": ("1", "2"), "torch": ("1",), "linen": ("1", "2")}
    workers = workers_for(["torch", "linen"], 1, 2, homes)
    found = cases_for(SHAPE, ["lstm"], ["auto"], workers, ["float32", "bfloat16"])
    labels = {case.label for case in found}
    assert {
        "ours auto, 1 device, JAX 2", "ours auto, 1 device, JAX 1, bfloat16", "torch, 2 threads",
        "linen, JAX 2, bfloat16", "limit, JAX 1", "limit, JAX 2, bfloat16",
    } <= labels  # fmt: skip
    assert all(decode(json.loads(json.dumps(encode(case)))) == case for case in found)
    assert not runs(Worker("linen", 1), "rnn", "bfloat16")
    assert not runs(ONE, "peephole", "bfloat16")
    models = wrapper_cases(SHAPE, ["lstm"], 2, ["bfloat16"], ["1", "2"])
    assert len({case.label for case in models}) == len(models) == 2 * 2 * 3


def test_views_and_bars_of_precisions_by_hand():
    def timing(seconds, precision, jax, worker=ONE, method="auto"):
        worker = worker._replace(jax=jax)
        return Timing(Case(worker, "lstm", method, "train", SHAPE, precision), {}, [seconds])

    timings = [
        timing(4.0, "float32", "1"), timing(2.0, "float32", "2"), timing(1.0, "bfloat16", "1"),
        timing(8.0, "float32", "1", Worker("torch", 2), ""),
    ]  # fmt: skip
    found = views(timings)
    assert [view.name for view in found] == [", JAX 1", ", JAX 2", ", JAX 1, bfloat16"]
    times = {view: Times(view.timings, ["auto"], 1, 2) for view in found}
    # torch does not depend on JAX, so both versions are compared with it.
    torch = [own.peer("torch", "lstm", "train", SHAPE) for own in times.values()]
    assert torch == [8.0, 8.0, None]
    assert [own.ours("lstm", "train", SHAPE) for own in times.values()] == [4.0, 2.0, 1.0]
    (bar,) = precision_bars(times, [SHAPE], ["lstm"])
    assert bar.name == "lstm training: bfloat16 / float32 of ours, JAX 1"
    assert (bar.value, bar.shapes) == (0.25, 1)


def test_low_precision_is_compared_with_float32_loosely():
    case = Case(ONE, "lstm", "scan", "train", SHAPE)
    low = case._replace(method="auto", precision="bfloat16")
    assert disagreeing({case: (1.0, 1.0), low: (1.01, 1.02)}) == []
    assert disagreeing({case: (1.0, 1.0), low: (1.01, 2.0)}) == [low]


@pytest.mark.parametrize("mode", ["train", "forward"])
def test_bfloat16_is_given_to_the_cell(mode):
    case = Case(ONE, "gru", "auto", mode, SHAPE, "bfloat16")
    function, arguments, _ = ours.build(case)
    assert "bf16" in str(jax.make_jaxpr(function)(*arguments))
    assert "bf16" not in str(
        jax.make_jaxpr(ours.build(case._replace(precision="float32"))[0])(*arguments)
    )


SCRIPT = """#!/bin/sh
echo '{{"versions": {{"jax": "{jax}"}}, "installed": {installed}, "devices": {devices}}}'
sleep 60
"""


def test_interpreters_are_named_by_their_jax(tmp_path):
    paths = []
    for number, (version, installed) in enumerate([("1", "[]"), ("2", '["torch"]'), ("2", "[]")]):
        paths.append(tmp_path / f"python{number}")
        paths[-1].write_text(SCRIPT.format(jax=version, installed=installed, devices=number + 3))
        paths[-1].chmod(0o755)
    pythons = list(map(str, paths))
    found, start = interpreters.find(pythons[:2], "auto", 30)
    assert found.versions == ("1", "2")
    assert start["devices"] == 3
    homes = found.homes(["torch", "linen", "onnxruntime"])
    assert homes == {
        "ours": ("1", "2"), "torch": ("2",), "linen": ("1", "2"), "onnxruntime": ("1",)
    }  # fmt: skip
    with pytest.raises(ValueError, match="pythons: got '/none/python', expected the path of"):
        interpreters.find(["/none/python"], "auto", 30)
    with pytest.raises(ValueError, match="two interpreters with JAX 2"):
        interpreters.find(pythons[1:], "auto", 30)
    alone, _ = interpreters.find(pythons[:1], "auto", 30)
    assert alone.versions == ("",)


def test_one_step_is_the_same_by_all_and_timed_in_blocks(monkeypatch):
    """In this process, with the peers that are installed."""
    from experiments.benchmark import jax_peers

    monkeypatch.setattr(jax_peers, "forget", lambda: None)
    monkeypatch.setattr(jax_peers, "start", lambda *_: {"versions": {}})
    peers = ["linen"]
    if pytest.importorskip("onnx") and pytest.importorskip("onnxruntime"):
        peers.append("onnxruntime")
    found = latency.cases(STEP, ["lstm", "rnn"], peers)
    assert [case.label for case in found] == [
        "ours stream, 1 device", "ours bare, 1 device", "linen", "onnxruntime, 1 thread"
    ]  # fmt: skip
    servers = {case.worker: Server(case.worker.framework, "1") for case in found}
    for server in servers.values():
        assert "error" not in server.answer({"do": "start"})

    class Local:
        alive = staticmethod(lambda worker: True)

        def ask(self, worker, request):
            reply = servers[worker].answer(request)
            assert "error" not in reply, reply
            return reply

    errors, timings = [], []
    log = Log(errors.append, errors.append, lambda *_: None)
    measure(found, Local(), Plan(2, 1, 0), log, timings)
    assert errors == []
    assert [t.case for t in timings] == found
    assert all(t.about["steps"] == 2 * (BLOCK - BLOCK_BEGIN) for t in timings)
    assert all(t.seconds == sorted(t.seconds) and len(t.seconds) == 101 for t in timings)
    assert all(t.median <= t.percentile_99 <= max(t.seconds) for t in timings)


def test_percentiles():
    values = percentiles([float(n) for n in range(201)])
    assert values == pytest.approx([2.0 * n for n in range(101)])
    assert percentiles([3.0]) == [3.0] * 101


def test_finished_units_are_read_again(tmp_path):
    timing = Timing(Case(ONE, "lstm", "auto", "train", SHAPE), {"devices": 1}, [1.0, 2.0])
    saved = []
    with MetricsLog(tmp_path / "log") as log:
        record = Record(save=lambda: saved.append(1))
        record.resume(log, None)
        record.notes.append("n")
        record.finish("speed", "a", [timing])
        record.errors.append("e")
        record.finish("compile", "b", [{"seconds": [1.0]}])
        record.errors.append("of a unit that is interrupted")
    assert len(saved) == 2
    with (tmp_path / "log").open("a") as file:
        file.write('{"section": "speed", "un')  # a line of a process that was killed
    with MetricsLog(tmp_path / "log") as log:
        again = Record()
        again.resume(log, {"versions": {"jax": "1"}})
    assert again.rows == {"speed": [timing], "compile": [{"seconds": [1.0]}]}
    assert again.units == {("speed", "a"), ("compile", "b")}
    assert (again.notes, again.errors, again.versions) == (["n"], ["e"], {"jax": "1"})
    with MetricsLog(tmp_path / "log") as log:
        fresh = Record()
        fresh.resume(log, None)
    assert fresh.rows == {}
    assert (tmp_path / "log").read_text() == ""
