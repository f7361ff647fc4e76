"""The report of a long-context study: a table and two plots."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import rich.table
from rich import box

from experiments.common.seeds_at_once import Measurement
from experiments.common.terminal import PlainConsole
from seqmodels import plots
from seqmodels.analysis.statistics import horizon_threshold, mean_interval, memory_horizon
from seqmodels.tasks.task import Task
from seqmodels.training.files import cannot_be_written
from seqmodels.training.run_directory import RunDirectory

_BY_SEED = [name for name, kind in Measurement.__annotations__.items() if "list" in str(kind)]
PLOTS = ("accuracy_by_distance.png", "gradient_by_distance.png")
SHARE = 0.9  # how much of the way from chance to perfect counts as remembering


class Table(NamedTuple):
    """The measurements so far, with their tasks and cells.

    Attributes:
      tasks: the task at each distance.
      cells: names of the cells.
      distances: ascending.
      seeds: S seeds.
      measurements: the measurements so far.
    """

    tasks: dict[int, Task]
    cells: Sequence[str]
    distances: Sequence[int]
    seeds: Sequence[int]
    measurements: Sequence[Measurement]

    @property
    def task(self) -> Task:
        """The task at the shortest distance; its name and its chance are those of all."""
        return self.tasks[self.distances[0]]

    def find(self, cell: str, distance: int) -> Measurement | None:
        """Returns the measurement of a cell at a distance; None if there is none yet."""
        for measurement in self.measurements:
            if (measurement.cell, measurement.distance) == (cell, distance):
                return measurement
        return None


def measurement(record: dict[str, Any]) -> Measurement:
    """Returns the measurement of a record of results.json.

    Raises:
      KeyError: if the record lacks a field.
    """

    def finite_or_nan(value: Any) -> Any:
        if isinstance(value, list):
            return [math.nan if number is None else number for number in value]
        return value

    return Measurement(**{name: finite_or_nan(record[name]) for name in Measurement._fields})


def is_valid(record: dict[str, Any], num_seeds: int) -> bool:
    """Returns whether a record is one of a study of so many seeds."""
    lists = [value for value in measurement(record) if isinstance(value, list)]
    numbers = [number for values in lists for number in values]
    return (
        len(lists) == len(_BY_SEED)
        and {len(values) for values in lists} == {num_seeds}
        and all(number is None or isinstance(number, int | float) for number in numbers)
    )


def line(result: Measurement) -> str:
    """Returns one line about one measurement."""
    interval = f" [{_interval_text(result)}]" if len(result.accuracy) > 1 else ""
    diverged = f", diverged: {sum(result.diverged)}" if any(result.diverged) else ""
    return (
        f"{result.cell} at distance {result.distance}: accuracy {np.mean(result.accuracy):.3f}"
        f"{interval}, {max(result.steps)} steps, {result.seconds:.1f} s{diverged}"
    )


def summary(study: Table) -> dict[str, Any]:
    """Returns the entries of results.json that describe the task and the horizons."""
    return {
        "task": study.task.name,
        "chance": study.task.chance,
        "chance_loss": {str(d): task.chance_loss for d, task in study.tasks.items()},
        "horizon_threshold": horizon_threshold(study.task.chance, SHARE),
        "horizons": {cell: _horizon(study, cell) for cell in study.cells},
        "seeds": list(study.seeds),
    }


def show(study: Table, directory: RunDirectory) -> None:
    """Writes the plots, and the table to standard output."""
    # Wide enough for every column, also where the output is a file.
    console = PlainConsole(width=max(PlainConsole().width, 60 + 12 * len(study.distances)))
    _plot(study, directory)
    console.print(_table(study))
    console.print(f"results: {directory.path}", soft_wrap=True)


def _horizon(study: Table, cell: str) -> dict[str, Any]:
    """Returns the horizon of the mean over seeds, and of every seed by itself."""
    own = [m for d in study.distances if (m := study.find(cell, d))]
    distances = [m.distance for m in own]

    def reach(accuracies: list[float]) -> int | None:
        return memory_horizon(distances, accuracies, study.task.chance, SHARE)

    mean = reach([float(np.mean(m.accuracy)) for m in own])
    return {
        "mean": mean,
        "by_seed": [reach([m.accuracy[s] for m in own]) for s in range(len(study.seeds))],
        "is_lower_bound": bool(own) and mean == distances[-1],
    }


def _table(study: Table) -> rich.table.Table:
    seeds = f"mean of {len(study.seeds)} seeds" if len(study.seeds) > 1 else "1 seed"
    threshold = horizon_threshold(study.task.chance, SHARE)
    table = rich.table.Table(
        title=f"{study.task.name}: test accuracy by distance, {seeds}. Horizon: the last distance "
        f"up to which the accuracy is at least {threshold:.3f}. Gradient: norm at what has "
        "to be remembered / norm at the answer.",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("distance", no_wrap=True)
    for distance in study.distances:
        table.add_column(str(distance), justify="right", no_wrap=True)
    table.add_column("horizon", justify="right", no_wrap=True)
    table.add_column("per seed", no_wrap=True)
    table.add_row("without memory", *[f"{study.task.chance:.3f}"] * len(study.distances))
    losses = [study.tasks[d].chance_loss for d in study.distances]
    table.add_row("  loss", *[f"{loss:.3g}" for loss in losses])
    for cell in study.cells:
        found = [study.find(cell, d) for d in study.distances]
        horizon = _horizon(study, cell)
        bound = ">= " if horizon["is_lower_bound"] else ""
        table.add_section()
        table.add_row(
            cell,
            *_row(found, _accuracy_text),
            bound + _reach_text(horizon["mean"]),
            " ".join(map(_reach_text, horizon["by_seed"])),
        )
        if len(study.seeds) > 1:
            table.add_row("  95% interval", *_row(found, _interval_text))
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


def _plot(study: Table, directory: RunDirectory) -> None:
    curves, initial, trained = {}, {}, {}
    nothing = (float("nan"),) * 3
    for cell in study.cells:
        found = [study.find(cell, d) for d in study.distances]
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
    for figure, file in zip((accuracy, gradient), PLOTS, strict=True):
        with cannot_be_written(str(directory.file(file))):
            figure.savefig(directory.file(file))
