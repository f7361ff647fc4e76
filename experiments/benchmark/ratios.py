"""Ratios of median times, geometric means over shapes, and targets."""

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from experiments.benchmark.cases import MODES, WITHOUT_JAX, WRAPPERS, Case, Shape, Worker
from experiments.benchmark.timing import REFERENCE, Timing

TRAINING_OVER_FORWARD = 3  # large products in a training step, for each in a forward pass
BAR_SHAPES = 4
NAMES = {"train": "training", "forward": "forward"}


class Bar(NamedTuple):
    """The geometric mean of ratios over shapes, and their range."""

    name: str
    value: float
    low: float
    high: float
    shapes: int


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """The competitors of one version of JAX at one precision, and what they share with the others.

    name: suffix of the rows in tables, such as ", bfloat16"; may be "".
    timings: timings with cases as if in float32 on the only JAX, so that all views are alike.
    """

    name: str
    jax: str
    precision: str
    timings: list[Timing]


def views(timings: Sequence[Timing]) -> list[View]:
    """Returns a view for each version of JAX and each precision that ours was timed in."""
    ours = [timing.case for timing in timings if timing.case.worker.framework not in WITHOUT_JAX]
    found = []
    for precision, jax in dict.fromkeys((case.precision, case.worker.jax) for case in ours):
        own = [
            timing._replace(case=_plain(timing.case))
            for timing in timings
            if timing.case.precision == precision
            and (timing.case.worker.jax == jax or timing.case.worker.framework in WITHOUT_JAX)
        ]
        parts = [f"JAX {jax}" if jax else "", precision if precision != "float32" else ""]
        name = "".join(f", {part}" for part in parts if part)
        found.append(View(name, jax, precision, own))
    return found


def _plain(case: Case) -> Case:
    return case._replace(worker=case.worker._replace(jax=""), precision="float32")


class Times:
    """The medians of all cases of a view, found by their description."""

    def __init__(self, timings: Iterable[Timing], methods: Sequence[str], devices: int, cores: int):
        """Stores the timings; `method`, the first of `methods`, on all `devices` is "ours"."""
        self._medians = {timing.case: timing.median for timing in timings}
        self.method = methods[0]
        self._devices = devices
        self._cores = cores

    def ours(
        self, cell: str, mode: str, shape: Shape, devices: int = 0, method: str = ""
    ) -> float | None:
        """Returns our median in seconds, None where it was not measured. 0 devices: all."""
        worker = Worker("ours", devices or self._devices)
        return self._medians.get(Case(worker, cell, method or self.method, mode, shape))

    def peer(
        self, framework: str, cell: str, mode: str, shape: Shape, threads: int = 0
    ) -> float | None:
        """Returns a peer's median; 0 threads: for torch as many as there are cores."""
        count = (threads or self._cores) if framework == "torch" else 1
        return self._medians.get(Case(Worker(framework, count), cell, "", mode, shape))

    def limit(self, cell: str, mode: str, shape: Shape) -> float | None:
        """Returns the time of the multiply-adds alone, as large products."""
        one = self._medians.get(Case(Worker("ours", 1), cell, "limit", "forward", shape))
        return one and one * (TRAINING_OVER_FORWARD if mode == "train" else 1)


def ratio(above: float | None, below: float | None) -> float | None:
    """Returns above / below, None where one of them is missing."""
    return above / below if above and below else None


def geometric_mean(values: Iterable[float | None]) -> float | None:
    """Returns the geometric mean of the ratios that exist; None without any."""
    there = [value for value in values if value is not None]
    return math.exp(statistics.fmean(map(math.log, there))) if there else None


def precision_bars(
    times: dict[View, Times], shapes: Sequence[Shape], cells: Iterable[str]
) -> list[Bar]:
    """Returns the targets: low precision / float32 of ours, on all devices."""
    found = []
    for low in times:
        for full in times:
            if low.precision == "float32" or full.precision != "float32" or low.jax != full.jax:
                continue
            for cell in cells:
                for mode in MODES:
                    values = [
                        ratio(times[low].ours(cell, mode, s), times[full].ours(cell, mode, s))
                        for s in shapes
                    ]
                    name = f"{cell} {NAMES[mode]}: {low.precision} / float32 of ours"
                    name += f", JAX {low.jax}" if low.jax else ""
                    found += _bar(name, values)
    return found


def _bar(name: str, values: Iterable[float | None]) -> list[Bar]:
    """Returns the target of the measured ratios, or nothing."""
    there = [value for value in values if value is not None]
    mean = geometric_mean(there)
    return [] if mean is None else [Bar(name, mean, min(there), max(there), len(there))]


def wrapper_ratio(
    timings: Iterable[Timing], wrapper: str, cell: str, shape: Shape, devices: int
) -> float | None:
    """Returns the time of Flax's model / the time with the RNN of this library in it."""
    medians = {timing.case: timing.median for timing in timings}
    flax = Case(Worker(WRAPPERS[wrapper], 1), cell, "", "train", shape)
    return ratio(medians.get(flax), medians.get(flax._replace(worker=Worker(wrapper, devices))))


def wrapper_bars(
    timings: Sequence[Timing], shapes: Sequence[Shape], cells: Iterable[str], devices: int
) -> list[Bar]:
    """Returns the targets of the wrappers, on one device and on all."""
    found = []
    for cell in cells:
        for wrapper, peer in WRAPPERS.items():
            for count in sorted({1, devices}):
                values = [wrapper_ratio(timings, wrapper, cell, s, count) for s in shapes]
                on = "1 device" if count == 1 else f"{count} devices"
                found += _bar(f"{cell} training: {peer} / {wrapper} ({on})", values)
    return found


def bars(times: Times, shapes: Sequence[Shape], cells: Iterable[str], cores: int) -> list[Bar]:
    """Returns the targets that the measurements allow to compute."""
    first = list(shapes)[:BAR_SHAPES]
    found: list[Bar] = []

    def add(name: str, over: Sequence[Shape], one: Callable[[Shape], float | None]) -> None:
        found.extend(_bar(name, map(one, over)))

    def against(peer: str, mode: str, threads: int = 0) -> Callable[[Shape], float | None]:
        return lambda shape: ratio(
            times.peer(peer, "lstm", mode, shape, threads), times.ours("lstm", mode, shape)
        )

    add(f"lstm training: torch ({cores} threads) / ours", first, against("torch", "train"))
    for peer in ("linen", "nnx"):
        add(f"lstm training: {peer} / ours", first, against(peer, "train"))
    add(f"lstm forward: torch ({cores} threads) / ours", first, against("torch", "forward"))
    for cell in cells:

        def over_scan(shape: Shape, cell: str = cell) -> float | None:
            return ratio(
                times.ours(cell, "train", shape, 1, REFERENCE),
                times.ours(cell, "train", shape, 1),
            )

        if times.method != REFERENCE:
            add(f"{cell} training, 1 device: {REFERENCE} / {times.method}", first, over_scan)
    for cell in cells:

        def over_limit(shape: Shape, cell: str = cell) -> float | None:
            return ratio(times.ours(cell, "train", shape), times.limit(cell, "train", shape))

        add(f"{cell} training: ours / (3 x large products)", shapes, over_limit)
    return found
