"""The report of a forecasting study: the table, the residuals, the forecasts, as CSV and PNG."""

import csv
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from experiments.common import report as study_report
from experiments.forecasting.data import Problem
from seqmodels import plots
from seqmodels.analysis.statistics import mean_interval
from seqmodels.plots import Panel

COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "mae": ("MAE", lambda value: f"{value:.4g}"),
    "rmse": ("RMSE", lambda value: f"{value:.4g}"),
    "mase": ("MASE", lambda value: f"{value:.3f}"),
    "smape": ("sMAPE %", lambda value: f"{value:.3g}"),
    "coverage_80": ("80 %", lambda value: f"{100 * value:.0f}"),
    "coverage_95": ("95 %", lambda value: f"{100 * value:.0f}"),
}


def show(results: dict[str, Any], folder: pathlib.Path, task: Problem) -> None:
    """Prints a table for each column told; writes scores.csv, forecasts.csv and pictures.

    Args:
      results: what results.json holds.
      folder: the run's folder.
      task: the problem of the run.
    """
    models = study_report.by_model(results)
    best = chosen(results)
    for column in task.series.columns[: task.targets]:
        study_report.show(_table(results, models, best, task, column))
        print(f"{best}: {_verdicts(models[best], column)}")
        for name, own in models.items():
            if "base" in own[0]:
                print(f"{name}: {_gain(own, column)}")
        _draw(results, models, best, folder, task, column)
    _write_scores(results, folder)
    _write_forecasts(results, models, best, folder, task)
    print(f"results: {folder}")


def chosen(results: dict[str, Any]) -> str:
    """Returns the name of the model that is best in validation, in the mean of its seeds."""
    by, models = results["chosen_by"], study_report.by_model(results)
    return min(models, key=lambda name: float(np.mean([one[by] for one in models[name]])))


def _table(
    results: dict[str, Any],
    models: dict[str, list[dict[str, Any]]],
    best: str,
    task: Problem,
    column: str,
) -> Table:
    records = [*(results["baselines"] or []), *results["results"]]
    scale = records[0]["columns"][column]["mase_scale"]
    unit = task.series.duration(task.period) if task.series.unit != "step" else f"{task.period}"
    title = (
        f"{task.series.name}, {column}: {task.fit_end:,} steps to fit, "
        f"{task.train_end - task.fit_end:,} for validation, {task.end - task.train_end:,} to test "
        f"({task.series.label(task.train_end)} to {task.series.label(task.end - 1)}). Test part, "
        f"one step ahead; mean of the seeds and 95 % interval. MASE: MAE / {scale:.4g}, the mean "
        f"change over {unit} in training. p: the least of Ljung and Box at lags 10 and 20 "
        f"(autoregressions of as many: at lags beyond). "
        f"80 %, 95 %: how many values lay in those "
        "intervals. *: the best in validation."
    )
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    table.add_column("model")
    ahead = [f"MASE, {task.horizon} steps"] if task.horizon > 1 else []
    headings = [heading for heading, _ in COLUMNS.values()]
    for heading in (*headings, *ahead, "p train", "p test", "sound", "validation"):
        table.add_column(heading, justify="right")

    def row(name: str, own: list[dict[str, Any]], validation: str) -> None:
        found = [one["columns"][column] for one in own]
        cells = [
            _cell([one[key] for one in found], form, key not in ("coverage_80", "coverage_95"))
            for key, (_, form) in COLUMNS.items()
        ]
        if ahead:
            cells.append(_cell([one["all_steps"]["mase"] for one in found], COLUMNS["mase"][1]))
        for part in ("train", "test"):
            least = [min(one["ljung_box"][part].values(), default=None) for one in found]
            there = [value for value in least if value is not None]
            cells.append(_p(float(np.median(there))).removeprefix("= ") if there else "")
        sound = [one["sound"] for one in found]
        known = [one for one in sound if one is not None]
        if len(found) == 1:
            cells.append({True: "yes", False: "no", None: ""}[sound[0]])
        else:
            cells.append(f"{sum(known)} of {len(known)}")
        table.add_row(name, *cells, validation)

    for record in results["baselines"] or []:
        row(record["model"], [record], "")
    for name, own in models.items():
        figure = float(np.mean([one[results["chosen_by"]] for one in own]))
        row(f"{name}{' *' if name == best else ''}", own, f"{figure:.3f}")
    return table


def _cell(values: list[float], form: Callable[[float], str], interval: bool = True) -> str:
    if any(np.isnan(values)):
        return ""
    mean, low, high = mean_interval(values)
    return (
        form(mean)
        if len(values) < 2 or not interval
        else f"{form(mean)} [{form(low)}, {form(high)}]"
    )


def _p(value: float) -> str:
    """Returns "= 0.03", and "< 1e-16" for what has no digits that mean something."""
    return f"= {value:.2g}" if value >= 1e-16 else "< 1e-16"


def _verdicts(records: list[dict[str, Any]], column: str) -> str:
    return "; ".join(f"seed {one['seed']}: {one['columns'][column]['verdict']}" for one in records)


def _gain(records: list[dict[str, Any]], column: str) -> str:
    """Returns what the network of a hybrid adds to its base, in words."""
    errors = [one["columns"][column]["mse"] for one in records]
    alone = float(records[0]["base"][column]["mse"])
    share = float(np.mean(errors)) / alone - 1
    return (
        f"MSE {_cell(errors, lambda value: f'{value:.4g}')}, its autoregression alone {alone:.4g}: "
        f"{abs(share):.1%} {'more' if share > 0 else 'less'} with the network"
    )


def _draw(
    results: dict[str, Any],
    models: dict[str, list[dict[str, Any]]],
    best: str,
    folder: pathlib.Path,
    task: Problem,
    column: str,
) -> None:
    """Writes forecast.png and residuals.png, with the column's name where there are several."""
    more = f"_{''.join(c if c.isalnum() else '_' for c in column)}" if task.targets > 1 else ""
    number = task.series.columns.index(column)
    one = min(models[best], key=lambda record: record[results["chosen_by"]])
    own = one["columns"][column]
    dates = task.series.dates(task.end + task.horizon)
    curves = {f"{best}, seed {one['seed']}": _array(own["one_step"])}
    baselines = results["baselines"] or []
    if baselines:
        # Beside the strongest that there is.
        record = min(baselines, key=lambda found: found["columns"][column]["mae"])
        curves[record["model"]] = _array(record["columns"][column]["one_step"])
    figure = plots.forecasts(
        dates[task.train_end : task.end],
        task.values[task.train_end :, number],
        curves,
        _array(own["one_step_quantiles"]),
        title=f"{task.series.name}: forecasts one step ahead",
        ylabel=column,
        future=(
            dates[task.end :],
            _array(own["future"]),
            _array(own["future_quantiles"]),
        ),
    )
    figure.savefig(folder / f"forecast{more}.png")
    panels = []
    for label, record in [(found["model"], found) for found in baselines] + [(best, one)]:
        for part, found in record["columns"][column]["residual_acf"].items():
            limit = 1.96 / np.sqrt(found["count"])
            values = _array(found["acf"])[1:]
            p = min(record["columns"][column]["ljung_box"][part].values(), default=float("nan"))
            panels.append(
                Panel(
                    f"{label}, {part}: p {_p(p)}",
                    np.arange(1, len(values) + 1),
                    values,
                    np.full(len(values), -limit),
                    np.full(len(values), limit),
                )
            )
    if panels:
        figure = plots.correlograms(
            panels,
            title=f"{task.series.name}: autocorrelation of the residuals, one step ahead",
            columns=2,
        )
        figure.savefig(folder / f"residuals{more}.png")


def _array(values: Sequence[Any]) -> np.ndarray:
    return np.array(values, np.float64)  # None becomes NaN


def _write_scores(results: dict[str, Any], folder: pathlib.Path) -> None:
    """Writes scores.csv: a row for each model, seed, column told and step ahead."""
    with (folder / "scores.csv").open("w", newline="") as file:
        writer = None
        for record in [*(results["baselines"] or []), *results["results"]]:
            for column, own in record["columns"].items():
                for number, figures in enumerate(own["by_step"], 1):
                    row = {
                        "model": record["model"],
                        "seed": record.get("seed", ""),
                        "column": column,
                        "steps_ahead": number,
                        **{name: f"{value:.6g}" for name, value in figures.items()},
                        "sound": own["sound"],
                    }
                    if writer is None:
                        writer = csv.DictWriter(file, list(row))
                        writer.writeheader()
                    writer.writerow(row)


def _write_forecasts(
    results: dict[str, Any],
    models: dict[str, list[dict[str, Any]]],
    best: str,
    folder: pathlib.Path,
    task: Problem,
) -> None:
    """Writes forecasts.csv (test part, one step before) and future.csv (after the end)."""
    one = min(models[best], key=lambda record: record[results["chosen_by"]])
    ends = ("low_95", "low_80", "median", "high_80", "high_95")
    with (folder / "forecasts.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "column", "observed", "forecast", *ends])
        for number, (column, own) in enumerate(one["columns"].items()):
            rows = zip(own["one_step"], own["one_step_quantiles"], strict=True)
            for at, (mean, quantiles) in enumerate(rows, task.train_end):
                observed = task.values[at, number]
                writer.writerow([task.series.label(at), column, observed, mean, *quantiles])
    with (folder / "future.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "column", "forecast", *ends])
        for column, own in one["columns"].items():
            rows = zip(own["future"], own["future_quantiles"], strict=True)
            for at, (mean, quantiles) in enumerate(rows, task.end):
                writer.writerow([task.series.label(at), column, mean, *quantiles])
