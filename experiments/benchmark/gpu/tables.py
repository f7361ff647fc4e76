"""The tables of the section gpu, and the rule for "auto" that its times suggest."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from experiments.benchmark.cases import Shape
from experiments.benchmark.gpu.rows import PEERS
from experiments.benchmark.gpu.rule import propose
from experiments.benchmark.ratios import ratio
from experiments.benchmark.tables import make_table, milliseconds

Row = dict[str, Any]
Group = tuple[str, str, bool]  # cell, precision, whether the sequences are long


def tables(rows: Sequence[Row]) -> list[Table]:
    """Returns the checks, and the times by cell, precision and shape; [] without rows."""
    found = []
    checks = [row for row in rows if row["kind"] == "check"]
    if checks:
        found.append(_checks(checks))
    for group in _groups(rows):
        found.append(_times(group, rows))
    return found


def rules(rows: Sequence[Row]) -> list[str]:
    """Returns a line for each cell and precision: the rule to propose."""
    lines = []
    for group in _groups(rows):
        cell, precision, long = group
        by_shape = {
            shape: {name: s for name, s in seconds.items() if name not in PEERS}
            for shape, seconds in _seconds(group, rows).items()
        }
        rule = propose({shape: found for shape, found in by_shape.items() if found})
        if rule is not None:
            where = f"{cell}, {precision}{', long' if long else ''}"
            lines.append(f"auto, {where}, {len(by_shape)} shapes: {rule}")
    return lines


def _checks(checks: Sequence[Row]) -> Table:
    table = make_table(
        "drivers against scan in float32: norm of the difference / norm",
        "",
        ["values", "gradients", "final state", ""],
    )
    for row in checks:
        errors = row.get("errors")
        shown = [f"{value:.1e}" for value in errors.values()] if errors else ["-"] * 3
        end = "does not run" if errors is None else "" if row["ok"] else "DIFFERS"
        table.add_row(f"{row['cell']} {row['method']} {row['precision']}", *shown, end)
    return table


def _times(group: Group, rows: Sequence[Row]) -> Table:
    cell, precision, long = group
    by_shape = _seconds(group, rows)
    names = list(dict.fromkeys(name for seconds in by_shape.values() for name in seconds))
    # Ours first; peers last.
    names.sort(key=lambda name: name in PEERS)
    peers = [name for name in names if name in PEERS]
    table = make_table(
        f"{cell}, {precision}{', parallel in time' if long else ''}: training step, ms",
        "TxBxDxH",
        [*names, "best of ours", *(f"{peer} / best" for peer in peers)],
    )
    for shape, seconds in by_shape.items():
        ours = {name: value for name, value in seconds.items() if name not in PEERS}
        best = min(ours, key=lambda name: ours[name]) if ours else "-"
        against = [ratio(seconds.get(peer), ours.get(best)) for peer in peers]
        table.add_row(
            str(shape),
            *[milliseconds(seconds[name]) if name in seconds else "-" for name in names],
            best,
            *["-" if value is None else f"{value:.2f}" for value in against],
        )
    return table


def _groups(rows: Sequence[Row]) -> list[Group]:
    """Returns the groups of rows whose drivers compete with one another."""
    timed = [row for row in rows if row["kind"] == "time" and row["seconds"]]
    return list(dict.fromkeys((r["cell"], r["precision"], r["long"]) for r in timed))


def _seconds(group: Group, rows: Sequence[Row]) -> dict[Shape, dict[str, float]]:
    """Returns seconds by shape, in the order of T and H, and by driver or peer."""
    found: dict[Shape, dict[str, float]] = {}
    for row in rows:
        own = (row["cell"], row["precision"], row.get("long")) == group
        if own and row["kind"] == "time" and row["seconds"]:
            found.setdefault(Shape(*row["shape"]), {})[row["method"]] = row["seconds"]
    return {shape: found[shape] for shape in sorted(found, key=lambda s: (s.T, s.H))}
