"""The rows of the section gpu, the most important first.

A row is one check of a driver against scan, or one timed training step. First come all checks, then
LSTM and GRU at the middle shape. Then come drivers that are parallel in time, at the first two
lengths. The other shapes follow by the time that they take, and the longest sequences are last.
"""

from collections.abc import Sequence
from typing import NamedTuple

from experiments.benchmark.cases import Case, Shape, Worker

PEERS = ("linen", "torch.cuda")
# Our GRU that has Flax's and torch's equations, so that all rows of a cell compute the same.
CELLS = ("lstm", "gru_after")
PRECISIONS = ("float32", "tf32", "bfloat16")
LONG_BATCH, LONG_INPUTS = 4, 32
# Cell, hidden units, drivers.
LONG = (("lru", 64, ("scan", "associative")), ("gru_after", 32, ("fused", "scan", "newton")))
CHECK_SHAPE = Shape(130, 9, 24, 40)


class Sizes(NamedTuple):
    """Sizes that are timed: T and H of LSTM and GRU, their batch, T of the long sequences."""

    steps: Sequence[int]
    hidden: Sequence[int]
    batch: int
    long: Sequence[int]


class Check(NamedTuple):
    """A driver that is compared with scan in float32."""

    cell: str
    method: str
    precision: str
    shape: Shape

    @property
    def key(self) -> str:
        """The unit of the record."""
        return f"check {self.cell} {self.method} {self.precision} {self.shape}"


def checks(shape: Shape) -> list[Check]:
    """Returns all checks. scan itself is checked in lower precision, as the measure of it."""
    ways = {
        "lstm": ("fused", "chunked", "newton"),
        "gru": ("fused",),  # two stages
        "gru_after": ("fused", "newton"),
        "rnn": ("fused",),
        "lru": ("associative",),
    }
    found = [Check(cell, way, "float32", shape) for cell, own in ways.items() for way in own]
    found += [
        Check(cell, method, precision, shape)
        for precision in ("tf32", "bfloat16")
        for cell in CELLS
        for method in ("scan", "fused")
    ]
    return [*found, *(Check("lstm", "cudnn", name, shape) for name in ("float32", "tf32"))]


def timed(sizes: Sizes) -> list[Case]:
    """Returns all training steps that are timed."""
    middle = _middle(sizes.steps), _middle(sizes.hidden)
    shapes = [
        Shape(steps, sizes.batch, hidden, hidden)
        for steps in sizes.steps
        for hidden in sizes.hidden
    ]
    shapes.sort(key=lambda s: (middle != (s.T, s.H), s.T * s.H, s.T))
    long = [
        Case(Worker("ours", 1), cell, method, "train", Shape(T, LONG_BATCH, LONG_INPUTS, hidden))
        for T in sizes.long
        for cell, hidden, methods in LONG
        for method in methods
    ]
    early = [case for case in long if case.shape.T in sizes.long[:2]]
    late = [case for case in long if case not in early]
    return [*_at(shapes[0]), *early, *(case for s in shapes[1:] for case in _at(s)), *late]


def key(case: Case) -> str:
    """Returns the unit of the record."""
    return f"time {case.shape} {case.cell}, {case.label}"


def _middle(values: Sequence[int]) -> int:
    return sorted(values)[len(values) // 2]


def _at(shape: Shape) -> list[Case]:
    """Returns LSTM and GRU at a shape: ours by driver, then the peers, by precision."""
    found = []
    for cell in CELLS:
        for precision in PRECISIONS:
            ways = [("ours", "fused"), ("ours", "scan")]
            if cell == "lstm" and precision != "bfloat16":
                ways.append(("ours", "cudnn"))
            ways += [(peer, "") for peer in PEERS]
            found += [
                Case(Worker(framework, 1), cell, method, "train", shape, precision)
                for framework, method in ways
            ]
    return found
