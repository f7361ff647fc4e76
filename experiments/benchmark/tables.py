"""The tables of the benchmark's report, readable at 120 columns."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich import box
from rich.table import Table

from experiments.benchmark.cases import PEERS, WRAPPERS, Case, Shape, Worker
from experiments.benchmark.ratios import (
    Bar,
    Times,
    View,
    geometric_mean,
    ratio,
    wrapper_ratio,
)
from experiments.benchmark.timing import Timing

MEGABYTE = 1e6
OfShape = Callable[[Shape, int], float | None]  # (shape, number of our devices) -> seconds


def make_table(title: str, first: str, columns: Iterable[str]) -> Table:
    """Returns an empty table: a title above it, a column of names, columns of numbers."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def milliseconds(seconds: float) -> str:
    """Returns the milliseconds with about three digits."""
    value = 1e3 * seconds
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3}f}"


def _spread(timing: Timing) -> str:
    low, high = map(milliseconds, timing.quartiles)
    fewer = timing.about.get("devices", timing.case.worker.number) < timing.case.worker.number
    return f"{'*' if fewer else ''}{milliseconds(timing.median)} ({low}-{high})"


def speed(timings: Sequence[Timing], mode: str, shapes: Sequence[Shape], cells: list[str]) -> Table:
    """Returns the times of all competitors, a column a shape."""
    what = "training step" if mode == "train" else "forward pass"
    table = make_table(
        f"{what}, ms: median (quartiles), by TxBxDxH. limit: the multiply-adds of a forward pass "
        "as one large product.",
        "",
        map(str, shapes),
    )
    found = {(t.case.cell, t.case.label, t.case.shape): t for t in timings if t.case.mode == mode}
    for cell in cells:
        labels = dict.fromkeys(label for own, label, _ in found if own == cell)
        if not labels:
            continue
        table.add_section()
        table.add_row(cell)
        for label in labels:
            row = [found.get((cell, label, shape)) for shape in shapes]
            table.add_row(f"  {label}", *[_spread(t) if t else "-" for t in row])
    return table


def ratios(
    times: dict[View, Times],
    mode: str,
    shapes: Sequence[Shape],
    *,
    cells: list[str],
    peers: list[str],
    devices: int,
) -> Table:
    """Returns peer / ours, ours on all devices and on one, with geometric means.

    A precision below float32 has the row ours / ours in float32 too.
    """
    table = make_table(
        f"{'training' if mode == 'train' else 'forward'}: time of a peer / time of ours"
        + (f" on {devices} devices | on 1" if devices > 1 else "")
        + "; above 1 ours is faster; mean: geometric. Last: ours / limit"
        + (", three products." if mode == "train" else "."),
        "",
        [*map(str, shapes), "mean"],
    )

    def row(label: str, above: OfShape, below: OfShape) -> None:
        counts = sorted({1, devices}, reverse=True)
        columns = [[ratio(above(s, n), below(s, n)) for s in shapes] for n in counts]
        _ratio_row(table, label, columns)

    for cell in cells:
        table.add_section()
        for view, own in times.items():
            ours = functools.partial(own.ours, cell, mode)
            for peer in [peer for peer in peers if cell in PEERS.get(peer, ())]:
                for threads in (0, 1) if peer == "torch" else (0,):
                    label = f"{cell}: {peer}{', 1 thread' if threads else ''}{view.name}"
                    row(label, _of_shape(own.peer, peer, cell, mode, threads=threads), ours)
            row(f"{cell}: ours / limit{view.name}", ours, _of_shape(own.limit, cell, mode))
            for full, others in times.items():
                if full.jax == view.jax and full.precision == "float32" != view.precision:
                    in_full = functools.partial(others.ours, cell, mode)
                    row(f"{cell}: ours / ours in float32{view.name}", ours, in_full)
    return table


def _of_shape(function: Callable[..., float | None], *arguments: str, **options: int) -> OfShape:
    """Returns (shape, number of devices) -> time of what does not depend on the devices."""
    return lambda shape, _: function(*arguments, shape, **options)


def wrappers(
    views: Sequence[View], shapes: Sequence[Shape], cells: list[str], devices: int
) -> Table:
    """Returns Flax / the same model with the RNN of this library, with geometric means."""
    counts = sorted({1, devices}, reverse=True)
    on = " | ".join(f"on {count}" for count in counts)
    table = make_table(
        f"training step: time of Flax's model / time with our RNN in it, {on} devices; above 1 "
        "ours is faster; mean: geometric.",
        "",
        [*map(str, shapes), "mean"],
    )
    for cell in cells:
        for view in views:
            for wrapper, peer in WRAPPERS.items():
                _ratio_row(table, f"{cell}: {peer}{view.name}", [
                    [wrapper_ratio(view.timings, wrapper, cell, s, count) for s in shapes]
                    for count in counts
                ])  # fmt: skip
    return table


def _ratio_row(table: Table, label: str, columns: Sequence[list[float | None]]) -> None:
    """Adds a row of ratios "a | b" with their geometric means, unless nothing was measured."""
    if any(value for column in columns for value in column):
        whole = [[*column, geometric_mean(column)] for column in columns]
        table.add_row(label, *[" | ".join(map(_ratio, p)) for p in zip(*whole, strict=True)])


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def sweep(timings: Sequence[Timing]) -> Table:
    """Returns the time of a training step by T: grows it linearly, time / T stays the same."""
    shape = timings[0].case.shape
    workers = dict.fromkeys((t.case.worker, t.case.method) for t in timings)
    columns = []
    for worker, method in workers:
        label = Case(worker, "lstm", method, "train", shape).label
        columns += [f"{label}, ms", "us / T"]
    title = f"lstm, training step by T (B, D, H = {shape.B}, {shape.D}, {shape.H})"
    table = make_table(title, "T", columns)
    for length in dict.fromkeys(t.case.shape.T for t in timings):
        cells = []
        for key in workers:
            own = [
                t
                for t in timings
                if (t.case.worker, t.case.method, t.case.shape.T) == (*key, length)
            ]
            per_step = f"{1e6 * own[0].median / length:.2f}" if own else "-"
            cells += [_spread(own[0]) if own else "-", per_step]
        table.add_row(str(length), *cells)
    return table


def compile_times(measured: Sequence[dict[str, Any]]) -> Table:
    """Returns the medians of the time to compile a training step, by length."""
    shapes = list(dict.fromkeys(m["shape"] for m in measured))
    table = make_table("ours: seconds to trace, lower and compile a training step", "", shapes)
    found = {(m["cell"], m["competitor"], m["shape"]): m["seconds"] for m in measured}
    for cell, competitor in dict.fromkeys(key[:2] for key in found):
        row = [sorted(found.get((cell, competitor, shape), [])) for shape in shapes]
        table.add_row(
            f"{cell}, {competitor}", *[f"{s[len(s) // 2]:.2f}" if s else "-" for s in row]
        )
    return table


def memory(measured: Sequence[dict[str, Any]]) -> Table:
    """Returns the growth of memory by competitor, and what the compiler said beforehand."""
    clocks = " and ".join(dict.fromkeys(m["how"] for m in measured))
    table = make_table(
        f"lstm, training step: growth of the process's memory, MB ({clocks})",
        "",
        ["measured", "by the compiler"],
    )
    table.add_column("plan", overflow="fold")
    for m in measured:
        said = f"{m['compiler'] / MEGABYTE:.0f}" if m["compiler"] else "-"
        plan = m["about"].get("plan") or "-"
        label = f"{m['shape']} {m['competitor']}"
        table.add_row(label, f"{m['growth'] / MEGABYTE:.0f}", said, plan)
    return table


def bars(found: Sequence[Bar]) -> Table:
    """Returns the table of targets: geometric means, and the range over shapes."""
    columns = ["geometric mean", "from", "to", "shapes"]
    table = make_table("targets: ours on all devices unless stated otherwise", "", columns)
    for bar in found:
        low, high = f"{bar.low:.2f}", f"{bar.high:.2f}"
        table.add_row(bar.name, f"{bar.value:.2f}", low, high, str(bar.shapes))
    return table


def remarks(timings: Sequence[Timing]) -> list[str]:
    """Returns remarks: the choice of "auto", and unused devices."""
    lines = []
    picked: dict[str, dict[str, None]] = {}
    fewer: dict[Worker, dict[str, int]] = {}
    for timing in timings:
        case, about = timing.case, timing.about
        if case.method == "auto":
            where = f"{case.cell}" if case.mode == "train" else f"{case.cell} forward"
            picked.setdefault(about["method"], {})[where] = None
        if about.get("devices", case.worker.number) < case.worker.number:
            fewer.setdefault(case.worker, {})[str(case.shape)] = about["devices"]
    for method, names in picked.items():
        lines.append(f"auto picked {method} for {', '.join(names)}")
    for worker, at in fewer.items():
        for shape, used in at.items():
            lines.append(f"* {shape}: {used} of {worker.number} devices, which divides the batch")
    if any(timing.case.worker.framework not in ("ours", "torch") for timing in timings):
        lines.append("linen, nnx, haiku, equinox: one device; none spreads a batch by itself")
    return lines
