"""How the competitors of one shape are timed: in turns, in shuffled rounds, each in its process.

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

from experiments.benchmark.cases import WRAPPERS, Case, Worker, encode
from experiments.benchmark.process import Pool, WorkerError

SETTLE = 0.01  # threads of the one before were seen to spin for up to 3 ms after its answer
TURN = 0.05  # calls that are shorter are made several times a turn
MOST_CALLS = 10
TOLERANCE = 1e-4
REFERENCE = "scan"


class Plan(NamedTuple):
    """rounds that count, warm-up rounds that do not, the seed of their order."""

    rounds: int
    warmups: int
    seed: int


class Timing(NamedTuple):
    """A case, what its worker said about it, and the seconds of a call in every round."""

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


class Log(NamedTuple):
    """Where to tell what happens.

    note: takes a line to remember. error: takes one about what is wrong. done: takes what is
    measured, what was done there, and how much work that was.
    """

    note: Callable[[str], None]
    error: Callable[[str], None]
    done: Callable[[str, str, float], None]


class _Session(NamedTuple):
    """What the steps of one measurement share: numbers of the cases, workers, plan, log."""

    numbers: dict[Case, int]
    pool: Pool
    plan: Plan
    log: Log


def work_of(case: Case) -> float:
    """Returns roughly how long a call takes, in a unit of its own."""
    T, B, D, H = case.shape
    steps = T * (2 + B * H * (D + H) / 1e5)
    return steps * (3 if case.mode == "train" else 1) / (20 if case.method == "limit" else 1)


def measure(cases: Sequence[Case], pool: Pool, plan: Plan, log: Log, timings: list[Timing]) -> None:
    """Prepares, checks and times cases of one shape; all of their workers are to run.

    A worker that fails loses what is left of its turns, the others go on.

    Args:
      cases: competitors, also such as do not apply; those are left out.
      pool: their workers, ours on one device among them.
      plan: how often.
      log: where to tell what happens.
      timings: what was timed is appended, in the order of `cases`; after Ctrl-C too.
    """
    taken: dict[Case, list[float]] = {}
    about: dict[Case, dict[str, Any]] = {}
    try:
        references = [case for case in map(_reference, cases) if pool.alive(case.worker)]
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
        timings += [Timing(case, about[case], taken[case]) for case in cases if taken.get(case)]


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
        if "loss" in reply:
            results[case] = (reply["loss"], reply["norm"])
    for case in disagreeing(results):
        got, wanted = results[case], results[_reference(case)]
        log.error(
            f"{case.shape} {case.cell}, {case.label}, {case.mode}: wrong, not timed: loss and "
            f"gradient norm {got}, expected {wanted}"
        )
        del about[case]
    return about


def _reference(case: Case) -> Case:
    """Returns the case that computes the same: `scan` of ours, or Flax for one of our wrappers."""
    if case.worker.framework in WRAPPERS:
        return case._replace(worker=Worker(WRAPPERS[case.worker.framework], 1))
    return Case(Worker("ours", 1), case.cell, REFERENCE, case.mode, case.shape)


def disagreeing(results: dict[Case, tuple[float, float | None]]) -> list[Case]:
    """Returns the cases that do not compute what their reference computes.

    Args:
      results: loss, and norm of the gradient or None, of every case that ran. Ours and torch are
        compared with ours under scan, because they start from the same weights, and our wrappers
        with Flax, because they start from Flax's weights. The other peers start from their own.
    """
    wrong = []
    for case, result in results.items():
        wanted = results.get(_reference(case))
        if case.worker.framework not in ("ours", "torch", *WRAPPERS) or wanted is None:
            continue
        pairs = [(got, want) for got, want in zip(result, wanted, strict=True) if want is not None]
        if not all(
            got is not None and math.isclose(got, want, rel_tol=TOLERANCE, abs_tol=1e-30)
            for got, want in pairs
        ):
            wrong.append(case)
    return wrong


def _rounds(session: _Session, cases: list[Case], taken: dict[Case, list[float]]) -> None:
    numbers, pool, plan, log = session
    order = random.Random(plan.seed)
    calls = dict.fromkeys(cases, 1)
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
            # The first of several finds the caches as the one before left them.
            second = statistics.median(seconds[1:] or seconds)
            calls[case] = calls_for(second)
            if turn >= 0:
                taken.setdefault(case, []).append(second)
            log.done(str(case.shape), name, work_of(case))


def calls_for(seconds: float) -> int:
    """Returns how many calls of that length make a turn: one, or a first that does not count."""
    if seconds >= 4 * TURN:
        return 1
    return 1 + min(MOST_CALLS, max(1, math.ceil(TURN / max(seconds, 1e-9))))
