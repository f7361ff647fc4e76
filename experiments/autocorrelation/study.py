"""The autocorrelation report: reads, analyzes and writes."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from experiments.autocorrelation import correlogram, food_diary, labels, report
from experiments.autocorrelation.config import PROGRAM, Config
from experiments.autocorrelation.correlogram import Correlogram
from experiments.common import series_options
from experiments.common.config import absolute_path
from experiments.common.errors import UserError
from experiments.common.terminal import say
from seqmodels.analysis.autocorrelation import Association
from seqmodels.training.errors import RunError
from seqmodels.training.report_folder import report_folder

RUNS = pathlib.Path("runs")
FILES = (
    "acf.csv",
    "ccf.csv",
    "association.csv",
    "diary.csv",
    "predictions.csv",
    "verdict.txt",
    "correlogram.png",
    "association.png",
)


class Report(NamedTuple):
    """The statistics of a series.

    Attributes:
      folder: the folder of the written report.
      words: the conclusion.
      correlogram: the correlogram of numbers; None for labels.
      associations: those of labels with their own past and another column's; () for numbers.
      accuracies: share of correct days of each model per seed, for the demo.
    """

    folder: pathlib.Path
    words: str
    correlogram: Correlogram | None = None
    associations: tuple[Association, ...] = ()
    accuracies: dict[str, list[float]] | None = None


def run(
    config: Config, out: str | os.PathLike[str] | None = None, *, overwrite: bool = False
) -> Report:
    """Analyzes a series, prints and writes the report, and returns the statistics.

    Args:
      config: the series and what is computed.
      out: folder of the report; None for one below runs/ named by the series.
      overwrite: whether the files of a report that the folder holds may be replaced.

    Raises:
      UserError: for a user error, with a message of one line.
    """
    try:
        config.check_source()
        _check_folder(out, overwrite)
        if config.demo:
            with _folder(out, config.demo) as folder:
                words, associations, accuracies = food_diary.show(folder, config.seed, config.alpha)
            return Report(folder, words, None, tuple(associations), accuracies)
        return _report_labels(config, out) if config.labels else _report_numbers(config, out)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise UserError(str(error)) from error


def _report_labels(config: Config, out: str | os.PathLike[str] | None) -> Report:
    table, names = labels.load(config)
    associations = labels.analyze(table, nlags=config.nlags, alpha=config.alpha, seed=config.seed)
    first, last = table.label(0), table.label(-1)
    with _folder(out, table.name) as folder:
        say(table.understood)
        say(f"{table.name}, {table.columns[0]}: {len(names[0])} labels, {first} to {last}")
        words = labels.report(table.columns, associations, folder, config.alpha)
        say(f"report: {folder}")
    return Report(folder, words, None, tuple(associations))


def _report_numbers(config: Config, out: str | os.PathLike[str] | None) -> Report:
    also = () if config.with_column is None else (config.with_column,)
    source = series_options.load(config.source, None, also, also_option="with")
    series = correlogram.changed(
        source,
        transform=config.transform,
        difference=config.difference,
        seasonal_difference=config.seasonal_difference,
        period=config.period,
    )
    statistics = correlogram.analyze(
        series,
        nlags=config.nlags,
        alpha=config.alpha,
        period=config.period,
        difference=config.difference,
        seasonal_difference=config.seasonal_difference,
    )
    with _folder(out, "-".join([series.name, *config.changes, *also])) as folder:
        if config.source.csv is not None:
            say(source.understood)
        words = report.show(series, statistics, folder, config.alpha)
        say(f"report: {folder}")
    return Report(folder, words, statistics)


def _check_folder(out: str | os.PathLike[str] | None, overwrite: bool) -> None:
    """Raises ValueError if the folder holds anything that may not be replaced."""
    if out is None:
        return
    folder = absolute_path(out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out: got {folder}, which is a file, expected a folder")
    if not overwrite and folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"out: got {folder}, which is not empty, expected overwrite too")


@contextlib.contextmanager
def _folder(out: str | os.PathLike[str] | None, name: str) -> Iterator[pathlib.Path]:
    """Makes the folder of the report, in which only files of an earlier report are replaced."""
    plain = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
    folder = RUNS / f"{PROGRAM}-{plain}" if out is None else absolute_path(out)
    try:
        with report_folder(folder, program=PROGRAM, files=FILES) as made:
            yield made
    except RunError as error:
        raise ValueError(str(error).replace("run_dir", "out", 1)) from None
