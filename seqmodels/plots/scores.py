"""Figure of many models' scores with intervals, one panel a task."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from seqmodels.plots.style import COLORS, write, write_ticks


class ScorePanel(NamedTuple):
    """One task: the axis label, (mean, low, high) of every row, and the score without memory.

    With `log` the axis is logarithmic, for positive means that differ by orders of magnitude. An
    interval that reaches 0 then begins at the left edge.
    """

    label: str
    rows: Sequence[tuple[float, float, float]]
    chance: float
    log: bool = False


def score_intervals(
    names: Sequence[str], panels: Mapping[str, ScorePanel], *, baseline: str, title: str
) -> Figure:
    """Returns the figure with one row a model and one panel a task.

    Args:
      names: N models, from top to bottom.
      panels: the panels by title; a row is NaN where nothing was measured.
      baseline: the name whose mean is drawn through each panel as a dashed line.
      title: title of the figure.
    """
    height = 1.4 + 0.26 * len(names)
    figure = Figure(figsize=(2.2 + 2.3 * len(panels), height), dpi=120, layout="constrained")
    write(figure.suptitle, title, fontsize=10)
    every = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
    places = np.arange(len(names))[::-1]
    for axes, (name, panel) in zip(every, panels.items(), strict=True):
        means, lows, highs = np.asarray(panel.rows, np.float64).T
        if panel.log:
            positive = np.append(means[means > 0], panel.chance)
            left = positive.min() / 3
            axes.set_xscale("log")
            axes.set_xlim(left=left, right=3 * np.append(highs[highs > 0], positive).max())
            lows = np.maximum(lows, left)
        axes.hlines(places, lows, highs, color=COLORS[2], linewidth=2, alpha=0.5)
        axes.plot(means, places, "o", color=COLORS[2], markersize=4)
        if baseline in names:
            axes.axvline(means[names.index(baseline)], color="0.4", linestyle="--", linewidth=1)
        axes.axvline(panel.chance, color="0.4", linestyle=":", linewidth=1)
        write(axes.set_title, name, fontsize=9)
        write(axes.set_xlabel, panel.label, fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
    write_ticks(every[0].set_yticks, list(names), places=list(places))
    return figure
