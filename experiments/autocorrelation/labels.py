"""The association of labels with the labels before them, by lag."""

import csv
import pathlib

import jax
import numpy as np
from rich import box
from rich.table import Table

from experiments.autocorrelation.config import Config
from experiments.common import report as study_report
from experiments.common.terminal import say
from seqmodels import plots
from seqmodels.analysis.autocorrelation import Association, lagged_association
from seqmodels.analysis.verdict import label_words
from seqmodels.data import series_files
from seqmodels.data.time_series import TimeSeries
from seqmodels.plots import Panel

NLAGS = 10
LEAST_PERMUTATIONS = 999


def load(config: Config) -> tuple[TimeSeries, tuple[tuple[str, ...], ...]]:
    """Returns the columns of labels of a configuration as codes, and the labels of each.

    Raises:
      ValueError: if the file or a column is not as expected.
      OSError: if the file cannot be read.
    """
    source = config.source
    assert source.csv is not None
    assert source.column is not None
    if not pathlib.Path(source.csv).is_file():
        raise ValueError(f"csv: got {source.csv!r}, expected a file that exists")
    columns = [*source.column, *([] if config.with_column is None else [config.with_column])]
    table, labels = series_files.read_labels(source.csv, columns, reading=source.reading)
    table = table.between(source.first, source.last)
    for name, column in zip(columns, table.values.T, strict=True):
        if len(np.unique(column[np.isfinite(column)])) < 2:
            raise ValueError(f"{name}: got one label alone, expected labels that vary")
    return table, labels


def associations(
    codes: np.ndarray, other: np.ndarray | None, nlags: int, alpha: float, seed: int
) -> list[Association]:
    """Returns the association with the column's own past, and with another's present and past.

    Args:
      codes: int (T,), negative where there is no label.
      other: the same, or None.
      nlags: the largest lag.
      alpha: level that the test of each lag must be able to reach, shared by all lags.
      seed: the seed of the shuffles.
    """
    permutations = max(LEAST_PERMUTATIONS, int(np.ceil(2 * (nlags + 1) / alpha)))
    key, other_key = jax.random.split(jax.random.key(seed))
    results = [lagged_association(key, codes, nlags=nlags, permutations=permutations)]
    if other is not None:
        results.append(
            lagged_association(other_key, codes, other, nlags=nlags, permutations=permutations)
        )
    return results


def analyze(table: TimeSeries, *, nlags: int | None, alpha: float, seed: int) -> list[Association]:
    """Returns the associations of the columns of `load`.

    Args:
      table: codes of the labels, and of another column's.
      nlags: the largest lag; None for `NLAGS`, or less where there are few labels.
      alpha: as in `associations`.
      seed: as in `associations`.

    Raises:
      ValueError: if the largest lag is too large.
    """
    codes = np.nan_to_num(table.values, nan=-1).astype(np.int32).T
    most = int((codes[0] >= 0).sum()) // 2 - 1
    if nlags is not None and nlags > most:
        raise ValueError(f"nlags: got {nlags}, expected at most {most}, less than half the labels")
    nlags = min(NLAGS, most) if nlags is None else nlags
    return associations(codes[0], codes[1] if len(codes) > 1 else None, nlags, alpha, seed)


def report(
    columns: tuple[str, ...], results: list[Association], folder: pathlib.Path, alpha: float
) -> str:
    """Prints table and words; writes association.csv, verdict.txt and association.png.

    Args:
      columns: names of the column and of another.
      results: the result of `associations`.
      folder: the folder of the report.
      alpha: level of the tests.

    Returns:
      The words.
    """
    _show_table(columns, results, folder)
    words = " ".join(
        label_words(
            f"The past of {name}" if not number else f"Of {columns[0]}, {name}",
            result.lags.tolist(), np.asarray(result.statistic), np.asarray(result.pvalue), alpha,
        )
        for number, (name, result) in enumerate(zip(columns, results, strict=True))
    )  # fmt: skip
    significant = [(result.pvalue <= alpha / len(result.lags)).any() for result in results]
    if len(results) > 1 and all(significant):
        words += " Autocorrelated labels are associated by chance more often than p suggests."
    say(words, lines=True)
    (folder / "verdict.txt").write_text(words + "\n")
    panels = [
        Panel(f"{columns[0]} and {name}, by lag", result.lags, np.asarray(result.statistic))
        for name, result in zip(columns, results, strict=True)
    ]
    figure = plots.correlograms(panels, title="Cramer's V by lag")
    figure.savefig(folder / "association.png")
    return words


def _show_table(columns: tuple[str, ...], results: list[Association], folder: pathlib.Path) -> None:
    """Prints the table of the associations by lag and writes it as association.csv."""
    table = Table(
        title="Cramer's V by lag: 0 without association, 1 if one label determines the other. p: "
        "by permutation.",
        box=box.SIMPLE,
        title_justify="left",
    )
    table.add_column("lag", justify="right")
    for name in columns:
        table.add_column(f"V, {name}", justify="right")
        table.add_column("p", justify="right")
    by_lag: dict[int, dict[int, tuple[float, float]]] = {}
    for number, result in enumerate(results):
        for lag, value, p in zip(result.lags, result.statistic, result.pvalue, strict=True):
            by_lag.setdefault(int(lag), {})[number] = (float(value), float(p))
    with (folder / "association.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["lag", *(f"{kind} {name}" for name in columns for kind in ("V", "p"))])
        for lag in sorted(by_lag):
            cells: list[str] = []
            for number in range(len(columns)):
                pair = by_lag[lag].get(number)
                cells += ["", ""] if pair is None else [f"{pair[0]:.3f}", f"{pair[1]:.2g}"]
            table.add_row(str(lag), *cells)
            writer.writerow([lag, *cells])
    study_report.show(table)
