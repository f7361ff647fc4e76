"""The report of the benchmark: tables, a plot, results.json."""

import datetime
import itertools
import os
import pathlib
import platform
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from experiments.benchmark import latency, shares, tables
from experiments.benchmark.cases import MODES, PEERS, Case, Shape
from experiments.benchmark.gpu import tables as gpu_tables
from experiments.benchmark.ratios import (
    Bar,
    Times,
    View,
    bars,
    precision_bars,
    ratio,
    views,
    wrapper_bars,
)
from experiments.benchmark.record import TIMED, Record, Settings
from experiments.benchmark.timing import Timing
from experiments.common.terminal import PlainConsole
from seqmodels import plots
from seqmodels.training.run_directory import RunDirectory

RATIOS = "ratios.png"
WIDTH = 120


def machine(settings: Settings, kind: str) -> dict[str, Any]:
    """Returns a description of the machine and the versions."""
    return {
        "cpu": _cpu(),
        "cores": settings.cores,
        "devices": f"{settings.devices} x {kind}",
        "system": platform.platform(),
        "python": platform.python_version(),
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "default"),
    }


def _cpu() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    fields = [line.partition(":") for line in lines]
    keys = ("model name", "model", "cpu family")
    names = [f"{k.strip()} {v.strip()}" for k, _, v in fields if k.strip() in keys]
    return ", ".join(dict.fromkeys(names)) or platform.processor()


class Report:
    """Writes and shows what a record holds."""

    def __init__(
        self,
        shapes: Sequence[Shape],
        settings: Settings,
        record: Record,
        *,
        directory: RunDirectory,
        about: dict[str, Any],
    ):
        """Stores what is compared, the record that is being filled, and where to write."""
        self._shapes = list(shapes)
        self._settings = settings
        self._record = record
        self._directory = directory
        self._about = about

    def _times(self) -> dict[View, Times]:
        s = self._settings
        return {
            view: Times(view.timings, s.methods, s.devices, s.cores)
            for view in views(self._record.section("speed"))
        }

    def write(self, *, complete: bool) -> None:
        """Writes results.json with all that was measured so far."""
        self._directory.write_results(self.results(complete=complete))

    def results(self, *, complete: bool) -> dict[str, Any]:
        """Returns the content of results.json."""
        record = self._record
        plain = {
            name: list(map(_timing, rows)) if name in TIMED else rows
            for name, rows in record.rows.items()
        }
        return {
            "complete": complete,
            **self._about,
            "versions": dict(sorted(record.versions.items())),
            "left": record.left,
            "notes": record.notes,
            "errors": record.errors,
            "ratios": self._ratios(),
            "bars": [bar._asdict() for bar in self._bars()],
            **plain,
            "shares_of_time": [
                _named(case) | found._asdict() | {"overlap": found.overlap}
                for case, found in shares.shares(record.section("shares")).items()
            ],
        }

    def show(self, *, complete: bool) -> None:
        """Writes results.json and the plot, and the tables to standard output."""
        self.write(complete=complete)
        record, s = self._record, self._settings
        labels = [timing.case.label for timing in record.section("speed")]
        columns = 4 + max(map(len, labels), default=21) + 19 * len(self._shapes)
        width = max(PlainConsole().width, WIDTH, columns)
        console = PlainConsole(width=width)
        if record.section("speed"):
            self._plot()
        for table in self._tables():
            console.print(table)
        lines = tables.remarks(record.section("speed"))
        lines += gpu_tables.rules(record.section("gpu"))
        if record.left:
            lines.append(
                f"the time is up, {record.left} rows are left; --resume={self._directory.path} "
                "measures them"
            )
        for line in [*lines, *record.notes, *record.errors]:
            console.print(line, markup=False)
        console.print(f"{self._about['machine']['cpu']}, {s.cores} cores", markup=False)
        console.print(f"results: {self._directory.path}", markup=False, soft_wrap=True)

    def _tables(self) -> list[Table]:
        """Returns the tables of all that was measured."""
        s, rows, shapes = self._settings, self._record.section, self._shapes
        times, found = self._times(), []
        if rows("speed"):
            found += [tables.speed(rows("speed"), mode, shapes, s.cells) for mode in MODES]
            found += [
                tables.ratios(times, mode, shapes, cells=s.cells, peers=s.peers, devices=s.devices)
                for mode in MODES
            ]
        if rows("sweep"):
            found.append(tables.sweep(rows("sweep")))
        if rows("compile"):
            found.append(tables.compile_times(rows("compile")))
        if rows("memory"):
            found.append(tables.memory(rows("memory")))
        if rows("wrappers"):
            found.append(tables.speed(rows("wrappers"), "train", shapes, s.cells))
            found.append(tables.wrappers(views(rows("wrappers")), shapes, s.cells, s.devices))
        if rows("latency"):
            found.append(latency.table(rows("latency")))
        if rows("shares"):
            found.append(shares.table(rows("shares")))
        found += gpu_tables.tables(rows("gpu"))
        measured_bars = self._bars()
        return found + ([tables.bars(measured_bars)] if measured_bars else [])

    def _bars(self) -> list[Bar]:
        s, times = self._settings, self._times()
        found: list[Bar] = []
        for view, own in times.items():
            of_view = bars(own, self._shapes, s.cells, s.cores)
            found += [bar._replace(name=bar.name + view.name) for bar in of_view]
        found += precision_bars(times, self._shapes, s.cells)
        for view in views(self._record.section("wrappers")):
            of_view = wrapper_bars(view.timings, self._shapes, s.cells, s.devices)
            found += [bar._replace(name=bar.name + view.name) for bar in of_view]
        return found

    def _ratios(self) -> list[dict[str, Any]]:
        return [
            {
                "cell": cell, "mode": mode, "peer": peer, "shape": str(shape), "ratio": value,
                "precision": view.precision, "jax": view.jax,
            }
            for view, times in self._times().items()
            for cell in self._settings.cells
            for mode in MODES
            for peer in self._settings.peers
            for shape in self._shapes
            if (value := ratio(times.peer(peer, cell, mode, shape), times.ours(cell, mode, shape)))
        ]  # fmt: skip

    def _plot(self) -> None:
        found = self._ratios()
        panels: dict[str, dict[str, list[float]]] = {}
        for view in self._times():
            for cell, mode, peer in itertools.product(self._settings.cells, MODES, PEERS):
                own = {
                    r["shape"]: r["ratio"]
                    for r in found
                    if (r["cell"], r["mode"], r["peer"]) == (cell, mode, peer)
                    and (r["precision"], r["jax"]) == (view.precision, view.jax)
                }
                if own:
                    heights = [own.get(str(shape), float("nan")) for shape in self._shapes]
                    panels.setdefault(f"{cell}, {mode}{view.name}", {})[peer] = heights
        if panels:
            plots.ratios_by_shape(
                list(map(str, self._shapes)),
                panels,
                title=f"Time of a peer / time of ours ({self._settings.methods[0]}, "
                f"{self._settings.devices} devices); above 1 ours is faster",
            ).savefig(self._directory.file(RATIOS))


def _named(case: Case) -> dict[str, Any]:
    return {
        "shape": str(case.shape),
        "cell": case.cell,
        "mode": case.mode,
        "precision": case.precision,
        "competitor": case.label,
    }


def _timing(timing: Timing) -> dict[str, Any]:
    low, high = timing.quartiles
    return _named(timing.case) | {
        "about": timing.about,
        "median": timing.median,
        "low": low,
        "high": high,
        "seconds": timing.seconds,
    }
