"""The benchmark's section gpu on a CPU: checks, rows, resume after an interruption, the rule."""

import dataclasses
import json

import numpy as np
import pytest

import seqmodels as sm
from experiments.benchmark import ours, study, timing
from experiments.benchmark.cases import Case, Shape, Worker
from experiments.benchmark.config import Config, GPUConfig
from experiments.benchmark.gpu import equivalence, rows, section, tables
from experiments.benchmark.gpu.rule import propose
from experiments.benchmark.interpreters import Interpreters
from experiments.benchmark.process import WorkerError
from experiments.benchmark.record import Record
from experiments.benchmark.worker import Server
from experiments.common.errors import UserError
from seqmodels.types import Driver

SIZES = rows.Sizes((4, 8), (2, 3), 2, (5, 9))
TINY = Shape(9, 4, 3, 4)


class Fake:
    """A worker of a given speed. `count` is lowered by each request; at 0 Ctrl-C is pressed."""

    def __init__(self, worker, seconds, count, failing=()):
        self.worker, self.count, self.failing = worker, count, failing
        self.seconds = seconds
        self.cases = {}
        self.alive = True

    def ask(self, request, limit=None):
        self.count[0] -= 1
        if not self.count[0]:
            raise KeyboardInterrupt
        match request["do"]:
            case "start" if self.worker.framework == "torch.cuda":
                self.alive = False
                raise WorkerError("torch is not installed", "ModuleNotFoundError")
            case "check":
                if request["method"] == "cudnn":
                    raise WorkerError(
                        "RuntimeError: found cpu, expected an NVIDIA GPU", "RuntimeError"
                    )
                wrong = (request["cell"], request["method"], request["precision"]) in self.failing
                return {"errors": {"values": 0.0, "gradients": 1.0 if wrong else 0.0}}
            case "prepare":
                self.cases[request["number"]] = request["case"]
                return {"about": {}, "loss": 1.0, "norm": 1.0}
            case "run":
                return {
                    "seconds": [self.seconds(self.cases[request["number"]])] * request["repeats"]
                }
        return {}

    def close(self):
        self.alive = False


class FakeInterpreters(Interpreters):
    """Interpreters whose workers are `Fake`."""

    def connect(self, limit):
        return lambda worker: Fake(worker, seconds_of, self.installed["count"])


def seconds_of(case):
    """scan grows with T; fused takes half of it from H = 3 on, and twice as much below."""
    _, _, method, _, (steps, _, _, hidden), *_ = case
    return steps * (1.0 if method in ("scan", "") else 0.5 if hidden >= 3 else 2.0)


CONFIG = Config(
    sections=("gpu",), rounds=2, cells=("lstm",), devices="1",
    gpu=GPUConfig(gpu_steps=(4, 8), gpu_hidden=(2, 3), gpu_batch=2, gpu_long=(5, 9)),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(timing, "SETTLE", 0)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """run(requests, seconds) -> results of the benchmark with fake workers, in one directory."""
    start = {"devices": 1, "platform": "gpu", "kind": "fake"}

    def run(requests=10**9, seconds=float("inf"), path=tmp_path / "run"):
        interpreters = FakeInterpreters({"": "python"}, {"": [], "count": [requests]})
        monkeypatch.setattr(study, "find", lambda *_: (interpreters, start))
        gpu = dataclasses.replace(CONFIG.gpu, seconds=seconds)
        return study.run(dataclasses.replace(CONFIG, gpu=gpu), path)

    return run


def finished(path):
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["unit"] for line in lines]


def test_an_interrupted_run_keeps_its_rows_and_resumes(run, tmp_path, capsys):
    whole = run(path=tmp_path / "whole")
    assert whole["complete"]
    units = finished(tmp_path / "whole")
    own = [c for c in rows.timed(SIZES) if c.worker.framework in ("ours", "linen")]
    assert units == [c.key for c in rows.checks(rows.CHECK_SHAPE)] + list(map(rows.key, own))
    assert "torch.cuda: left out, torch is not installed" in whole["notes"]
    # Ctrl-C at a request of every kind, again and again in one directory.
    for requests in (1, 2, 31, 32, 33, 34, 35, 90):
        with pytest.raises(KeyboardInterrupt):
            run(requests)
        done = finished(tmp_path / "run")
        assert done == units[: len(done)]
    resumed = run()
    assert finished(tmp_path / "run") == units
    assert resumed["complete"]
    assert resumed["gpu"] == whole["gpu"]
    assert sorted(resumed["notes"]) == sorted(whole["notes"])
    with pytest.raises(UserError, match="finished"):
        run()
    shown = capsys.readouterr().out
    assert "lstm, float32: training step, ms" in shown
    assert "auto, lstm, float32, 4 shapes: fused if H >= 3 else scan (1.00 of the best" in shown


def test_the_time_budget_leaves_rows_for_the_next_run(run, tmp_path, capsys):
    results = run(seconds=1e-9)
    assert not results["complete"]
    assert finished(tmp_path / "run") == []
    assert results["left"] > 20
    assert f"{results['left']} rows are left; --resume={tmp_path / 'run'}" in " ".join(
        capsys.readouterr().out.split()
    )
    assert run()["left"] == 0


def test_what_failed_its_check_is_not_timed():
    failing = [("lstm", "fused", "tf32")]
    count = [10**9]
    settings = study._settings(
        CONFIG, Interpreters({"": "python"}, {"": []}), {"devices": 1, "platform": "gpu"}, Record()
    )
    settings = dataclasses.replace(
        settings, connect=lambda worker: Fake(worker, seconds_of, count, failing)
    )
    record = Record()
    section.run(settings, SIZES, record, seconds=100, check_shape=TINY)
    assert [e for e in record.errors if "differs from scan" in e] == record.errors
    timed = [row for row in record.rows["gpu"] if row["kind"] == "time"]
    without = {(r["cell"], r["method"], r["precision"]) for r in timed if r["seconds"] is None}
    # cudnn does not run here.
    assert without == {*failing, ("lstm", "cudnn", "float32"), ("lstm", "cudnn", "tf32")}


def test_rows_are_ordered_by_importance():
    steps = rows.timed(rows.Sizes((256, 1024, 4096), (128, 512, 1024), 64, (10, 100, 1000)))
    assert steps[0].shape == Shape(1024, 64, 512, 512)
    assert steps[-1].shape.T == 1000
    first_long = next(n for n, case in enumerate(steps) if case.shape.T == 10)
    assert {case.shape for case in steps[:first_long]} == {steps[0].shape}
    assert len(set(map(rows.key, steps))) == len(steps)
    sizes = [case.shape.T * case.shape.H for case in steps if case.shape.B == 64][first_long:]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    ("cell", "method", "precision"),
    [
        ("lstm", "fused", "float32"),
        ("lru", "associative", "float32"),
        ("gru_after", "fused", "bfloat16"),
    ],
)
def test_drivers_are_equivalent(cell, method, precision):
    errors = equivalence.differences(cell, method, precision, TINY)
    assert set(errors) == {"values", "gradients", "final_state"}
    assert max(errors.values()) <= equivalence.TOLERANCES[precision]


def test_a_driver_that_is_wrong_is_seen(monkeypatch):
    def run(call):
        return (done := sm.scan().run(call))._replace(ys=1.01 * done.ys)

    monkeypatch.setattr(ours, "driver", lambda *_, **__: Driver("wrong", run))
    errors = equivalence.differences("rnn", "fused", "float32", TINY)
    assert errors["values"] == pytest.approx(0.01, rel=1e-3)
    assert errors["gradients"] > 1e-3
    assert errors["final_state"] < 1e-6
    # 2 / 1, and what is not finite.
    far, near = [np.array([1.0, 2.0]), np.ones(2)], [np.array([1.0, 0.0]), np.ones(2)]
    assert equivalence._error(far, near) == 2.0
    assert equivalence._error([np.nan], [1.0]) == np.inf


def test_a_tiny_run_in_process(monkeypatch):
    """Real workers, but in this process: two checks, scan and fused, the Linen model."""
    from experiments.benchmark import jax_peers

    class Local:
        alive = True

        def __init__(self, worker):
            self.server = Server(worker.framework, str(worker.number))

        def ask(self, request, limit=None):
            reply = self.server.answer(json.loads(json.dumps(request)))
            if "error" in reply:
                raise WorkerError(reply["error"], reply["kind"])
            return reply

        def close(self):
            pass

    monkeypatch.setattr(jax_peers, "forget", lambda: None)
    monkeypatch.setattr(jax_peers, "start", lambda *_: {"versions": {}})
    one, shape = Worker("ours", 1), Shape(6, 2, 3, 3)
    checks = [
        rows.Check("lstm", "fused", "float32", TINY),
        rows.Check("lstm", "cudnn", "tf32", TINY),
    ]
    steps = [Case(one, "lstm", method, "train", shape) for method in ("fused", "scan")]
    steps.append(Case(Worker("linen", 1), "lstm", "", "train", shape))
    monkeypatch.setattr(rows, "checks", lambda _: checks)
    monkeypatch.setattr(rows, "timed", lambda _: steps)
    interpreters = Interpreters({"": "python"}, {"": []})
    start = {"devices": 1, "platform": "cpu"}
    settings = study._settings(CONFIG, interpreters, start, Record())
    record = Record()
    section.run(
        dataclasses.replace(settings, connect=Local), SIZES, record, seconds=100, check_shape=TINY
    )
    fused, absent, *times = record.rows["gpu"]
    assert fused["ok"]
    assert "expected an NVIDIA GPU" in absent["error"]
    assert not record.errors
    assert [row["method"] for row in times] == ["fused", "scan", "linen"]
    assert all(row["seconds"] > 0 for row in times)
    assert times[0]["loss"] == pytest.approx(times[1]["loss"], rel=1e-5)
    assert len(tables.tables(record.rows["gpu"])) == 2
    assert len(tables.rules(record.rows["gpu"])) == 1


def test_the_rule_from_synthetic_times():
    def at(steps, hidden):
        return Shape(steps, 1, 1, hidden)

    same = {at(t, h): {"scan": 2.0, "fused": 1.0} for t in (1, 2) for h in (3, 4)}
    rule = propose(same)
    assert (rule.driver, rule.axis, rule.mean, rule.worst) == ("fused", "", 1.0, 1.0)
    # newton wins from T = 100 on.
    long = {at(t, 3): {"scan": t / 10, "newton": 5.0} for t in (10, 100, 1000)}
    rule = propose(long)
    assert (rule.driver, rule.axis, rule.least, rule.below) == ("newton", "T", 100, "scan")
    assert str(rule).startswith("newton if T >= 100 else scan (1.00 of the best time")

    assert propose({s: {"scan": v["scan"]} for s, v in long.items()}).driver == "scan"
    # A threshold that saves 1% is not worth it.
    near = {at(1, 3): {"scan": 1.0, "fused": 1.01}, at(2, 3): {"scan": 1.01, "fused": 1.0}}
    assert propose(near).axis == ""
    # A driver that is missing at a shape is not proposed for it.
    assert propose({at(1, 3): {"cudnn": 0.1, "scan": 1.0}, at(2, 3): {"scan": 1.0}}).driver in (
        "scan", "cudnn"
    )  # fmt: skip
    assert propose({at(1, 3): {"cudnn": 0.1}, at(1, 4): {"scan": 1.0}}).choose(at(1, 3)) == "cudnn"
    assert propose({}) is None
