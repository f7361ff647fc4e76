"""The report of an ablation study: a table of variants, one of activation functions, pictures."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import rich.table
from rich import box

from experiments.ablations.config import Config
from experiments.ablations.variants import BASELINE
from experiments.common.terminal import PlainConsole
from seqmodels import plots
from seqmodels.analysis import activations
from seqmodels.analysis.statistics import mean_interval, memory_horizon
from seqmodels.plots import ScorePanel
from seqmodels.tasks.task import Task
from seqmodels.training.files import cannot_be_written
from seqmodels.training.run_directory import RunDirectory

FILES = ("variants.png", "activations.png")
Interval = tuple[float, float, float]


def line(record: dict[str, Any]) -> str:
    """Returns one line about one variant on one task."""
    name, values = score(record)
    return (
        f"{record['variant']}, {record['task']}: {name} {_text(record, values)}, "
        f"rate {record['rate']:g}, {record['seconds']:.0f} s"
    )


def score(record: dict[str, Any]) -> tuple[str, list[float]]:
    """Returns the name of the score of a task, and the scores of the seeds that did not diverge.

    The score of sky is accuracy, of adding mean squared error, of characters bits per character.
    """
    task = record["task"].split()[0]
    name, values, scale = {
        "sky": ("accuracy", record["accuracy"], 1.0),
        "adding": ("squared error", record["loss"], 1.0),
        "characters": ("bits", record["loss"], 1 / math.log(2)),
    }[task]
    kept = [v for v, lost in zip(values, record["diverged"], strict=True) if not lost]
    return name, [v * scale for v in kept if v is not None and math.isfinite(v)]


def show(
    results: dict[str, Any], config: Config, tasks: dict[str, Task], directory: RunDirectory
) -> None:
    """Writes the pictures, and the tables to standard output."""
    records = {(r["variant"], r["task"]): r for r in results["results"]}
    console = PlainConsole(width=1_000)  # a table is as wide as its cells and never cut
    _draw(records, config, tasks, directory)
    console.print(_variants(records, config, tasks))
    console.print(_functions())
    console.print(_claim(), soft_wrap=True)
    console.print(f"results: {directory.path}", soft_wrap=True)


def _variants(
    records: dict[tuple[str, str], dict[str, Any]], config: Config, tasks: dict[str, Task]
) -> rich.table.Table:
    table = rich.table.Table(
        title=f"Test scores, mean of {config.training.seeds} seeds with 95% intervals; the "
        f"learning rate is the best of {', '.join(f'{r:g}' for r in config.rates)} in validation. "
        "sky: accuracy; adding: mean squared error; characters: bits per character.",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    distances = sorted(config.distances) if "sky" in config.tasks else []
    table.add_column("variant", no_wrap=True)
    table.add_column(f"parameters, {list(tasks)[-1]}", justify="right", no_wrap=True)
    for name in tasks:
        table.add_column(name, justify="right", no_wrap=True)
    if distances:
        table.add_column("horizon", justify="right", no_wrap=True)
    without = [_without_memory(name, task) for name, task in tasks.items()]
    table.add_row("without memory", "", *(f"{value:.3f}" for value in without))
    for variant in config.variants:
        found = [records.get((variant, name)) for name in tasks]
        sizes = [record["parameters"] for record in found if record]
        cells = [_cell(record) for record in found]
        if distances:
            own = [records.get((variant, f"sky {d}")) for d in distances]
            cells.append(_horizon(own, distances, tasks[f"sky {distances[0]}"].chance))
        table.add_row(variant, f"{sizes[-1]:,}" if sizes else "", *cells)
    return table


def _horizon(found: list[dict[str, Any] | None], distances: list[int], chance: float) -> str:
    if not all(found):
        return "-"
    # A seed that diverged has learned nothing.
    means = [sum(score(record)[1]) / len(record["diverged"]) for record in found if record]
    reach = memory_horizon(distances, means, chance)
    if reach is None:
        return "none"
    return f">= {reach}" if reach == distances[-1] else str(reach)


def _cell(record: dict[str, Any] | None) -> str:
    if record is None:
        return "-"
    _, values = score(record)
    lost = sum(record["diverged"])
    mark = f", {lost} diverged" if lost else ""
    return _text(record, values) + (mark if values else "")


def _text(record: dict[str, Any], values: list[float]) -> str:
    """Returns the mean of the seeds that did not diverge, and of several its interval."""
    if not values:
        return "diverged"
    digits = 4 if record["task"].startswith("adding") else 3
    mean, low, high = _limited(record, mean_interval(values))
    interval = f" [{low:.{digits}f}, {high:.{digits}f}]" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{interval}"


def _limited(record: dict[str, Any], interval: Interval) -> Interval:
    """Returns the interval within [0, 1] for an accuracy, and above 0 for an error."""
    mean, low, high = interval
    top = 1.0 if record["task"].startswith("sky") else math.inf
    return mean, max(low, 0.0), min(high, top)


def _without_memory(name: str, task: Task) -> float:
    if name.startswith("sky"):
        return task.chance
    return task.chance_loss / (math.log(2) if name == "characters" else 1.0)


def _functions() -> rich.table.Table:
    table = rich.table.Table(
        title="Activation functions on [-10, 10]. Width: the largest |x| at which a derivative "
        "has 1% of its largest size. Last column: the share of a gradient that passes the "
        "function alone in 100 steps with input 1.",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for heading in ("function", "range", "largest f'", "width of f'", "largest f''",
                    "width of f''", "gradient after 100"):  # fmt: skip
        table.add_column(
            heading, justify="left" if heading == "function" else "right", no_wrap=True
        )
    for name, function in activations.FUNCTIONS.items():
        found = activations.profile(function)
        table.add_row(
            name,
            f"{found.low:.2g} to {found.high:.3g}",
            f"{found.largest_first:.3f}",
            f"{found.first_width:.2f}",
            f"{found.largest_second:.3f}",
            f"{found.second_width:.2f}",
            f"{found.gradient_after:.1e}",
        )
    return table


def _claim() -> str:
    """Compares "tanh's second derivative can sustain for a long range" with the figures."""
    tanh = activations.profile(activations.FUNCTIONS["tanh"])
    sigmoid = activations.profile(activations.FUNCTIONS["sigmoid"])
    longer = "longer" if tanh.second_width > sigmoid.second_width else "shorter"
    return (
        '"The second derivative of tanh can sustain for a long range before going to zero": it has '
        f"1% of its largest size up to |x| = {tanh.second_width:.2f}; that of the sigmoid up to "
        f"|x| = {sigmoid.second_width:.2f}. So the range of tanh is {longer}; its largest size is "
        f"{tanh.largest_second:.3f}, that of the sigmoid {sigmoid.largest_second:.3f}. A gradient "
        "over many steps is carried by c_t = f * c_tm1 + ..., not by a second derivative: compare "
        f"the rows {BASELINE}, no_forget_gate, identity_output and rnn."
    )


def _draw(
    records: dict[tuple[str, str], dict[str, Any]],
    config: Config,
    tasks: dict[str, Task],
    directory: RunDirectory,
) -> None:
    nothing = (math.nan,) * 3
    panels = {}
    for name, task in tasks.items():
        rows, label = [], ""
        for variant in config.variants:
            record = records.get((variant, name))
            label, values = score(record) if record else (label, [])
            rows.append(_limited(record, mean_interval(values)) if record and values else nothing)
        is_error = name.startswith("adding")
        panels[name] = ScorePanel(label, rows, _without_memory(name, task), log=is_error)
    x = np.linspace(-6, 6, 601, dtype=np.float32)
    curves = {
        name: tuple(map(np.asarray, activations.derivatives(function, jnp.asarray(x))))
        for name, function in activations.FUNCTIONS.items()
    }
    figures = (
        plots.score_intervals(
            list(config.variants),
            panels,
            baseline=BASELINE,
            title=f"Variants of the LSTM, {config.training.seeds} seeds, 95% intervals; dashed: "
            "the LSTM, dotted: without memory",
        ),
        plots.activation_functions(x, curves, title="Activation functions and their derivatives"),
    )
    for figure, file in zip(figures, FILES, strict=True):
        with cannot_be_written(str(directory.file(file))):
            figure.savefig(directory.file(file))
