"""The report of a long-context study: a table, two plots, results.json."""

import json
import math
import platform
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from experiments.long_context.model import Measurement
from seqmodels import plots
from seqmodels.analysis.statistics import horizon_threshold, mean_interval, memory_horizon
from seqmodels.tasks.task import Task
from seqmodels.training.errors import RunError
from seqmodels.training.run_directory import METRICS, PLOTS, RESULTS, RunFolder, cannot_be_written

_BY_SEED = [name for name, kind in Measurement.__annotations__.items() if "list" in str(kind)]
SHARE = 0.9  # how much of the way from chance to perfect counts as remembering


class Study(NamedTuple):
    """tasks: the task at each distance. flags: all that decides the run, by name."""

    tasks: dict[int, Task]
    cells: list[str]
    distances: list[int]
    seeds: list[int]
    num_devices: int
    flags: dict[str, Any]

    @property
    def task(self) -> Task:
        """The task at the shortest distance; its name and its chance are those of all."""
        return self.tasks[self.distances[0]]


def line(result: Measurement) -> str:
    """Returns one line about one measurement."""
    interval = f" [{_interval_text(result)}]" if len(result.accuracy) > 1 else ""
    diverged = f", diverged: {sum(result.diverged)}" if any(result.diverged) else ""
    return (
        f"{result.cell} at distance {result.distance}: accuracy {np.mean(result.accuracy):.3f}"
        f"{interval}, {max(result.steps)} steps, {result.seconds:.1f} s{diverged}"
    )


def write(study: Study, measured: list[Measurement], folder: RunFolder, *, complete: bool) -> None:
    """Writes results.json with all that was measured so far."""
    folder.write_json(
        RESULTS,
        {
            "complete": complete,
            "task": study.task.name,
            "chance": study.task.chance,
            "chance_loss": {d: task.chance_loss for d, task in study.tasks.items()},
            "horizon_threshold": horizon_threshold(study.task.chance, SHARE),
            "horizons": {cell: _horizon(study, measured, cell) for cell in study.cells},
            "seeds": study.seeds,
            "flags": study.flags,
            "versions": {"python": platform.python_version(), "jax": jax.__version__},
            "devices": f"{study.num_devices} x {jax.devices()[0].device_kind}",
            "measurements": [
                m._asdict()
                | dict(zip(("mean", "low", "high"), mean_interval(m.accuracy), strict=True))
                for m in measured
            ],
        },
    )


def measured_in(folder: RunFolder, study: Study) -> list[Measurement]:
    """Returns what the unfinished run of a folder has measured; RunError if that cannot be."""
    found = (folder.results or {}).get("measurements", [])
    try:
        measured = [Measurement(**{name: m[name] for name in Measurement._fields}) for m in found]
        for one in measured:
            lists = [value for value in one if isinstance(value, list)]
            numbers = [number for values in lists for number in values]
            if (
                one.cell not in study.cells
                or one.distance not in study.distances
                or len(lists) != len(_BY_SEED)
                or {len(values) for values in lists} != {len(study.seeds)}
                or not all(number is None or isinstance(number, int | float) for number in numbers)
            ):
                raise ValueError
    except (KeyError, TypeError, ValueError):
        raise RunError(
            f"run_dir: {folder.path / RESULTS} is not what this study writes; give another name, "
            "or --overwrite"
        ) from None
    return measured


def end_of_measured(folder: RunFolder, measured: list[Measurement]) -> int:
    """Returns the bytes of metrics.jsonl about what has been measured; RunError if some lack."""
    lacking = {(one.cell, one.distance) for one in measured}
    done, end = set(lacking), 0
    for line in (folder.path / METRICS).read_bytes().splitlines(keepends=True):
        try:
            record = json.loads(line)
            about = (record["cell"], record["distance"])
        except (ValueError, TypeError, KeyError):
            break
        if about not in done:
            break
        lacking.discard(about)
        end += len(line)
    for cell, distance in sorted(lacking):
        raise RunError(
            f"{folder.path / METRICS} lacks the records of {cell} at distance {distance}; put them "
            "back, or begin anew with --overwrite"
        )
    return end


def show(study: Study, measured: list[Measurement], folder: RunFolder, *, complete: bool) -> None:
    """Writes the plots and results.json into the folder, and the table to standard output.

    A run is complete when all else is there.
    """
    # Wide enough for every column, also where the output is a file.
    console = Console(highlight=False, width=max(Console().width, 60 + 12 * len(study.distances)))
    if measured:
        _plot(study, measured, folder)
    write(study, measured, folder, complete=complete)
    if measured:
        console.print(_table(study, measured))
    console.print(f"results: {folder.path}", markup=False, soft_wrap=True)


def _find(measured: list[Measurement], cell: str, distance: int) -> Measurement | None:
    found = [m for m in measured if (m.cell, m.distance) == (cell, distance)]
    return found[0] if found else None


def _horizon(study: Study, measured: list[Measurement], cell: str) -> dict[str, Any]:
    """Returns the horizon of the mean over seeds, and of every seed by itself."""
    own = [m for d in study.distances if (m := _find(measured, cell, d))]
    distances = [m.distance for m in own]

    def reach(accuracies: list[float]) -> int | None:
        return memory_horizon(distances, accuracies, study.task.chance, SHARE)

    mean = reach([float(np.mean(m.accuracy)) for m in own])
    return {
        "mean": mean,
        "by_seed": [reach([m.accuracy[s] for m in own]) for s in range(len(study.seeds))],
        "is_lower_bound": bool(own) and mean == distances[-1],
    }


def _table(study: Study, measured: list[Measurement]) -> Table:
    seeds = f"mean of {len(study.seeds)} seeds" if len(study.seeds) > 1 else "1 seed"
    threshold = horizon_threshold(study.task.chance, SHARE)
    table = Table(
        title=f"{study.task.name}: test accuracy by distance, {seeds}. Horizon: the last distance "
        f"up to which the accuracy is at least {threshold:.3f}. Gradient: at what is to be "
        "remembered, over that at the answer.",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("distance", no_wrap=True)
    for distance in study.distances:
        table.add_column(str(distance), justify="right", no_wrap=True)
    table.add_column("horizon", justify="right", no_wrap=True)
    table.add_column("of each seed", no_wrap=True)
    table.add_row("without memory", *[f"{study.task.chance:.3f}"] * len(study.distances))
    losses = [study.tasks[d].chance_loss for d in study.distances]
    table.add_row("  loss", *[f"{loss:.3g}" for loss in losses])
    for cell in study.cells:
        found = [_find(measured, cell, d) for d in study.distances]
        horizon = _horizon(study, measured, cell)
        bound = ">= " if horizon["is_lower_bound"] else ""
        table.add_section()
        table.add_row(
            cell,
            *_row(found, _accuracy_text),
            bound + _reach_text(horizon["mean"]),
            " ".join(map(_reach_text, horizon["by_seed"])),
        )
        if len(study.seeds) > 1:
            table.add_row("  95 % interval", *_row(found, _interval_text))
        table.add_row("  loss", *_row(found, lambda m: f"{np.mean(m.loss):.3g}"))
        table.add_row(
            "  validation", *_row(found, lambda m: f"{np.mean(m.validation_accuracy):.3f}")
        )
        table.add_row("  gradient", *_row(found, _gradient_text))
    return table


def _row(found: list[Measurement | None], text: Callable[[Measurement], str]) -> list[str]:
    return [text(m) if m else "-" for m in found]


def _reach_text(reach: int | None) -> str:
    return "none" if reach is None else str(reach)


def _accuracy_text(result: Measurement) -> str:
    mark = "diverged " if any(result.diverged) else ""
    return f"{mark}{np.mean(result.accuracy):.3f}"


def _interval_text(result: Measurement) -> str:
    _, low, high = mean_interval(result.accuracy)
    return f"{max(low, 0):.2f}-{min(high, 1):.2f}"


def _gradient_text(result: Measurement) -> str:
    gradient = _geometric_mean(result.gradient_trained)
    return f"{gradient:.0e}" if gradient else "0"


def _geometric_mean(values: list[float]) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.exp(np.mean(np.log(values))))


def _plot(study: Study, measured: list[Measurement], folder: RunFolder) -> None:
    curves, initial, trained = {}, {}, {}
    nothing = (float("nan"),) * 3
    for cell in study.cells:
        found = [_find(measured, cell, d) for d in study.distances]
        triples = [mean_interval(m.accuracy) if m else nothing for m in found]
        mean, low, high = zip(*triples, strict=True)
        curves[cell] = (mean, tuple(np.maximum(low, 0)), tuple(np.minimum(high, 1)))
        initial[cell] = [_geometric_mean(m.gradient_initial) if m else math.nan for m in found]
        trained[cell] = [_geometric_mean(m.gradient_trained) if m else math.nan for m in found]
    name = f"task {study.task.name}, {len(study.seeds)} seeds"
    accuracy = plots.accuracy_by_distance(
        study.distances,
        curves,
        chance=study.task.chance,
        threshold=horizon_threshold(study.task.chance, SHARE),
        title=f"How far back a cell remembers ({name})",
    )
    gradient = plots.gradient_by_distance(
        study.distances,
        initial,
        trained,
        title=f"How much gradient reaches what is to be remembered ({name})",
    )
    for figure, file in zip((accuracy, gradient), PLOTS, strict=False):
        with cannot_be_written(str(folder.path / file)):
            figure.savefig(folder.path / file)
