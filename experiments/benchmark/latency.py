"""The section latency: single steps, as a server runs them.

A step is a call with an input of the host, x_t (B, D) in NumPy or a tensor. It ends when y_t is
there. The state is that of the step before. Each framework has one thread, except XLA, which
chooses by itself. Turns of 1,000 steps are interleaved like all other measurements.
"""

from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table

from experiments.benchmark.cases import STEP, Case, Shape, Worker
from experiments.benchmark.tables import make_table
from experiments.benchmark.timing import Timing

# stream: sm.stream. bare: the cell's step under jax.jit with a donated state, which is the floor.
# Modules of torch: nn.LSTM with T = 1, and nn.LSTMCell.
METHODS = {
    "ours": ("stream", "bare"),
    "torch": ("module", "cell"),
    "onnxruntime": ("",),
    "linen": ("",),
}
CELLS = ("lstm", "gru_after")  # those that all of them have


def cases(
    shape: Shape,
    cells: Iterable[str],
    peers: Sequence[str],
    homes: Mapping[str, Sequence[str]] | None = None,
) -> list[Case]:
    """Returns the competitors at a shape with T = 1, in float32."""
    homes = homes or {}
    return [
        Case(Worker(framework, 1, version), cell, method, STEP, shape)
        for cell in cells
        if cell in CELLS
        for framework in ("ours", *peers)
        if framework in METHODS
        for version in homes.get(framework, ("",))
        for method in METHODS[framework]
    ]


def table(timings: Sequence[Timing]) -> Table:
    """Returns median and 99th percentile in microseconds, a column a shape."""
    shapes = list(dict.fromkeys(timing.case.shape for timing in timings))
    shown = make_table(
        "one step, us: median (99th percentile), by B x D x H",
        "",
        [f"{shape.B}x{shape.D}x{shape.H}" for shape in shapes],
    )
    found = {(t.case.cell, t.case.label, t.case.shape): t for t in timings}
    for cell in dict.fromkeys(timing.case.cell for timing in timings):
        shown.add_section()
        shown.add_row(cell)
        for label in dict.fromkeys(label for own, label, _ in found if own == cell):
            row = [found.get((cell, label, shape)) for shape in shapes]
            texts = [
                f"{1e6 * t.median:.0f} ({1e6 * t.percentile_99:.0f})" if t else "-" for t in row
            ]
            shown.add_row(f"  {label}", *texts)
    return shown
