"""Figures of forecasts with intervals, against the observations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqmodels.plots.style import COLORS, legend_label, write, write_legend


def forecasts(
    times: np.ndarray,
    truth: np.ndarray,
    curves: Mapping[str, np.ndarray],
    quantiles: np.ndarray | None = None,
    *,
    title: str,
    ylabel: str = "",
    future: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> Figure:
    """Returns the figure of one-step forecasts against the truth, and of later forecasts.

    Args:
      times: (N,) dates or numbers of the steps.
      truth: (N,) observed values; NaN for a gap.
      curves: for each name (N,) forecasts of each step from the one before.
      quantiles: (N, 5) of the first curve at .025, .1, .5, .9, .975, drawn as bands.
      title: title of the figure.
      ylabel: label of the axis of values.
      future: times (K,), means (K,) and quantiles (K, 5) of the steps after the end.

    Returns:
      A figure.
    """
    figure = Figure(figsize=(9, 4.2), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    write(axes.set_title, title, fontsize=10)
    axes.grid(alpha=0.25)
    at = _drawable_times(times)
    if quantiles is not None:
        _bands(axes, at, quantiles, COLORS[0])
    axes.plot(
        at, truth, "-", color="0.1", linewidth=1.4, marker=".", markersize=4, label="observed"
    )
    for (name, values), color in zip(curves.items(), COLORS * 9, strict=False):
        axes.plot(at, values, "-", color=color, linewidth=1.2, label=legend_label(name))
    if future is not None:
        later = _drawable_times(future[0])
        _bands(axes, later, future[2], COLORS[2], labels=False)
        axes.plot(later, future[1], "o-", color=COLORS[2], markersize=3, label="after the end")
    write(axes.set_ylabel, ylabel)
    write_legend(axes, fontsize=8)
    return figure


def _bands(axes: Axes, at: Any, quantiles: np.ndarray, color: str, *, labels: bool = True) -> None:
    for low, high, alpha, name in ((0, 4, 0.12, "95 %"), (1, 3, 0.22, "80 %")):
        if len(at) == 1:  # a band of one step has no width
            axes.vlines(
                at,
                quantiles[:, low],
                quantiles[:, high],
                color=color,
                alpha=3 * alpha,
                linewidth=3,
            )
            continue
        axes.fill_between(
            at, quantiles[:, low], quantiles[:, high], color=color, alpha=alpha, linewidth=0,
            label=name if labels else None,
        )  # fmt: skip


def _drawable_times(times: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Returns dates in a form that Matplotlib accepts: days or finer."""
    at = np.asarray(times)
    if at.dtype.kind == "M" and np.datetime_data(at.dtype)[0] in ("Y", "M", "W"):
        return at.astype("datetime64[D]")
    return at
