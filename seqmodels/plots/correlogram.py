"""Figures of correlation by lag, with the band of values that are not significant."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqmodels.arrays import as_floats
from seqmodels.plots.style import COLORS, write

SMALL = 0.5  # if all values and limits are below half of this, the axis is narrower
STACKED = 3  # up to this number of panels form a column; more form a grid
MOST_DOTS = 80  # with more stems the dots at their ends would touch


class Panel(NamedTuple):
    """Values by lag, for one part of a figure.

    Attributes:
      label: the label of the panel.
      lags: int (L,), ascending.
      values: (L,), NaN or masked for a missing value.
      low: (L,), values between `low` and `high` are not significant; None for no band.
      high: (L,), or None.
    """

    label: str
    lags: np.ndarray
    values: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


def correlograms(
    panels: Sequence[Panel],
    *,
    title: str,
    xlabel: str = "lag (steps)",
    series: tuple[np.ndarray, np.ndarray] | None = None,
    columns: int | None = None,
) -> Figure:
    """Returns the figure of correlograms: stems from 0, and the band of insignificant values.

    Values outside their band are drawn in full color, those inside are pale.

    Args:
      panels: up to three form a column, more form a grid.
      title: title of the figure.
      xlabel: label of the axes of lags.
      series: times (T,) and values (T,) of the series, drawn on top. Times are datetime64 or
        numbers; a gap is NaN. None for no such panel.
      columns: panels side by side; None: one column of up to three panels, a grid of more.

    Raises:
      ValueError: without panels, or if the arrays of one differ in length.
    """
    if not panels:
        raise ValueError("panels: got none, expected at least one")
    for panel in panels:
        sizes = [len(array) for array in panel[1:] if array is not None]
        if len(set(sizes)) > 1 or (panel.low is None) != (panel.high is None):
            raise ValueError(f"panels: {panel.label}: got lengths {sizes}, expected equal ones")
    if columns is None:
        columns = 1 if len(panels) <= STACKED else min(3, int(np.ceil(np.sqrt(len(panels)))))
    rows = -(-len(panels) // columns)
    on_top = int(series is not None)
    figure = Figure(
        figsize=(8 if columns == 1 else 4.4 * columns, 0.7 + 2.5 * (rows + on_top)),
        dpi=120,
        layout="constrained",
    )
    write(figure.suptitle, title, fontsize=11)
    grid = figure.add_gridspec(rows + on_top, columns)
    if series is not None:
        _draw_series(figure.add_subplot(grid[0, :]), *series)
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(grid[on_top + number // columns, number % columns])
        _draw(axes, panel)
        if number + columns >= len(panels):
            write(axes.set_xlabel, xlabel)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    lags, values = np.asarray(panel.lags), as_floats("values", panel.values)
    write(axes.set_title, panel.label, fontsize=9, loc="left")
    axes.grid(alpha=0.25)
    axes.axhline(0, color="0.3", linewidth=0.8)
    significant = np.isfinite(values)
    extent = values
    if panel.low is not None and panel.high is not None:
        low, high = (as_floats("limits", limit) for limit in (panel.low, panel.high))
        axes.fill_between(lags, low, high, color="0.5", alpha=0.2, linewidth=0)
        significant &= (values < low) | (values > high)
        extent = np.concatenate([values, low, high])
    for shown, alpha in ((significant, 1.0), (np.isfinite(values) & ~significant, 0.45)):
        axes.vlines(lags[shown], 0, values[shown], color=COLORS[2], alpha=alpha, linewidth=1.4)
        if len(lags) <= MOST_DOTS:
            axes.plot(lags[shown], values[shown], "o", color=COLORS[2], alpha=alpha, markersize=3)
    largest = float(np.max(np.abs(extent), where=np.isfinite(extent), initial=0))
    edge = 1.3 * largest if 0 < largest < SMALL / 2 else max(1.05, 1.05 * largest)
    if panel.low is None and np.nanmin(values) >= 0:
        # An association has no sign and is at most 1.
        axes.set_ylim(0, max(1.05, 1.05 * largest))
    else:
        axes.set_ylim(-edge, edge)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_series(axes: Axes, times: np.ndarray, values: np.ndarray) -> None:
    values = as_floats("values", values)
    axes.plot(times, values, color=COLORS[6], linewidth=0.9)
    # A value between two gaps does not make a line.
    is_observed = np.pad(np.isfinite(values), 1)
    alone = is_observed[1:-1] & ~is_observed[:-2] & ~is_observed[2:]
    axes.plot(times[alone], values[alone], ".", color=COLORS[6], markersize=3)
    axes.grid(alpha=0.25)
