"""The sections of the benchmark: speed, sweep, compile, memory, wrappers.

Each fills its part of a record.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from experiments.benchmark.cases import (
    NOTES,
    Case,
    Shape,
    Worker,
    cases_for,
    encode,
    workers_for,
    wrapper_cases,
)
from experiments.benchmark.process import Pool, WorkerError
from experiments.benchmark.timing import Log, Plan, Timing, measure, work_of
from seqmodels.training.progress import ProgressDisplay

COMPILE_SHAPES = (Shape(100, 1, 32, 64), Shape(1_000_000, 1, 32, 64))


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is compared with what, and how often. methods[0] is what "ours" means in a ratio."""

    cells: list[str]
    methods: list[str]
    peers: list[str]
    devices: int
    cores: int
    plan: Plan
    stall_seconds: float
    memory_budget: str | None
    drivers: list[str]


@dataclasses.dataclass
class Record:
    """What was measured so far, what is to be said about it, and what was wrong.

    save: called whenever there is more.
    """

    speed: list[Timing] = dataclasses.field(default_factory=list)
    sweep: list[Timing] = dataclasses.field(default_factory=list)
    compile: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    memory: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    wrappers: list[Timing] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    errors: list[str] = dataclasses.field(default_factory=list)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    save: Callable[[], None] = lambda: None

    @property
    def measured(self) -> int:
        """How many figures there are."""
        timings = len(self.speed) + len(self.sweep) + len(self.wrappers)
        return timings + len(self.compile) + len(self.memory)


@contextmanager
def _logged(record: Record, total: float) -> Iterator[Log]:
    with ProgressDisplay(total) as progress:

        def keep(lines: list[str], text: str) -> None:
            if text not in lines:
                lines.append(text)
                progress.note(text)

        yield Log(
            note=lambda text: keep(record.notes, text),
            error=lambda text: keep(record.errors, f"error: {text}"),
            done=progress.update,
        )


def _start(pool: Pool, workers: Sequence[Worker], record: Record, log: Log) -> list[Worker]:
    """Returns the workers that run; a peer that is not installed is a note."""

    def fail(worker: Worker, text: str) -> None:
        if text.endswith("is not installed"):
            log.note(f"{worker.framework}: left out, {text}")
        else:
            log.error(f"{worker}: {text}")

    running = pool.start(workers, fail)
    record.versions.update(pool.versions)
    for worker in running:
        if worker.framework in NOTES:
            log.note(NOTES[worker.framework])
    return running


def speed(shapes: Sequence[Shape], settings: Settings, record: Record) -> None:
    """Times all competitors at all shapes."""
    workers = workers_for(settings.peers, settings.devices, settings.cores)
    plan = {s: cases_for(s, settings.cells, settings.methods, workers) for s in shapes}
    _time(plan, workers, settings, record, record.speed)


def sweep(shapes: Sequence[Shape], settings: Settings, record: Record) -> None:
    """Times a training step of the LSTM, ours and torch, at all lengths."""
    peers = [peer for peer in settings.peers if peer == "torch"]
    workers = [Worker("ours", settings.devices), *[Worker(p, settings.cores) for p in peers]]
    plan = {
        s: [c for c in cases_for(s, ["lstm"], settings.methods[:1], workers) if c.mode == "train"]
        for s in shapes
    }
    # What ours under scan gives on one device is what the others are checked against.
    workers = list(dict.fromkeys([Worker("ours", 1), *workers]))
    _time(plan, workers, settings, record, record.sweep)


def wrappers(shapes: Sequence[Shape], settings: Settings, record: Record) -> None:
    """Times training steps of Flax's models, with Flax's RNN and with that of this library."""
    plan = {s: wrapper_cases(s, settings.cells, settings.devices) for s in shapes}
    workers = list(dict.fromkeys(case.worker for cases in plan.values() for case in cases))
    _time(plan, workers, settings, record, record.wrappers)


def _time(
    plan: dict[Shape, list[Case]],
    workers: Sequence[Worker],
    settings: Settings,
    record: Record,
    timings: list[Timing],
) -> None:
    turns = 2 * settings.plan.warmups + settings.plan.rounds
    total = turns * sum(work_of(case) for cases in plan.values() for case in cases)
    with _logged(record, total) as log, Pool(settings.stall_seconds) as pool:
        missing: set[Worker] = set()
        for cases in plan.values():
            # Those that died at the shape before start afresh; those that could not start do not.
            running = _start(pool, [w for w in workers if w not in missing], record, log)
            missing = set(workers) - set(running)
            measure([c for c in cases if c.worker in running], pool, settings.plan, log, timings)
            record.save()


def compile_times(settings: Settings, record: Record) -> None:
    """Measures how long ours takes to compile at a short and at a very long sequence."""
    worker = Worker("ours", 1)
    cases = [
        Case(worker, cell, method, "train", shape)
        for cell in settings.cells
        for method in settings.drivers
        for shape in COMPILE_SHAPES
    ]
    with _logged(record, len(cases)) as log, Pool(settings.stall_seconds) as pool:
        for case in cases:
            if not _start(pool, [worker], record, log):
                return
            try:
                request = {"do": "compile", "case": encode(case), "budget": None}
                reply = pool.ask(worker, request)
                record.compile.append(_named(case) | reply)
                record.save()
            except WorkerError as error:
                _tell(case, error, log)
            log.done("compile", f"{case.cell}, {case.method}, T={case.shape.T}", 1)


def memory(shapes: Sequence[Shape], settings: Settings, record: Record) -> None:
    """Measures the growth of memory in a training step of the LSTM, a process for each."""
    ours = [(Worker("ours", 1), method) for method in settings.drivers]
    counts = {"torch": settings.cores, "linen": 1}
    peers = [(Worker(p, counts[p]), "") for p in settings.peers if p in counts]
    cases = [
        Case(worker, "lstm", method, "train", shape)
        for shape in shapes
        for worker, method in [*ours, *peers]
    ]
    with _logged(record, sum(map(work_of, cases))) as log:
        for case in cases:
            with Pool(settings.stall_seconds) as pool:
                if _start(pool, [case.worker], record, log):
                    request = {"do": "memory", "case": encode(case)}
                    try:
                        reply = pool.ask(case.worker, request | {"budget": settings.memory_budget})
                        record.memory.append(_named(case) | reply)
                        record.save()
                    except WorkerError as error:
                        _tell(case, error, log)
            log.done("memory", f"{case.shape}, {case.label}", work_of(case))


def _tell(case: Case, error: WorkerError, log: Log) -> None:
    if error.kind == "TypeError" and case.worker.framework == "ours":
        log.note(f"{case.method} does not run {case.cell}")
    else:
        log.error(f"{case.shape} {case.cell}, {case.label}: {error}")


def _named(case: Case) -> dict[str, Any]:
    return {"shape": str(case.shape), "cell": case.cell, "competitor": case.label}
