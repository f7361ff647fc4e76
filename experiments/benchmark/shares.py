"""The section shares: products, activations and the rest of a step's time.

Four programs are timed in interleaved rounds, on one device: ours as it is, without products,
without activations, and without both (`experiments.benchmark.substitution`). Then

    products    = (whole - without products) / whole
    activations = (whole - without activations) / whole
    rest        = without both / whole

The rest is the loop, elementwise arithmetic and memory. Each of the three is measured by itself, so
their sum is 100% only if they do not overlap. 100% less the sum is the column "overlap". It is the
error of the method, positive if the parts overlap in the whole program, such as arithmetic that
hides behind loads. A product with an inner dimension of 2 still writes its gates, which counts as
rest. An activation's linear replacement is one multiply-add, which counts as rest too.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.table import Table

from experiments.benchmark.cases import MODES, Case, Shape, Worker, runs
from experiments.benchmark.tables import make_table, milliseconds
from experiments.benchmark.timing import Timing

NO_PRODUCTS, NO_ACTIVATIONS, NEITHER = "no products", "no activations", "neither"
VARIANTS = ("", NO_PRODUCTS, NO_ACTIVATIONS, NEITHER)
# Arguments of `substitution.without`.
LEFT_OUT = {
    NO_PRODUCTS: {"products": True},
    NO_ACTIVATIONS: {"activations": True},
    NEITHER: {"products": True, "activations": True},
}


class Shares(NamedTuple):
    """Seconds of the whole, and the shares of its parts."""

    seconds: float
    products: float
    activations: float
    rest: float

    @property
    def overlap(self) -> float:
        """The whole minus the parts."""
        return 1 - self.products - self.activations - self.rest


def cases(
    shape: Shape,
    cells: Iterable[str],
    method: str,
    precisions: Sequence[str],
    versions: Sequence[str] = ("",),
) -> list[Case]:
    """Returns the programs at a shape."""
    return [
        Case(Worker("ours", 1, version), cell, method, mode, shape, precision, variant)
        for cell in cells
        for precision in precisions
        for version in versions
        if runs(Worker("ours", 1), cell, precision)
        for mode in MODES
        for variant in VARIANTS
    ]


def shares(timings: Sequence[Timing]) -> dict[Case, Shares]:
    """Returns the shares of every program of which all four variants were timed."""
    medians = {timing.case: timing.median for timing in timings}
    found = {}
    for case, whole in medians.items():
        parts = [medians.get(case._replace(variant=variant)) for variant in VARIANTS[1:]]
        if not case.variant and None not in parts:
            products, activations, rest = (part / whole for part in parts if part is not None)
            found[case] = Shares(whole, 1 - products, 1 - activations, rest)
    return found


def table(timings: Sequence[Timing]) -> Table:
    """Returns the shares, a row for every program."""
    shown = make_table(
        "ours, 1 device: shares of the time; overlap: 100% minus the three",
        "",
        ["ms", "products", "activations", "rest", "overlap"],
    )
    for case, found in shares(timings).items():
        label = f"{case.shape} {case.cell} {case.mode}, {case.precision}"
        if case.worker.jax:
            label += f", JAX {case.worker.jax}"
        percent = [f"{100 * value:.0f}%" for value in (*found[1:], found.overlap)]
        shown.add_row(label, milliseconds(found.seconds), *percent)
    return shown
