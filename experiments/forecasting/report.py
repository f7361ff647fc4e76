"""The report of a forecasting study: the table, the residuals, the forecasts, as CSV and PNG."""

import csv
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from experiments.common import report as study_report
from experiments.common.report import Format, decimals
from experiments.common.terminal import say
from experiments.forecasting.data import Problem
from seqmodels import plots
from seqmodels.analysis.statistics import mean_interval
from seqmodels.plots import Panel
from seqmodels.training.run_directory import RunDirectory

SCORES, FORECASTS, FUTURE = "scores.csv", "forecasts.csv", "future.csv"
FOUR_DIGITS = Format(lambda value: f"{value:.4g}", 0)
WHOLE_PERCENT = Format(lambda value: f"{100 * value:.0f}", 0, 1)
COLUMNS: dict[str, tuple[str, Format]] = {
    "mae": ("MAE", FOUR_DIGITS),
    "rmse": ("RMSE", FOUR_DIGITS),
    "mase": ("MASE", decimals(3, 0)),
    "smape": ("sMAPE %", Format(lambda value: f"{value:.3g}", 0)),
    "coverage_80": ("80%", WHOLE_PERCENT),
    "coverage_95": ("95%", WHOLE_PERCENT),
}
Records = dict[str, list[dict[str, Any]]]


def files_of(columns: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of the files of a report.

    Args:
      columns: the columns that are forecast; none for a series of one column.
    """
    suffixes = [_suffix(column, len(columns)) for column in columns] or [""]
    pictures = [f"{kind}{suffix}.png" for suffix in suffixes for kind in ("forecast", "residuals")]
    return (SCORES, FORECASTS, FUTURE, *pictures)


def _suffix(column: str, columns: int) -> str:
    """Returns the labels that distinguish several pictures of one column."""
    return f"_{''.join(c if c.isalnum() else '_' for c in column)}" if columns > 1 else ""


def show(results: dict[str, Any], directory: RunDirectory, task: Problem) -> None:
    """Prints a table for each column; writes scores.csv, forecasts.csv, future.csv and pictures.

    Args:
      results: the content of results.json.
      directory: the run directory.
      task: the problem of the run.
    """
    models = study_report.by_model(results)
    best = chosen(results)
    for column in task.series.columns[: task.targets]:
        study_report.show(_table(results, best, task, column))
        for line in _reasons(results, column):
            say(line)
        say(f"{best}: {_verdicts(models[best], column)}")
        for name, records in models.items():
            if "base" in records[0]:
                say(f"{name}: {_gain(records, column)}")
        _draw(results, best, directory, task, column)
    _write_scores(results, directory)
    _write_forecasts(_best_record(results, best), directory, task)
    say(f"results: {directory.path}")


def chosen(results: dict[str, Any]) -> str:
    """Returns the name of the model that is best in validation, in the mean of its seeds."""
    by, models = results["chosen_by"], study_report.by_model(results)
    means = {
        name: float(np.mean([np.nan if one[by] is None else one[by] for one in records]))
        for name, records in models.items()
    }
    finite = [name for name, mean in means.items() if np.isfinite(mean)]
    return min(finite or means, key=lambda name: means[name])


def fitted_baselines(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the records of the baselines that could be fitted."""
    return [record for record in results["baselines"] or [] if "left_out" not in record]


def _reasons(results: dict[str, Any], column: str) -> list[str]:
    """Returns why a baseline is left out, and why a figure of a column is missing."""
    lines = [
        f"left out: {record['model']}: {record['left_out']}"
        for record in results["baselines"] or []
        if "left_out" in record
    ]
    reason = results["results"][0]["columns"][column].get("mase_reason")
    if reason:
        lines.append(f"MASE -: {reason}; models are chosen by {results['chosen_by']}")
    return lines


def _best_record(results: dict[str, Any], best: str) -> dict[str, Any]:
    """Returns the record of the seed of a model that is best in validation."""
    return study_report.best_record(results | {"results": study_report.by_model(results)[best]})


def _table(results: dict[str, Any], best: str, task: Problem, column: str) -> Table:
    baselines = fitted_baselines(results)
    scale = [*baselines, *results["results"]][0]["columns"][column]["mase_scale"]
    table = Table(title=_title(task, column, scale), box=box.SIMPLE, title_justify="left")
    table.add_column("model")
    ahead = [f"MASE, {task.horizon} steps"] if task.horizon > 1 else []
    headings = [heading for heading, _ in COLUMNS.values()]
    for heading in (*headings, *ahead, "p train", "p test", "sound", "validation"):
        table.add_column(heading, justify="right")
    for record in baselines:
        table.add_row(record["model"], *_cells([record], task, column), "")
    for name, records in study_report.by_model(results).items():
        figures = _array([record[results["chosen_by"]] for record in records])
        is_known = bool(np.all(np.isfinite(figures)))
        figure = f"{float(np.mean(figures)):.3f}" if is_known else "-"
        star = " *" if name == best and is_known else ""
        table.add_row(f"{name}{star}", *_cells(records, task, column), figure)
    return table


def _title(task: Problem, column: str, scale: float | None) -> str:
    unit = task.series.duration(task.period) if task.series.unit != "step" else f"{task.period}"
    has_scale = scale is not None and np.isfinite(scale)
    mase = f"MAE / {scale:.4g}, the mean change over {unit} in training" if has_scale else "-"
    return (
        f"{task.series.name}, {column}: {task.fit_end:,} steps to fit, "
        f"{task.train_end - task.fit_end:,} for validation, {task.end - task.train_end:,} to test "
        f"({task.series.label(task.train_end)} to {task.series.label(task.end - 1)}). Test part, "
        f"one step ahead; mean of the seeds and 95% interval. MASE: {mase}. p: the smallest of "
        "Ljung and Box's test at lags 10 and 20 (later ones for autoregressions of more lags). "
        "80%, 95%: share of the values within those "
        "intervals. *: the best in validation."
    )


def _cells(records: list[dict[str, Any]], task: Problem, column: str) -> list[str]:
    figures = [record["columns"][column] for record in records]
    cells = [
        _cell([one[key] for one in figures], form, key not in ("coverage_80", "coverage_95"))
        for key, (_, form) in COLUMNS.items()
    ]
    if task.horizon > 1:
        cells.append(_cell([one["all_steps"]["mase"] for one in figures], COLUMNS["mase"][1]))
    for part in ("train", "test"):
        known = [p for one in figures if (p := _least(one["ljung_box"][part])) is not None]
        cells.append(_p(float(np.median(known))).removeprefix("= ") if known else "-")
    sound = [one["sound"] for one in figures]
    if len(figures) == 1:
        cells.append({True: "yes", False: "no", None: "-"}[sound[0]])
    else:
        decided = [one for one in sound if one is not None]
        cells.append(f"{sum(decided)} of {len(decided)}" if decided else "-")
    return cells


def _cell(values: Sequence[float | None], form: Format, interval: bool = True) -> str:
    """Returns mean and interval; "-" if a figure could not be computed."""
    known = [value for value in values if value is not None and np.isfinite(value)]
    if len(known) < len(values):
        return "-"
    mean, low, high = mean_interval(known)
    return (
        form.text(mean)
        if len(values) < 2 or not interval
        else f"{form.text(mean)} [{form.text(max(low, form.low))}, {form.text(high)}]"
    )


def _p(value: float) -> str:
    """Returns "= 0.03", and "< 1e-16" for a value without significant digits."""
    return f"= {value:.2g}" if value >= 1e-16 else "< 1e-16"


def _verdicts(records: list[dict[str, Any]], column: str) -> str:
    return "; ".join(
        f"seed {record['seed']}: {record['columns'][column]['verdict']}" for record in records
    )


def _gain(records: list[dict[str, Any]], column: str) -> str:
    """Returns the gain of a hybrid's network over its base, in words."""
    errors = [record["columns"][column]["mse"] for record in records]
    alone = float(records[0]["base"][column]["mse"] or 0.0)
    if not alone > 0:
        return "not compared: its autoregression alone makes no error that could be measured"
    share = float(np.mean(errors)) / alone - 1
    return (
        f"MSE {_cell(errors, FOUR_DIGITS)}, its autoregression alone {alone:.4g}: "
        f"{abs(share):.1%} {'more' if share > 0 else 'less'} with the network"
    )


def _draw(
    results: dict[str, Any], best: str, directory: RunDirectory, task: Problem, column: str
) -> None:
    """Writes forecast.png and residuals.png, with the column's name where there are several."""
    suffix = _suffix(column, task.targets)
    number = task.series.columns.index(column)
    record = _best_record(results, best)
    figures = record["columns"][column]
    dates = task.series.dates(task.end + task.horizon)
    curves = {f"{best}, seed {record['seed']}": _array(figures["one_step"])}
    baselines = fitted_baselines(results)
    if baselines:
        strongest = min(baselines, key=lambda one: _or_infinity(one["columns"][column]["mae"]))
        curves[strongest["model"]] = _array(strongest["columns"][column]["one_step"])
    figure = plots.forecasts(
        dates[task.train_end : task.end],
        task.values[task.train_end :, number],
        curves,
        _array(figures["one_step_quantiles"]),
        title=f"{task.series.name}: forecasts one step ahead",
        ylabel=column,
        future=(dates[task.end :], _array(figures["future"]), _array(figures["future_quantiles"])),
    )
    figure.savefig(directory.file(f"forecast{suffix}.png"))
    named = [*((one["model"], one) for one in baselines), (best, record)]
    panels = [panel for name, one in named for panel in _panels(name, one["columns"][column])]
    if panels:
        figure = plots.correlograms(
            panels,
            title=f"{task.series.name}: autocorrelation of the residuals, one step ahead",
            columns=2,
        )
        figure.savefig(directory.file(f"residuals{suffix}.png"))


def _panels(name: str, figures: dict[str, Any]) -> list[Panel]:
    """Returns the correlograms of the residuals of a model, one for each part."""
    panels = []
    for part, correlogram in figures["residual_acf"].items():
        limit = 1.96 / np.sqrt(correlogram["count"])
        values = _array(correlogram["acf"])[1:]
        p = _least(figures["ljung_box"][part])
        band = np.full(len(values), limit)
        lags = np.arange(1, len(values) + 1)
        tested = "not tested" if p is None else f"p {_p(p)}"
        panels.append(Panel(f"{name}, {part}: {tested}", lags, values, -band, band))
    return panels


def _least(values: Mapping[str, float | None]) -> float | None:
    return min((value for value in values.values() if value is not None), default=None)


def _or_infinity(value: float | None) -> float:
    return np.inf if value is None else value


def _array(values: Sequence[Any]) -> np.ndarray:
    return np.array(values, np.float64)  # None becomes NaN


def _write_scores(results: dict[str, Any], directory: RunDirectory) -> None:
    """Writes scores.csv: a row for each model, seed, column and step ahead."""
    with directory.file(SCORES).open("w", newline="") as file:
        writer = None
        for record in [*fitted_baselines(results), *results["results"]]:
            for column, columns in record["columns"].items():
                for number, figures in enumerate(columns["by_step"], 1):
                    row = {
                        "model": record["model"],
                        "seed": record.get("seed", ""),
                        "column": column,
                        "steps_ahead": number,
                        **{name: _number(value) for name, value in figures.items()},
                        "sound": columns["sound"],
                    }
                    if writer is None:
                        writer = csv.DictWriter(file, list(row))
                        writer.writeheader()
                    writer.writerow(row)


def _number(value: float | None) -> str:
    """Returns a number for a file, "" for one that could not be computed."""
    return f"{value:.6g}" if value is not None and np.isfinite(value) else ""


def _write_forecasts(record: dict[str, Any], directory: RunDirectory, task: Problem) -> None:
    """Writes forecasts.csv (test part, one step ahead) and future.csv (after the end)."""
    ends = ("low_95", "low_80", "median", "high_80", "high_95")
    with directory.file(FORECASTS).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "column", "observed", "forecast", *ends])
        for number, (column, figures) in enumerate(record["columns"].items()):
            rows = zip(figures["one_step"], figures["one_step_quantiles"], strict=True)
            for at, (mean, quantiles) in enumerate(rows, task.train_end):
                observed = task.values[at, number]
                writer.writerow([task.series.label(at), column, observed, mean, *quantiles])
    with directory.file(FUTURE).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "column", "forecast", *ends])
        for column, figures in record["columns"].items():
            rows = zip(figures["future"], figures["future_quantiles"], strict=True)
            for at, (mean, quantiles) in enumerate(rows, task.end):
                writer.writerow([task.series.label(at), column, mean, *quantiles])
