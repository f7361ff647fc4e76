"""The benchmark end to end at a tiny size, its arithmetic, and workers that fail."""

import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from experiments.benchmark.__main__ import EXPERIMENT
from experiments.benchmark.cases import WRAPPERS, Case, Shape, Worker, parse_shape, workers_for
from experiments.benchmark.process import Pool, Process, WorkerError
from experiments.benchmark.ratios import Times, bars, geometric_mean, ratio
from experiments.benchmark.timing import Log, Plan, Timing, calls_for, disagreeing, measure
from experiments.common import app

ROOT = pathlib.Path(__file__).parents[2]
TINY = [
    "--shapes=6x4x2x3,5x3x2x3",
    "--cells=lstm",
    "--methods=scan",
    "--rounds=2",
    "--sweep=4,8",
    "--memory_shapes=16x2x2x3",
    "--latency_shapes=1x1x2x3,1x2x2x3",
    "--precision=float32,bfloat16",
    "--devices=2",
]
ONE, TWO = Worker("ours", 1), Worker("ours", 2)
SHAPE = Shape(6, 4, 2, 3)
INSTALLED = [
    peer
    for peer, module in {
        "torch": "torch", "linen": "flax", "nnx": "flax", "haiku": "haiku", "equinox": "equinox",
    }.items()
    if importlib.util.find_spec(module)
]  # fmt: skip


def command(*arguments):
    return [sys.executable, "-m", "experiments.benchmark", *arguments]


def run(*arguments, status=0, **environment):
    done = subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False, timeout=600,
        env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done


def results(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.mark.slow
def test_all_sections_end_to_end(tmp_path):
    """With whatever peers are installed; haiku is made to be missing."""
    (tmp_path / "haiku.py").write_text("raise ModuleNotFoundError('', name='haiku')")
    folder = tmp_path / "run"
    done = run(*TINY, f"--run_dir={folder}", PYTHONPATH=str(tmp_path))
    report = results(folder)
    assert report["complete"]
    assert not report["errors"]
    assert "haiku: left out, haiku is not installed" in report["notes"]
    peers = {worker.framework for worker in workers_for(INSTALLED, 2, 2)} - {"haiku"}
    timed = {(t["competitor"].split()[0].rstrip(","), t["shape"]) for t in report["speed"]}
    shapes = ["6x4x2x3", "5x3x2x3"]
    assert timed == {(name, s) for name in {*peers, "limit"} for s in shapes}
    of_precision = [t["competitor"] for t in report["speed"] if t["precision"] == "bfloat16"]
    assert {name.split()[0].rstrip(",") for name in of_precision} == {*peers, "limit"}
    assert all(name.endswith(", bfloat16") for name in of_precision)
    steps = {t["competitor"] for t in report["latency"]}
    assert {"ours stream, 1 device", "ours bare, 1 device", "linen"} <= steps
    assert all(len(t["seconds"]) == 101 for t in report["latency"])
    assert len(report["shares_of_time"]) == 2 * 2 * len(shapes)
    for one in report["speed"] + report["sweep"]:
        assert len(one["seconds"]) == 2
        assert 0 < one["low"] <= one["median"] <= one["high"]
    two = [t for t in report["speed"] if t["competitor"] == "ours scan, 2 devices"]
    assert [t["about"]["devices"] for t in two] == [2, 2, 1, 1]
    assert {(r["precision"], r["jax"]) for r in report["ratios"]} == {
        ("float32", ""), ("bfloat16", "")
    }  # fmt: skip
    assert "* 5x3x2x3: 1 of 2 devices" in done.stdout
    assert {m["shape"] for m in report["compile"]} == {"100x1x32x64", "1000000x1x32x64"}
    ours = [m for m in report["memory"] if m["competitor"].startswith("ours")]
    assert all(m["compiler"] > 0 and m["growth"] >= 0 for m in ours)
    assert {t["shape"] for t in report["sweep"]} == {"4x4x2x3", "8x4x2x3"}
    assert {"linen", "nnx"} <= {r["peer"] for r in report["ratios"]}
    models = {
        *WRAPPERS.values(),
        *(f"{name}, {n} device{'s' * (n > 1)}" for name in WRAPPERS for n in (1, 2)),
    }
    assert {t["competitor"] for t in report["wrappers"]} == {
        *models, *(f"{name}, bfloat16" for name in models)
    }  # fmt: skip
    assert report["versions"]["jax"]
    assert report["machine"]["cores"] >= 1
    for word in ("training step, ms", "forward pass, ms", "time of a peer", "by T", "bars", "MB",
                 "one step, us", "overlap", "bfloat16 / float32 of ours"):  # fmt: skip
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 120
    assert (folder / "ratios.png").stat().st_size > 10_000
    flags = (folder / "flags.txt").read_text()
    assert "--devices=2" in flags
    assert "--methods=scan" in flags


# A shell starts a background job with SIGINT ignored, and what the job starts ignores it too.
LISTENS = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


def test_ctrl_c_keeps_what_was_measured_and_leaves_no_process(tmp_path):
    folder = tmp_path / "run"
    arguments = ["--sections=sweep", "--peers=", "--methods=scan", "--rounds=100000"]
    own = command(*arguments, "--sweep=4,8", "--devices=1", f"--run_dir={folder}")
    process = subprocess.Popen(
        [sys.executable, "-c", LISTENS, *own],
        cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"BENCHMARK_TEST_RUN": str(tmp_path)},
    )  # fmt: skip
    for line in process.stderr:
        if ": round " in line:
            process.send_signal(signal.SIGINT)
            break
    out, err = process.communicate(timeout=240)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted; measured so far: 1" in err
    assert "by T" in out
    report = results(folder)
    assert not report["complete"]
    assert len(report["sweep"]) == 1
    assert f"--resume={folder} measures the rest" in " ".join(err.split())
    assert not marked(f"BENCHMARK_TEST_RUN={tmp_path}")


def marked(variable):
    """Processes that have the variable in their environment."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            if variable in path.read_bytes().decode(errors="replace").split("\0"):
                found.append(path.parent.name)
        except OSError:
            continue
    return found


MISTAKES = {
    "flag": (["--shape=1"], 2, "shape: got an unknown option; did you mean shapes?"),
    "argument": (["lstm"], 2, "unexpected argument 'lstm'"),
    "shape": (["--shapes=1024x16x32"], 2, "got '1024x16x32', expected TxBxDxH"),
    "zero": (["--shapes=0x1x1x1"], 2, "got '0x1x1x1', expected TxBxDxH"),
    "no shape": (["--shapes="], 2, "shapes: got nothing, expected one or more"),
    "shape twice": (["--shapes=1x1x1x1,1x1x1x1"], 2, "got 1x1x1x1 twice"),
    "memory shape": (["--memory_shapes=many"], 2, "got 'many', expected TxBxDxH"),
    "cell": (["--cells=ltsm"], 2, "did you mean lstm?"),
    "method": (["--methods=scam"], 2, "did you mean scan?"),
    "peer": (["--peers=troch"], 2, "did you mean torch?"),
    "section": (["--sections=sped"], 2, "did you mean speed?"),
    "precision": (["--precision=bf16"], 2, "got 'bf16', expected"),
    "latency": (["--latency_shapes=2x1x1x1"], 2, "got 2x1x1x1, expected 1xBxDxH"),
    "python": (["--pythons=/none/python"], 1, "pythons: got '/none/python', expected the path"),
    "rounds": (["--rounds=0"], 2, "rounds: got 0, expected at least 1"),
    "sweep": (["--sweep=0,4"], 2, "sweep: got 0, expected at least 1"),
    "devices": (["--devices=none"], 2, "got 'none', expected auto or a positive number"),
    "folder": (["--run_dir=/proc/none", "--devices=1"], 1, "/proc/none cannot be written"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_line_for_a_mistake(mistake, tmp_path, capsys):
    arguments, status, text = MISTAKES[mistake]
    if not any(a.startswith("--run_dir") for a in arguments):
        arguments = [*arguments, f"--run_dir={tmp_path / 'run'}"]
    assert app.execute(EXPERIMENT, arguments) == status
    printed = capsys.readouterr().err
    assert text in printed
    assert printed.count("\n") == 1
    assert printed.startswith("benchmark: error: ")
    assert not (tmp_path / "run").exists()


def test_ratios_and_means():
    assert ratio(3.0, 2.0) == 1.5
    assert ratio(None, 2.0) is None
    assert geometric_mean([1.0, 4.0, None, 2.0]) == pytest.approx(2.0)
    assert geometric_mean([None]) is None
    timing = Timing(case(ONE), {}, [4.0, 1.0, 2.0, 3.0, 10.0])
    assert timing.median == 3.0
    assert timing.quartiles == (2.0, 4.0)
    assert Timing(case(ONE), {}, [2.0]).quartiles == (2.0, 2.0)
    # Enough calls for .05 s, and one before them that does not count; a long call stands alone.
    assert calls_for(0.02) == 4
    assert calls_for(0.3) == 1
    assert calls_for(1e-6) == 11


def case(worker, method="fused", mode="train", shape=SHAPE):
    return Case(worker, "lstm", "" if worker.framework == "torch" else method, mode, shape)


def test_bars_by_hand():
    torch, linen = Worker("torch", 2), Worker("linen", 1)
    small, large = Shape(2, 2, 2, 2), Shape(4, 2, 2, 2)
    seconds = {
        case(TWO, shape=small): 1.0,
        case(TWO, shape=large): 2.0,
        case(torch, shape=small): 2.0,
        case(torch, shape=large): 16.0,
        Case(linen, "lstm", "", "train", small): 3.0,
        case(ONE, "scan", shape=small): 3.0,
        case(ONE, shape=small): 2.0,
        Case(ONE, "lstm", "limit", "forward", small): 0.25,
    }
    timings = [Timing(one, {}, [s]) for one, s in seconds.items()]
    found = {
        bar.name: bar for bar in bars(Times(timings, ["fused"], 2, 2), [small, large], ["lstm"], 2)
    }
    # sqrt(2/1 * 16/2) = 4
    torch_bar = found["lstm training: torch (2 threads) / ours"]
    assert torch_bar.value == pytest.approx(4.0)
    assert (torch_bar.low, torch_bar.high, torch_bar.shapes) == (2.0, 8.0, 2)
    assert found["lstm training: linen / ours"].value == pytest.approx(3.0)
    assert found["lstm training, 1 device: scan / fused"].value == pytest.approx(1.5)
    # 1 / (3 * .25)
    assert found["lstm training: ours / (3 x large products)"].value == pytest.approx(4 / 3)
    assert "lstm training: nnx / ours" not in found


def test_what_computes_something_else_is_found():
    good = {case(ONE, "scan"): (1.0, 2.0), case(TWO): (1.0, 2.0001), case(ONE): (1.00005, 2.0)}
    assert disagreeing(good) == []
    bad = {case(TWO): (1.0, 4.0), case(Worker("torch", 1)): (1.001, 2.0)}
    assert disagreeing(good | bad) == list(bad)
    forward = {
        case(ONE, "scan", mode="forward"): (1.0, None),
        case(TWO, mode="forward"): (2.0, None),
    }
    assert disagreeing(forward) == [case(TWO, mode="forward")]
    # Peers with weights of their own are not compared.
    assert (
        disagreeing(good | {Case(Worker("linen", 1), "lstm", "", "train", SHAPE): (9.0, 9.0)}) == []
    )


def test_shapes():
    assert parse_shape(" 7x1x2x3") == Shape(7, 1, 2, 3)
    assert str(Shape(7, 1, 2, 3)) == "7x1x2x3"


FAKE = """
import json, os, sys, time
for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "run" and {action!r} == "die":
        print("no room", file=sys.stderr, flush=True)
        os.abort()
    if request["do"] == "run" and {action!r} == "stall":
        time.sleep(1000)
    loss = 2.0 if {action!r} == "lie" else 1.0
    reply = dict(loss=loss, norm=1.0, seconds=[0.5] * request.get("repeats", 0))
    print(json.dumps(reply), flush=True)
"""


def fake(action):
    return [sys.executable, "-c", FAKE.format(action=action)]


@pytest.mark.parametrize(
    ("action", "text"),
    [("die", "died with SIGABRT: no room"), ("stall", "no answer within 3 s, ended")],
)
def test_a_worker_that_fails_does_not_stop_the_others(action, text):
    actions = {("ours", 1): "work", ("torch", 1): action}
    notes, errors, timings = [], [], []
    log = Log(notes.append, errors.append, lambda *_: None)
    begun = time.monotonic()
    with Pool(lambda worker: Process(fake(actions[worker[:2]]), 3.0)) as pool:
        cases = [case(ONE, "scan"), case(Worker("torch", 1)), case(ONE)]
        assert len(pool.start([c.worker for c in cases[:2]], lambda *_: None)) == 2
        measure(cases, pool, Plan(3, 1, 0), log, timings)
        assert pool.alive(ONE)
        assert not pool.alive(Worker("torch", 1))
    assert not pool.alive(ONE)
    assert [t.case for t in timings] == [cases[0], cases[2]]
    assert all(t.seconds == [0.5] * 3 for t in timings)
    assert errors == [f"6x4x2x3 lstm, torch, 1 thread, warm-up 1: {text}"]
    assert time.monotonic() - begun < 60


def test_what_is_wrong_is_not_timed():
    actions = {("ours", 1): "work", ("torch", 1): "lie", ("linen", 1): "lie"}
    linen = Case(Worker("linen", 1), "lstm", "", "train", SHAPE)
    cases = [case(ONE, "fused"), case(Worker("torch", 1)), linen]
    errors, timings = [], []
    with Pool(lambda worker: Process(fake(actions[worker[:2]]), 60.0)) as pool:
        pool.start([ONE, *[c.worker for c in cases[1:]]], lambda *_: None)
        log = Log(print, errors.append, lambda *_: None)
        measure(cases, pool, Plan(2, 1, 0), log, timings)
    # A peer with weights of its own has a loss of its own; scan is the reference, not a competitor.
    assert [t.case for t in timings] == [cases[0], linen]
    (line,) = errors
    assert "torch, 1 thread, train: wrong, not timed" in line
    assert "(2.0, 1.0), expected (1.0, 1.0)" in line


def test_what_a_process_is_asked_after_its_end():
    with Process(fake("die"), 10.0) as process:
        for _ in range(2):
            with pytest.raises(WorkerError, match="died with SIGABRT"):
                process.ask({"do": "run"})
    with pytest.raises(WorkerError, match="ended before"):
        process.ask({"do": "run"})
