"""The report of the benchmark: tables, a plot, results.json."""

import datetime
import os
import pathlib
import platform
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from experiments.benchmark import tables
from experiments.benchmark.cases import MODES, PEERS, Shape
from experiments.benchmark.ratios import Bar, Times, bars, ratio, wrapper_bars
from experiments.benchmark.sections import Record, Settings
from experiments.benchmark.timing import Timing
from experiments.common.terminal import PlainConsole
from seqmodels import plots
from seqmodels.training.run_directory import RunDirectory

RATIOS = "ratios.png"
WIDTH = 120


def machine(settings: Settings, kind: str) -> dict[str, Any]:
    """Returns what the times depend on besides the code."""
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
    wanted = ("model name", "model", "cpu family")
    names = [f"{k.strip()} {v.strip()}" for k, _, v in fields if k.strip() in wanted]
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
        self._log = directory.metrics_log()
        self._about = about
        self._told = 0

    def _times(self) -> Times:
        s = self._settings
        return Times(self._record.speed, s.methods, s.devices, s.cores)

    def write(self, *, complete: bool) -> None:
        """Writes results.json with all that was measured so far."""
        record = self._record
        for timing in [*record.speed, *record.sweep, *record.wrappers][self._told :]:
            self._log.append(_timing(timing))
            self._told += 1
        self._directory.write_results(self.results(complete=complete))

    def results(self, *, complete: bool) -> dict[str, Any]:
        """Returns the content of results.json."""
        record = self._record
        return {
            "complete": complete,
            **self._about,
            "versions": dict(sorted(record.versions.items())),
            "notes": record.notes,
            "errors": record.errors,
            "ratios": self._ratios(),
            "bars": [bar._asdict() for bar in self._bars()],
            "speed": list(map(_timing, record.speed)),
            "sweep": list(map(_timing, record.sweep)),
            "compile": record.compile,
            "memory": record.memory,
            "wrappers": list(map(_timing, record.wrappers)),
        }

    def show(self, *, complete: bool) -> None:
        """Writes results.json and the plot, and the tables to standard output."""
        self.write(complete=complete)
        record, s = self._record, self._settings
        width = max(PlainConsole().width, WIDTH, 25 + 19 * len(self._shapes))
        console = PlainConsole(width=width)
        times = self._times()
        if record.speed:
            self._plot()
            for mode in MODES:
                console.print(tables.speed(record.speed, mode, self._shapes, s.cells))
            for mode in MODES:
                console.print(self._ratio_table(times, mode))
        if record.sweep:
            console.print(tables.sweep(record.sweep))
        if record.compile:
            console.print(tables.compile_times(record.compile))
        if record.memory:
            console.print(tables.memory(record.memory))
        if record.wrappers:
            shown = tables.wrappers(record.wrappers, self._shapes, s.cells, s.devices)
            console.print(tables.speed(record.wrappers, "train", self._shapes, s.cells))
            console.print(shown)
        found = self._bars()
        if found:
            console.print(tables.bars(found))
        for line in [*tables.remarks(record.speed), *record.notes, *record.errors]:
            console.print(line, markup=False)
        console.print(f"{self._about['machine']['cpu']}, {s.cores} cores", markup=False)
        console.print(f"results: {self._directory.path}", markup=False, soft_wrap=True)

    def _bars(self) -> list[Bar]:
        s, record = self._settings, self._record
        found = bars(self._times(), self._shapes, s.cells, s.cores)
        return found + wrapper_bars(record.wrappers, self._shapes, s.cells, s.devices)

    def _ratio_table(self, times: Times, mode: str) -> Table:
        s = self._settings
        return tables.ratios(
            times, mode, self._shapes, cells=s.cells, peers=s.peers, devices=s.devices
        )

    def _ratios(self) -> list[dict[str, Any]]:
        times = self._times()
        return [
            {"cell": cell, "mode": mode, "peer": peer, "shape": str(shape), "ratio": value}
            for cell in self._settings.cells
            for mode in MODES
            for peer in self._settings.peers
            for shape in self._shapes
            if (value := ratio(times.peer(peer, cell, mode, shape), times.ours(cell, mode, shape)))
        ]

    def _plot(self) -> None:
        found = self._ratios()
        panels: dict[str, dict[str, list[float]]] = {}
        for cell in self._settings.cells:
            for mode in MODES:
                for peer in PEERS:
                    own = {
                        r["shape"]: r["ratio"]
                        for r in found
                        if (r["cell"], r["mode"], r["peer"]) == (cell, mode, peer)
                    }
                    if own:
                        heights = [own.get(str(shape), float("nan")) for shape in self._shapes]
                        panels.setdefault(f"{cell}, {mode}", {})[peer] = heights
        if panels:
            plots.ratios_by_shape(
                list(map(str, self._shapes)),
                panels,
                title=f"Time of a peer / time of ours ({self._settings.methods[0]}, "
                f"{self._settings.devices} devices); above 1 ours is faster",
            ).savefig(self._directory.file(RATIOS))


def _timing(timing: Timing) -> dict[str, Any]:
    low, high = timing.quartiles
    case = timing.case
    return {
        "shape": str(case.shape),
        "cell": case.cell,
        "mode": case.mode,
        "competitor": case.label,
        "about": timing.about,
        "median": timing.median,
        "low": low,
        "high": high,
        "seconds": timing.seconds,
    }
