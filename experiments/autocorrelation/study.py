"""Does the past of a series tell of its present? Its correlogram, and what that says, in words.

Your own CSV has a header and a row a step; a column of dates orders and spaces them.

    python -m experiments.autocorrelation --series=sunspots
    python -m experiments.autocorrelation --csv=sales.csv --column=sales --difference=1
    python -m experiments.autocorrelation --csv=sales.csv --column=sales --with=price
    python -m experiments.autocorrelation --csv=diary.csv --column=meal --labels --with=weekday
    python -m experiments.autocorrelation --demo=food
"""

import pathlib

from absl import flags

from experiments.autocorrelation import food_diary as food
from experiments.autocorrelation import labels as autocorrelation_labels
from experiments.autocorrelation import numbers as autocorrelation_series
from experiments.common import app, series_flags
from experiments.forecasting.data import TRANSFORMS

DEMOS = ("food",)


def define_flags() -> None:
    """Defines the flags of this entry point."""
    series_flags.define()
    flags.DEFINE_string("with", None, "Another column: does its past tell of this one?")
    flags.DEFINE_bool("labels", False, "The column holds labels, such as meals, not numbers.")
    flags.DEFINE_string(
        "demo", None, f"Of {', '.join(DEMOS)}: a diary of day and food, and networks that read it."
    )
    flags.DEFINE_string("transform", "none", f"Of the values: {', '.join(TRANSFORMS)}.")
    flags.DEFINE_integer("difference", 0, "How often x_t - x_{t-1} is taken.", 0, 10)
    flags.DEFINE_integer(
        "seasonal_difference", 0, "How often x_t - x_{t-period} is taken before that.", 0, 10
    )
    flags.DEFINE_integer(
        "period", None, "Steps of a season; default: of the calendar, 12 for months.", 2, 10**6
    )
    flags.DEFINE_integer(
        "nlags", None, "The largest lag; default: two seasons, or 10 log10 of the length.", 1, 10**6
    )
    flags.DEFINE_float("alpha", 0.05, "Level of the bands and tests.", 1e-9, 0.5)
    flags.DEFINE_integer("seed", 0, "Decides the demo, and the shuffles of labels.", 0, 2**31)
    flags.DEFINE_string("out", None, "Folder of the report; by default one below runs/.")
    flags.DEFINE_bool("overwrite", False, "Replace the report that out holds.")
    app.checked(app.not_empty, "with", "out")
    app.checked(lambda value: value is None or app.known_name(DEMOS)(value), "demo")
    app.checked(app.known_name(TRANSFORMS), "transform")
    app.checked(app.no_nan, "alpha")


def main() -> int:
    """Does what the flags say. Returns the exit status."""
    values = flags.FLAGS
    other = values["with"].value
    try:
        _check(other)
        if values.demo:
            food.show(_folder("food"), values.seed, values.alpha)
        elif values.labels:
            table, labels = autocorrelation_labels.load(other)
            folder = _folder(table.name)
            autocorrelation_labels.show(
                table, labels, folder, nlags=values.nlags, alpha=values.alpha, seed=values.seed
            )
        else:
            also = () if other is None else (other,)
            series = series_flags.load(None, also)
            if len(series.columns) - len(also) != 1:
                raise ValueError(
                    f"column: got {', '.join(series.columns[: -len(also) or None])}, expected one"
                )
            changed = autocorrelation_series.changed(
                series,
                transform=values.transform,
                difference=values.difference,
                seasonal_difference=values.seasonal_difference,
                period=values.period,
            )
            found = autocorrelation_series.analyse(
                changed,
                nlags=values.nlags,
                alpha=values.alpha,
                period=values.period,
                difference=values.difference,
                seasonal_difference=values.seasonal_difference,
            )
            folder = _folder("-".join([series.name, *_changes(), *also]))
            autocorrelation_series.show(changed, found, folder, values.alpha)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise app.UserError(str(error)) from None
    return 0


def _check(other: str | None) -> None:
    values = flags.FLAGS
    sources = [name for name in ("demo", "series", "csv") if getattr(values, name) is not None]
    if len(sources) != 1:
        raise ValueError(
            f"series, csv, demo: got {' and '.join(sources) or 'none'}, expected one of them"
        )
    if values.labels and values.csv is None:
        raise ValueError("labels: got without csv, expected both")
    if (values.labels or values.demo) and _changes():
        raise ValueError(f"{_changes()[0]}: got with labels, expected numbers")
    if values.demo and other is not None:
        raise ValueError("with: got with demo, expected a csv or series")


def _changes() -> list[str]:
    """Returns what is done to the values before anything is told of them."""
    values = flags.FLAGS
    found = [] if values.transform == "none" else [f"transform={values.transform}"]
    names = ("difference", "seasonal_difference")
    return found + [f"{name}={getattr(values, name)}" for name in names if getattr(values, name)]


def _folder(name: str) -> pathlib.Path:
    """Returns the folder of the report, made; ValueError if it holds one that was not asked for."""
    values = flags.FLAGS
    if values.out is None:
        plain = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
        folder = pathlib.Path("runs", f"autocorrelation-{plain}")
    else:
        folder = pathlib.Path(values.out)
        if folder.is_dir() and any(folder.iterdir()) and not values.overwrite:
            raise ValueError(f"out: got {folder}, which is not empty, expected --overwrite too")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
