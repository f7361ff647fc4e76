"""The tables of the microscope, as rows of CSV files."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from experiments.long_context.texts import Text
from experiments.microscope.measure import Measured

DIGITS = 7  # significant ones


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Returns a table as RFC 4180 text; None and numbers that are not finite stay empty."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_field(value) for value in row] for row in rows)
    return written.getvalue()


def gates(measured: Measured, text: Text) -> str:
    """Returns gates, candidates and states of one model: a row for each word and unit."""
    names: list[str] = []
    columns = []
    for direction, arrays in measured.traces.items():
        for name, values in arrays.items():
            names.append(f"{direction} {name}".strip())
            columns.append(values)
    stacked = np.stack(columns, axis=-1)
    return csv_text(
        ("step", "word", "unit", *names),
        (
            (step, text.words[step], unit, *stacked[step, unit])
            for step in range(stacked.shape[0])
            for unit in range(stacked.shape[1])
        ),
    )


def answers(found: Sequence[Measured], classes: Sequence[str], text: Text) -> str:
    """Returns the answers after each word: a row for each model and word."""
    return csv_text(
        ("model", "step", "word", *(classes or ("answer",))),
        (
            (one.model.name, step, word, *one.answers[step])
            for one in found
            for step, word in enumerate(text.words)
        ),
    )


def gradients(found: Sequence[Measured]) -> str:
    """Returns the gradient by distance: a row for each model and distance."""
    return csv_text(
        ("model", "distance", "log10_gradient"),
        (
            (one.model.name, distance, value)
            for one in found
            if one.gradient is not None
            for distance, value in enumerate(one.gradient)
        ),
    )


def horizons(found: Sequence[Measured], distances: Sequence[int]) -> str:
    """Returns the accuracy on fresh sequences: a row for each model and distance."""
    return csv_text(
        ("model", "distance", "accuracy"),
        (
            (one.model.name, distance, value)
            for one in found
            if one.horizon is not None
            for distance, value in zip(distances, one.horizon, strict=True)
        ),
    )


def units(measured: Measured) -> str:
    """Returns the statistics of the units of one model, the longest memory first."""
    first = next(iter(measured.units.values()))
    limits = [f"{name}_{side}" for name in first.saturation for side in ("low", "high")]
    return csv_text(
        ("direction", "unit", "time_constant", "half_life", *limits),
        (
            (
                direction or "forward",
                unit,
                None if own.time_constant is None else own.time_constant[unit],
                None if own.half_life is None else own.half_life[unit],
                *(share[unit] for pair in own.saturation.values() for share in pair),
            )
            for direction, own in measured.units.items()
            for unit in own.order
        ),
    )


def _field(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return f"{value:.{DIGITS}g}" if np.isfinite(value) else ""
    return "" if value is None else value
