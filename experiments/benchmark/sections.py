"""The sections of the benchmark that time or weigh whole sequences.

They are speed, sweep, wrappers, shares, compile and memory; latency times single steps by the same
rounds. Each fills its part of a record, unit by unit.
"""

from collections.abc import Sequence
from typing import Any

from experiments.benchmark import latency, shares
from experiments.benchmark.cases import (
    PEERS,
    Case,
    Shape,
    Worker,
    cases_for,
    encode,
    workers_for,
    wrapper_cases,
)
from experiments.benchmark.process import Pool, WorkerError
from experiments.benchmark.record import Record, Settings, logged, start
from experiments.benchmark.timing import Log, measure, work_of

COMPILE_SHAPES = (Shape(100, 1, 32, 64), Shape(1_000_000, 1, 32, 64))


def speed(shapes: Sequence[Shape], settings: Settings, record: Record) -> None:
    """Times all competitors at all shapes."""
    s = settings
    peers = [peer for peer in s.peers if peer in PEERS]
    workers = workers_for(peers, s.devices, s.cores, s.homes)
    plan = {shape: cases_for(shape, s.cells, s.methods, workers, s.precisions) for shape in shapes}
    _time("speed", plan, settings, record)


def sweep(shapes: Sequence[Shape], settings: Settings, record: Record) -> None:
    """Times a training step of the LSTM, ours and torch, at all lengths."""
    s = settings
    peers = [peer for peer in s.peers if peer == "torch"]
    homes = {name: versions[:1] for name, versions in s.homes.items()}
    workers = [
        worker
        for worker in workers_for(peers, s.devices, s.cores, homes)
        if worker.number == (s.cores if worker.framework == "torch" else s.devices)
    ]
    plan = {
        shape: [
            case
            for case in cases_for(shape, ["lstm"], s.methods[:1], workers)
            if case.mode == "train"
        ]
        for shape in shapes
    }
    _time("sweep", plan, settings, record)


def wrappers(shapes: Sequence[Shape], settings: Settings, record: Record) -> None:
    """Times training steps of Flax's models, with Flax's RNN and with that of this library."""
    s = settings
    plan = {
        shape: wrapper_cases(shape, s.cells, s.devices, s.precisions, s.versions)
        for shape in shapes
    }
    _time("wrappers", plan, settings, record)


def share_times(shapes: Sequence[Shape], settings: Settings, record: Record) -> None:
    """Times ours on one device, whole and without products, activations or both."""
    s = settings
    plan = {
        shape: shares.cases(shape, s.cells, s.methods[0], s.precisions, s.versions)
        for shape in shapes
    }
    _time("shares", plan, settings, record)


def latencies(shapes: Sequence[Shape], settings: Settings, record: Record) -> None:
    """Times single steps."""
    s = settings
    plan = {shape: latency.cases(shape, s.cells, s.peers, s.homes) for shape in shapes}
    _time("latency", plan, settings, record)


def _time(section: str, plan: dict[Shape, list[Case]], settings: Settings, record: Record) -> None:
    """Times the cases of each shape that is not finished; a shape is a unit."""
    plan = {s: cases for s, cases in plan.items() if (section, str(s)) not in record.units}
    turns = 2 * settings.plan.warmups + settings.plan.rounds
    total = turns * sum(work_of(case) for cases in plan.values() for case in cases)
    timings = record.section(section)
    with logged(record, total) as log, Pool(settings.connect) as pool:
        missing: set[Worker] = set()
        for shape, cases in plan.items():
            # The others are checked against our scan on one device.
            own = [Worker("ours", 1, case.worker.jax) for case in cases]
            workers = list(dict.fromkeys([*own, *(case.worker for case in cases)]))
            # Workers that died at the shape before start again; those that could not start do not.
            running = start(pool, [w for w in workers if w not in missing], record, log)
            missing |= set(workers) - set(running)
            begin = len(timings)
            measure([c for c in cases if c.worker in running], pool, settings.plan, log, timings)
            record.finish(section, str(shape), timings[begin:])


def compile_times(settings: Settings, record: Record) -> None:
    """Measures how long ours takes to compile at a short and at a very long sequence."""
    worker = Worker("ours", 1, settings.versions[0])
    cases = [
        Case(worker, cell, method, "train", shape)
        for cell in settings.cells
        for method in settings.drivers
        for shape in COMPILE_SHAPES
    ]
    with logged(record, len(cases)) as log, Pool(settings.connect) as pool:
        for case in cases:
            if not start(pool, [worker], record, log):
                return
            _ask("compile", case, pool, record, log, budget=None)
            log.done("compile", f"{case.cell}, {case.method}, T={case.shape.T}", 1)


def memory(shapes: Sequence[Shape], settings: Settings, record: Record) -> None:
    """Measures the growth of memory in a training step of the LSTM, a process for each."""
    s = settings
    ours = [(Worker("ours", 1, s.versions[0]), method) for method in s.drivers]
    counts = {"torch": s.cores, "linen": 1}
    peers = [
        (Worker(peer, counts[peer], s.homes.get(peer, ("",))[0]), "")
        for peer in s.peers
        if peer in counts
    ]
    cases = [
        Case(worker, "lstm", method, "train", shape)
        for shape in shapes
        for worker, method in [*ours, *peers]
    ]
    with logged(record, sum(map(work_of, cases))) as log:
        for case in cases:
            with Pool(s.connect) as pool:
                unit = ("memory", _unit(case))
                if unit not in record.units and start(pool, [case.worker], record, log):
                    _ask("memory", case, pool, record, log, budget=s.memory_budget)
            log.done("memory", f"{case.shape}, {case.label}", work_of(case))


def _ask(section: str, case: Case, pool: Pool, record: Record, log: Log, **more: Any) -> None:
    """Asks for one row of a section, which is a unit, unless it is finished."""
    if (section, _unit(case)) in record.units:
        return
    try:
        reply = pool.ask(case.worker, {"do": section, "case": encode(case), **more})
    except WorkerError as error:
        if error.kind == "TypeError" and case.worker.framework == "ours":
            log.note(f"{case.method} does not run {case.cell}")
        else:
            log.error(f"{case.shape} {case.cell}, {case.label}: {error}")
        return
    row = {"shape": str(case.shape), "cell": case.cell, "competitor": case.label} | reply
    record.section(section).append(row)
    record.finish(section, _unit(case), [row])


def _unit(case: Case) -> str:
    return f"{case.shape} {case.cell}, {case.label}"
