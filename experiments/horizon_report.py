"""The report of a long-context study: a table, two plots, results.json."""

import math
import platform
from typing import Any, NamedTuple

import jax
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from experiments.horizon_study import Measurement
from seqmodels import plots
from seqmodels.analysis.horizon import mean_interval, memory_horizon
from seqmodels.data.tasks import Task
from seqmodels.training.run_folder import RESULTS, RunFolder

SHARE = 0.9  # how much of the way from chance to perfect counts as remembering


class Study(NamedTuple):
    """task: the task at the smallest distance. flags: all that decides the run, by name."""

    task: Task
    cells: list[str]
    distances: list[int]
    seeds: list[int]
    flags: dict[str, Any]


def line(result: Measurement) -> str:
    """Returns one line about one measurement."""
    mean, low, high = mean_interval(result.accuracy)
    interval = "" if math.isnan(low) else f" [{low:.3f}, {high:.3f}]"
    diverged = f", {sum(result.diverged)} seeds diverged" if any(result.diverged) else ""
    return (
        f"{result.cell} at distance {result.distance}: accuracy {mean:.3f}{interval}, "
        f"{result.steps} steps in {result.seconds:.1f} s{diverged}"
    )


def write(study: Study, measured: list[Measurement], folder: RunFolder, *, complete: bool) -> None:
    """Writes results.json and the plots into the folder, and the table to standard output."""
    horizons = {cell: _horizon(study, measured, cell) for cell in study.cells}
    folder.write_json(
        RESULTS,
        {
            "complete": complete,
            "task": study.task.name,
            "chance": study.task.chance,
            "horizon_threshold": _threshold(study),
            "horizons": horizons,
            "seeds": study.seeds,
            "flags": study.flags,
            "versions": {"python": platform.python_version(), "jax": jax.__version__},
            "device": f"{len(jax.devices())} x {jax.devices()[0].device_kind}",
            "measurements": [
                {**m._asdict(), "mean_accuracy": mean_interval(m.accuracy)} for m in measured
            ],
        },
    )
    # Wide enough for every column, also where the output is a file.
    console = Console(highlight=False, width=max(Console().width, 60 + 12 * len(study.distances)))
    if measured:
        _plot(study, measured, folder)
        console.print(_table(study, measured, horizons))
    console.print(f"results, plots and flags: {folder.path}", markup=False, soft_wrap=True)


def _threshold(study: Study) -> float:
    return study.task.chance + SHARE * (1 - study.task.chance)


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


def _table(study: Study, measured: list[Measurement], horizons: dict[str, Any]) -> Table:
    seeds = f"mean of {len(study.seeds)} seeds" if len(study.seeds) > 1 else "1 seed"
    table = Table(
        title=f"{study.task.name}: test accuracy by distance, {seeds}. Horizon: the last distance "
        f"up to which the accuracy is at least {_threshold(study):.3f}. Gradient: at what is to be "
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
    for cell in study.cells:
        found = [_find(measured, cell, d) for d in study.distances]
        horizon = horizons[cell]
        bound = ">= " if horizon["is_lower_bound"] else ""
        table.add_section()
        table.add_row(
            cell,
            *[f"{np.mean(m.accuracy):.3f}" if m else "-" for m in found],
            bound + _reach_text(horizon["mean"]),
            " ".join(map(_reach_text, horizon["by_seed"])),
        )
        if len(study.seeds) > 1:
            table.add_row("  95 % interval", *[_interval_text(m) for m in found])
        table.add_row("  gradient", *[_gradient_text(m) for m in found])
    return table


def _reach_text(reach: int | None) -> str:
    return "none" if reach is None else str(reach)


def _interval_text(result: Measurement | None) -> str:
    if result is None:
        return "-"
    _, low, high = mean_interval(result.accuracy)
    return f"{max(low, 0):.2f}-{min(high, 1):.2f}"


def _gradient_text(result: Measurement | None) -> str:
    if result is None:
        return "-"
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
        curves[cell] = (mean, low, high)
        initial[cell] = [_geometric_mean(m.gradient_initial) if m else math.nan for m in found]
        trained[cell] = [_geometric_mean(m.gradient_trained) if m else math.nan for m in found]
    name = f"task {study.task.name}, {len(study.seeds)} seeds"
    plots.accuracy_by_distance(
        study.distances,
        curves,
        chance=study.task.chance,
        threshold=_threshold(study),
        title=f"How far back a cell remembers ({name})",
    ).savefig(folder.path / "accuracy_by_distance.png")
    plots.gradient_by_distance(
        study.distances,
        initial,
        trained,
        title=f"How much gradient reaches what is to be remembered ({name})",
    ).savefig(folder.path / "gradient_by_distance.png")
