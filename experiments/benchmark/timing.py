"""Timing of the competitors of one shape: in shuffled rounds, each in its own process.

Whatever slows the machine for a while then slows all of them alike, and medians and their ratios
hold.
"""

import contextlib
import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from experiments.benchmark.cases import STEP, WRAPPERS, Case, Worker, encode
from experiments.benchmark.process import Pool, WorkerError

SETTLE = 0.01  # threads of the one before were seen to spin for up to 3 ms after its answer
TURN = 0.05  # calls that are shorter are made several times a turn
MOST_CALLS = 10
# Steps of a turn, and how many at its beginning do not count: they find the caches of another.
BLOCK, BLOCK_BEGIN = 1010, 10
# Of loss and gradient norm, against float32. Gradients that are summed in bfloat16 over 2,048
# steps, as some competitors do, are up to 23% off.
TOLERANCES = {"float32": 1e-4, "tf32": 1e-2, "bfloat16": 0.2}
REFERENCE = "scan"
SAME_WEIGHTS = ("ours", "torch", "torch.cuda", "onnxruntime", *WRAPPERS)


class Plan(NamedTuple):
    """rounds that count, warm-up rounds that do not, the seed of their order."""

    rounds: int
    warmups: int
    seed: int


class Timing(NamedTuple):
    """A case, what its worker said about it, and the seconds of a call in every round.

    Of single steps, seconds are the percentiles 0 to 100 of all steps.
    """

    case: Case
    about: dict[str, Any]
    seconds: list[float]

    @property
    def median(self) -> float:
        """Half of the rounds took less."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """A quarter of the rounds took less than the first, a quarter more than the second."""
        if len(self.seconds) == 1:
            return self.seconds[0], self.seconds[0]
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, high

    @property
    def percentile_99(self) -> float:
        """99 of 100 steps took less; of a `STEP` alone."""
        return self.seconds[99]


class Log(NamedTuple):
    """Receives notes, errors and progress.

    note: takes a line to remember. error: takes one about what is wrong. done: takes what is
    measured, what was done there, and how much work that was.
    """

    note: Callable[[str], None]
    error: Callable[[str], None]
    done: Callable[[str, str, float], None]


class _Session(NamedTuple):
    """Values that the steps of one measurement share: numbers of the cases, workers, plan, log."""

    numbers: dict[Case, int]
    pool: Pool
    plan: Plan
    log: Log


def work_of(case: Case) -> float:
    """Returns roughly how long a call takes, in a unit of its own."""
    T, B, D, H = case.shape
    steps = (BLOCK if case.mode == STEP else T) * (2 + B * H * (D + H) / 1e5)
    return steps * (3 if case.mode == "train" else 1) / (20 if case.method == "limit" else 1)


def measure(
    cases: Sequence[Case],
    pool: Pool,
    plan: Plan,
    log: Log,
    timings: list[Timing],
    *,
    with_references: bool = True,
) -> None:
    """Prepares, checks and times cases of one shape, whose workers run.

    A worker that fails loses its remaining turns, the others continue.

    Args:
      cases: competitors, also such as do not apply; those are left out.
      pool: their workers, ours on one device among them.
      plan: numbers of rounds.
      log: receives what happens.
      timings: receives the timings in the order of `cases`, also after Ctrl-C.
      with_references: whether the cases are checked against their references, which are run once.
        Otherwise only those are checked whose reference is among the cases.
    """
    taken: dict[Case, list[float]] = {}
    about: dict[Case, dict[str, Any]] = {}
    try:
        references = []
        if with_references:
            whole = [case for case in cases if not case.variant]
            references = [case for case in map(_reference, whole) if pool.alive(case.worker)]
        every = list(dict.fromkeys([*references, *cases]))
        numbers = {case: number for number, case in enumerate(every)}
        session = _Session(numbers, pool, plan, log)
        about = _prepare(session, every, set(cases))
        _rounds(session, [case for case in cases if case in about], taken)
        for worker in {case.worker for case in every}:
            if pool.alive(worker):
                with contextlib.suppress(WorkerError):
                    pool.ask(worker, {"do": "drop"})
    finally:
        for case in cases:
            seconds = taken.get(case)
            if seconds and case.mode == STEP:
                about[case]["steps"] = len(seconds)
                seconds = percentiles(seconds)
            if seconds:
                timings.append(Timing(case, about[case], seconds))


def _prepare(
    session: _Session, cases: Sequence[Case], timed: set[Case]
) -> dict[Case, dict[str, Any]]:
    """Builds every case; returns remarks on those that run and compute what they should."""
    numbers, pool, plan, log = session
    about, results = {}, {}
    failed: set[Worker] = set()
    for case in cases:
        work = work_of(case) * plan.warmups if case in timed else 0
        log.done(str(case.shape), f"compiling {case.cell}, {case.label}", work)
        if case.worker in failed:
            continue
        try:
            request = {"do": "prepare", "number": numbers[case], "case": encode(case)}
            reply = pool.ask(case.worker, request)
        except WorkerError as error:
            if error.kind == "TypeError" and case.worker.framework == "ours":
                if case.mode == "train":
                    log.note(f"{case.method} does not run {case.cell}")
            else:
                log.error(f"{case.shape} {case.cell}, {case.label}: {error}")
            if not pool.alive(case.worker):
                failed.add(case.worker)
            continue
        about[case] = reply.get("about", {})
        if "loss" in reply and not case.variant:
            results[case] = (reply["loss"], reply["norm"])
            about[case]["loss"] = reply["loss"]
    for case in disagreeing(results):
        got, expected = results[case], results[_reference(case)]
        log.error(
            f"{case.shape} {case.cell}, {case.label}, {case.mode}: wrong, not timed: loss and "
            f"gradient norm {got}, expected {expected}"
        )
        del about[case]
    return about


def _reference(case: Case) -> Case:
    """Returns the case that computes the same: `scan` of ours, or Flax for one of our wrappers.

    It is in float32, but for a wrapper, whose reference has its precision.
    """
    worker = case.worker
    if worker.framework in WRAPPERS:
        return case._replace(worker=Worker(WRAPPERS[worker.framework], 1, worker.jax))
    method = "stream" if case.mode == STEP else REFERENCE
    return Case(Worker("ours", 1, worker.jax), case.cell, method, case.mode, case.shape)


def disagreeing(results: dict[Case, tuple[float, float | None]]) -> list[Case]:
    """Returns the cases that do not compute what their reference computes.

    Args:
      results: loss, and norm of the gradient or None, of every case that ran. Ours and torch are
        compared with ours under scan, because they start from the same weights. Our wrappers are
        compared with Flax, because they start from Flax's weights. The other peers start from their
        own.

    Returns:
      Those whose loss or norm is off by more than the tolerance of their precision.
    """
    wrong = []
    for case, result in results.items():
        expected = results.get(_reference(case))
        if case.worker.framework not in SAME_WEIGHTS or expected is None:
            continue
        tolerance = TOLERANCES[case.precision]
        pairs = [
            (got, want) for got, want in zip(result, expected, strict=True) if want is not None
        ]
        if not all(
            got is not None and math.isclose(got, want, rel_tol=tolerance, abs_tol=1e-30)
            for got, want in pairs
        ):
            wrong.append(case)
    return wrong


def _rounds(session: _Session, cases: list[Case], taken: dict[Case, list[float]]) -> None:
    numbers, pool, plan, log = session
    order = random.Random(plan.seed)
    calls = {case: BLOCK if case.mode == STEP else 1 for case in cases}
    for turn in range(-plan.warmups, plan.rounds):
        for case in order.sample(cases, len(cases)):
            if not pool.alive(case.worker):
                continue
            name = f"warm-up {turn + plan.warmups + 1}" if turn < 0 else f"round {turn + 1}"
            time.sleep(SETTLE)
            try:
                request = {"do": "run", "number": numbers[case], "repeats": calls[case]}
                seconds = pool.ask(case.worker, request)["seconds"]
            except WorkerError as error:
                log.error(f"{case.shape} {case.cell}, {case.label}, {name}: {error}")
                continue
            if case.mode == STEP:
                counted = seconds[BLOCK_BEGIN:]
            else:
                # The first of several finds the caches as the one before left them.
                counted = [statistics.median(seconds[1:] or seconds)]
                calls[case] = calls_for(counted[0])
            if turn >= 0:
                taken.setdefault(case, []).extend(counted)
            log.done(str(case.shape), name, work_of(case))


def calls_for(seconds: float) -> int:
    """Returns how many calls of that length make a turn: one, or a first that does not count."""
    if seconds >= 4 * TURN:
        return 1
    return 1 + min(MOST_CALLS, max(1, math.ceil(TURN / max(seconds, 1e-9))))


def percentiles(seconds: Sequence[float]) -> list[float]:
    """Returns the percentiles 0, 1, ..., 100."""
    if len(seconds) == 1:
        return list(seconds) * 101
    inner = statistics.quantiles(seconds, n=100, method="inclusive")
    return [min(seconds), *inner, max(seconds)]
