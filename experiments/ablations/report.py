"""The report of an ablation study: a table of variants, one of activation functions, pictures."""

import math
from typing import Any, NamedTuple

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


class Score(NamedTuple):
    """The score of a task.

    Attributes:
      name: its name in tables and pictures.
      field: the field of a record, with one entry per seed.
      scale: the factor from the field to the score.
      digits: decimals in tables.
      top: the largest value that is possible.
      log: whether its axis is logarithmic.
    """

    name: str
    field: str
    scale: float = 1.0
    digits: int = 3
    top: float = math.inf
    log: bool = False


SCORES = {
    "sky": Score("accuracy", "accuracy", top=1.0),
    "adding": Score("squared error", "loss", digits=4, log=True),
    "characters": Score("bits", "loss", scale=1 / math.log(2)),
}


def line(record: dict[str, Any]) -> str:
    """Returns one line about one variant on one task."""
    name = score_of(record["task"]).name
    return (
        f"{record['variant']}, {record['task']}: {name} {_text(record)}, "
        f"rate {record['rate']:g}, {record['seconds']:.0f} s"
    )


def score_of(task_name: str) -> Score:
    """Returns the score of a task, whose name ends with a distance or length."""
    return SCORES[task_name.split()[0]]


def scores(record: dict[str, Any]) -> list[float]:
    """Returns the scores of the seeds that did not diverge."""
    score = score_of(record["task"])
    seeds = zip(record[score.field], record["diverged"], strict=True)
    kept = [value for value, lost in seeds if not lost and value is not None]
    return [value * score.scale for value in kept if math.isfinite(value)]


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
    means = [sum(scores(record)) / len(record["diverged"]) for record in found if record]
    reach = memory_horizon(distances, means, chance)
    if reach is None:
        return "none"
    return f">= {reach}" if reach == distances[-1] else str(reach)


def _cell(record: dict[str, Any] | None) -> str:
    if record is None:
        return "-"
    lost = sum(record["diverged"])
    mark = f", {lost} diverged" if lost and scores(record) else ""
    return _text(record) + mark


def _text(record: dict[str, Any]) -> str:
    """Returns the mean score of the seeds that did not diverge; if they are several, its interval.

    It is "diverged" if all seeds did.
    """
    values = scores(record)
    if not values:
        return "diverged"
    digits = score_of(record["task"]).digits
    mean, low, high = _interval(record)
    interval = f" [{low:.{digits}f}, {high:.{digits}f}]" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{interval}"


def _interval(record: dict[str, Any] | None) -> Interval:
    """Returns (mean, low, high) within the values that are possible; NaN without a score."""
    values = scores(record) if record else []
    if record is None or not values:
        return (math.nan,) * 3
    mean, low, high = mean_interval(values)
    return mean, max(low, 0.0), min(high, score_of(record["task"]).top)


def _without_memory(name: str, task: Task) -> float:
    score = score_of(name)
    return (task.chance if score.field == "accuracy" else task.chance_loss) * score.scale


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
    panels = {}
    for name, task in tasks.items():
        rows = [_interval(records.get((variant, name))) for variant in config.variants]
        label, log = score_of(name).name, score_of(name).log
        panels[name] = ScorePanel(label, rows, _without_memory(name, task), log=log)
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
