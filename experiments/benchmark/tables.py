"""The tables of the benchmark's report, readable at 120 columns."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich import box
from rich.table import Table

from experiments.benchmark.cases import PEERS, WRAPPERS, Case, Shape, Worker
from experiments.benchmark.ratios import Bar, Times, geometric_mean, ratio, wrapper_ratio
from experiments.benchmark.timing import Timing

MEGABYTE = 1e6


def _table(title: str, first: str, columns: Iterable[str]) -> Table:
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
    table = _table(
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
    times: Times,
    mode: str,
    shapes: Sequence[Shape],
    *,
    cells: list[str],
    peers: list[str],
    devices: int,
) -> Table:
    """Returns peer / ours, ours on all devices and on one, with geometric means."""
    both = devices > 1
    table = _table(
        f"{'training' if mode == 'train' else 'forward'}: time of a peer / time of ours"
        + (f" on {devices} devices | on 1" if both else "")
        + "; above 1 ours is faster; mean: geometric. Last: ours / limit"
        + (", three products." if mode == "train" else "."),
        "",
        [*map(str, shapes), "mean"],
    )

    def row(label: str, one: Callable[[Shape, int], float | None]) -> None:
        columns = [[one(shape, count) for shape in shapes] for count in (devices, 1)]
        if not any(value for column in columns for value in column):
            return
        for column in columns:
            column.append(geometric_mean(column))
        pairs = zip(*columns, strict=True)
        table.add_row(label, *[" | ".join(map(_ratio, p[: 1 + both])) for p in pairs])

    for cell in cells:
        table.add_section()
        for peer in [peer for peer in peers if cell in PEERS[peer]]:
            for threads in (0, 1) if peer == "torch" else (0,):

                def over_ours(
                    shape: Shape, count: int, at: tuple[str, str, int] = (cell, peer, threads)
                ) -> float | None:
                    own, name, threads = at
                    above = times.peer(name, own, mode, shape, threads)
                    return ratio(above, times.ours(own, mode, shape, count))

                row(f"{cell}: {peer}{', 1 thread' if threads else ''}", over_ours)

        def over_limit(shape: Shape, count: int, cell: str = cell) -> float | None:
            return ratio(times.ours(cell, mode, shape, count), times.limit(cell, mode, shape))

        row(f"{cell}: ours / limit", over_limit)
    return table


def wrappers(
    timings: Sequence[Timing], shapes: Sequence[Shape], cells: list[str], devices: int
) -> Table:
    """Returns Flax / the same model with the RNN of this library, with geometric means."""
    counts = sorted({1, devices}, reverse=True)
    on = " | ".join(f"on {count}" for count in counts)
    table = _table(
        f"training step: time of Flax's model / time with our RNN in it, {on} devices; above 1 "
        "ours is faster; mean: geometric.",
        "",
        [*map(str, shapes), "mean"],
    )
    for cell in cells:
        for wrapper, peer in WRAPPERS.items():
            columns = [
                [wrapper_ratio(timings, wrapper, cell, shape, count) for shape in shapes]
                for count in counts
            ]
            if any(value for column in columns for value in column):
                for column in columns:
                    column.append(geometric_mean(column))
                pairs = zip(*columns, strict=True)
                table.add_row(f"{cell}: {peer}", *[" | ".join(map(_ratio, p)) for p in pairs])
    return table


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
    table = _table(title, "T", columns)
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
    table = _table("ours: seconds to trace, lower and compile a training step", "", shapes)
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
    table = _table(
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
    """Returns the bars: geometric means, and the range over shapes."""
    columns = ["geometric mean", "from", "to", "shapes"]
    table = _table("bars: ours on all devices where not said otherwise", "", columns)
    for bar in found:
        low, high = f"{bar.low:.2f}", f"{bar.high:.2f}"
        table.add_row(bar.name, f"{bar.value:.2f}", low, high, str(bar.shapes))
    return table


def remarks(timings: Sequence[Timing]) -> list[str]:
    """Returns lines about what the times do not show: what "auto" picked, and spare devices."""
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
