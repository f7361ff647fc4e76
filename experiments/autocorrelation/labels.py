"""The association of labels with the labels before them, by lag."""

import csv
import pathlib

import jax
import numpy as np
from absl import flags
from rich import box
from rich.table import Table

from experiments.common import report as study_report
from seqmodels import plots
from seqmodels.analysis.autocorrelation import Association, lagged_association
from seqmodels.analysis.verdict import label_words
from seqmodels.data import series_files
from seqmodels.data.time_series import TimeSeries
from seqmodels.plots import Panel

NLAGS = 10
LEAST_PERMUTATIONS = 999


def load(other: str | None) -> tuple[TimeSeries, tuple[tuple[str, ...], ...]]:
    """Returns the column of labels that the flags name, and the other one if there is one.

    Raises:
      ValueError: in one line, for flags or a file that do not do.
      OSError: if the file cannot be read.
    """
    values = flags.FLAGS
    if not pathlib.Path(values.csv).is_file():
        raise ValueError(f"csv: got {values.csv!r}, expected a file that is there")
    if values.column is None or len(values.column) != 1:
        raise ValueError(
            f"column: got {', '.join(values.column or []) or 'none'}, expected the one with labels"
        )
    columns = [*values.column, *([] if other is None else [other])]
    table, labels = series_files.read_labels(
        values.csv, columns, values.date_column, values.date_format
    )
    table = table.between(values.first, values.last)
    for name, column in zip(columns, table.values.T, strict=True):
        if len(np.unique(column[np.isfinite(column)])) < 2:
            raise ValueError(f"{name}: got one label alone, expected labels that vary")
    return table, labels


def associations(
    codes: np.ndarray, other: np.ndarray | None, nlags: int, alpha: float, seed: int
) -> list[Association]:
    """Returns the association with the own past, and with another's present and past.

    Args:
      codes: int (T,), negative where there is none.
      other: the same, or None.
      nlags: the largest lag.
      alpha: level that the test of each lag must be able to reach, shared by all lags.
      seed: of the shuffles.
    """
    permutations = max(LEAST_PERMUTATIONS, int(np.ceil(2 * (nlags + 1) / alpha)))
    own, theirs = jax.random.split(jax.random.key(seed))
    found = [lagged_association(own, codes, nlags=nlags, permutations=permutations)]
    if other is not None:
        found.append(
            lagged_association(theirs, codes, other, nlags=nlags, permutations=permutations)
        )
    return found


def show(
    table: TimeSeries,
    labels: tuple[tuple[str, ...], ...],
    folder: pathlib.Path,
    *,
    nlags: int | None,
    alpha: float,
    seed: int,
) -> None:
    """Prints table and words; writes association.csv, verdict.txt and association.png."""
    codes = np.nan_to_num(table.values, nan=-1).astype(np.int32).T
    most = (codes[0] >= 0).sum() // 2 - 1
    if nlags is not None and nlags > most:
        raise ValueError(f"nlags: got {nlags}, expected at most {most}, less than half the labels")
    nlags = min(NLAGS, most) if nlags is None else nlags
    other = codes[1] if len(codes) > 1 else None
    found = associations(codes[0], other, nlags, alpha, seed)
    first, last = table.label(0), table.label(-1)
    print(f"{table.name}, {table.columns[0]}: {len(labels[0])} labels, {first} to {last}")
    report(table.columns, found, folder, alpha)
    print(f"report: {folder}")


def report(
    columns: tuple[str, ...], found: list[Association], folder: pathlib.Path, alpha: float
) -> str:
    """Shows associations as a table, a CSV, a picture and words; returns the words."""
    table = Table(
        title="Cramer's V by lag: 0 without association, 1 if one label gives the other. p: by "
        "shuffling.",
        box=box.SIMPLE,
        title_justify="left",
    )
    table.add_column("lag", justify="right")
    for name in columns:
        table.add_column(f"V, {name}", justify="right")
        table.add_column("p", justify="right")
    every: dict[int, dict[int, tuple[float, float]]] = {}
    for number, one in enumerate(found):
        for lag, value, p in zip(one.lags, one.statistic, one.pvalue, strict=True):
            every.setdefault(int(lag), {})[number] = (float(value), float(p))
    with (folder / "association.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["lag", *(f"{kind} {name}" for name in columns for kind in ("V", "p"))])
        for lag in sorted(every):
            cells: list[str] = []
            for number in range(len(columns)):
                pair = every[lag].get(number)
                cells += ["", ""] if pair is None else [f"{pair[0]:.3f}", f"{pair[1]:.2g}"]
            table.add_row(str(lag), *cells)
            writer.writerow([lag, *cells])
    study_report.show(table)
    words = " ".join(
        label_words(
            f"The past of {name}" if not number else f"Of {columns[0]}, {name}",
            one.lags.tolist(), np.asarray(one.statistic), np.asarray(one.pvalue), alpha,
        )
        for number, (name, one) in enumerate(zip(columns, found, strict=True))
    )  # fmt: skip
    if len(found) > 1 and all((one.pvalue <= alpha / len(one.lags)).any() for one in found):
        words += " Labels that remember go with others by chance more often than p says."
    print(words)
    (folder / "verdict.txt").write_text(words + "\n")
    panels = [
        Panel(f"{columns[0]} and {name} so long before", one.lags, np.asarray(one.statistic))
        for name, one in zip(columns, found, strict=True)
    ]
    figure = plots.correlograms(panels, title="Cramer's V by lag")
    figure.savefig(folder / "association.png")
    return words
