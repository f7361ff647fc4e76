"""The table of a study: every model over its seeds, next to the baselines."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich import box
from rich.table import Table

from experiments.common.terminal import PlainConsole, say
from seqmodels.analysis.statistics import mean_interval


class Format(NamedTuple):
    """Text of a figure, and the range that the figure cannot leave.

    Attributes:
      text: `text(value) -> str`.
      low: the lower bound; an interval ends there.
      high: the upper bound; an interval ends there.

    Examples:
      >>> percent.text(0.982)
      '98.2'
    """

    text: Callable[[float], str]
    low: float = -math.inf
    high: float = math.inf


percent = Format(lambda value: f"{100 * value:.1f}", 0.0, 1.0)


def decimals(number: int, low: float = -math.inf, high: float = math.inf) -> Format:
    """Returns the format of figures in [low, high] with a number of decimals."""
    return Format(lambda value: f"{value:.{number}f}", low, high)


def by_model(results: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Returns the records of results.json by model, in the order of training."""
    found: dict[str, list[dict[str, Any]]] = {}
    for record in results["results"]:
        found.setdefault(record["model"], []).append(record)
    return found


def best_record(results: dict[str, Any]) -> dict[str, Any]:
    """Returns the record that is best in validation; the first one if no figure is finite.

    Args:
      results: results.json, with the records in "results", at least one, and the figure by which
        they are compared in "chosen_by".
    """
    name: str = results.get("chosen_by") or ""
    finite = [
        record
        for record in results["results"]
        if record.get(name) is not None and np.isfinite(record[name])
    ]
    pick = max if results.get("chosen_mode") == "max" else min
    return pick(finite, key=lambda record: record[name]) if finite else results["results"][0]


def table(
    results: dict[str, Any], columns: Mapping[str, tuple[str, Format]], title: str | None = None
) -> Table:
    """Returns the table with the mean over the seeds and its 95% interval.

    Args:
      results: the content of results.json.
      columns: heading and format by the name of the figure; a record may lack a figure.
      title: above the table.

    Returns:
      A table: baselines first, then the models, with parameters, steps and seconds a seed.
    """
    shown = Table(title=title, box=box.SIMPLE, title_justify="left")
    shown.add_column("model")
    for heading in (*(heading for heading, _ in columns.values()), "parameters", "s a seed"):
        shown.add_column(heading, justify="right")
    for record in results["baselines"] or []:
        cells = [
            _cell([record[name]] if name in record else [], form)
            for name, (_, form) in columns.items()
        ]
        shown.add_row(record["model"], *cells, "", "")
    for model, records in by_model(results).items():
        cells = [_cell([r[name] for r in records if name in r], form)
                 for name, (_, form) in columns.items()]  # fmt: skip
        seconds = np.mean([record["seconds"] for record in records])
        shown.add_row(model, *cells, f"{records[0]['parameters']:,}", f"{seconds:.0f}")
    return shown


def show(shown: Table) -> None:
    """Prints a table to standard output, as wide as it is."""
    console = PlainConsole()
    if not console.is_terminal:
        console = PlainConsole(width=200)
    console.print(shown)


def _cell(values: Sequence[float | None], form: Format) -> str:
    """Returns mean and interval; None stands for a figure that is not finite."""
    finite = [value for value in values if value is not None and np.isfinite(value)]
    lost = len(values) - len(finite)
    if not finite:
        return "diverged" if lost else ""
    mean, low, high = mean_interval(finite)
    text = form.text(mean)
    if len(finite) > 1:
        text += f" [{form.text(max(low, form.low))}, {form.text(min(high, form.high))}]"
    return f"{text}, {lost} diverged" if lost else text


def show_by_seed(records: Sequence[dict[str, Any]]) -> None:
    """Prints the mean of every figure of each model, and its values per seed.

    Args:
      records: records with "model", "seed" and figures by name.
    """
    for name, own in by_model({"results": records}).items():
        for figure in sorted(own[0].keys() - {"model", "seed"}):
            values = [record[figure] for record in own]
            shown = " ".join(f"{value:.3f}" for value in values)
            say(f"{name}: {figure} {np.mean(values):.3f}, per seed: {shown}")
