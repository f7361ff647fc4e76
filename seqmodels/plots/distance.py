"""Figures of accuracy and of gradient norms against distance."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqmodels.plots.style import COLORS, legend_label, one_panel, write_legend

Curve = tuple[Sequence[float], Sequence[float], Sequence[float]]


def accuracy_by_distance(
    distances: Sequence[int],
    curves: Mapping[str, Curve],
    *,
    chance: float,
    threshold: float,
    title: str,
) -> Figure:
    """Returns the figure of accuracy against distance, one curve with its interval a cell.

    Args:
      distances: N distances, ascending.
      curves: for each name (mean, low, high), N values each, NaN where nothing was measured.
      chance: accuracy without memory, drawn as a dotted line.
      threshold: accuracy that defines the memory horizon, drawn as a dashed line.
      title: title of the figure.

    Returns:
      A figure.
    """
    figure, axes = one_panel(title)
    for (name, (mean, low, high)), color in zip(curves.items(), COLORS * 9, strict=False):
        axes.plot(mean, "o-", color=color, label=legend_label(name), markersize=4)
        axes.fill_between(range(len(mean)), low, high, color=color, alpha=0.15, linewidth=0)
    axes.axhline(threshold, color="0.4", linestyle="--", linewidth=1, label="horizon threshold")
    axes.axhline(chance, color="0.4", linestyle=":", linewidth=1, label="without memory (chance)")
    _distance_axis(axes, distances)
    axes.set_ylabel("test accuracy")
    axes.set_ylim(-0.02, 1.04)
    write_legend(axes, fontsize=8)
    return figure


def gradient_by_distance(
    distances: Sequence[int],
    initial: Mapping[str, Sequence[float]],
    trained: Mapping[str, Sequence[float]],
    *,
    title: str,
) -> Figure:
    """Returns the figure of the gradient that reaches the clue, against distance.

    Args:
      distances: N distances, ascending.
      initial: for each name N ratios of gradient norms, before training (dashed).
      trained: the same after training (solid). A ratio of 0, too small for its dtype, is drawn as a
        triangle at the lower edge.
      title: title of the figure.

    Returns:
      A figure.
    """
    figure, axes = one_panel(title)
    ratios = np.asarray([*initial.values(), *trained.values()], np.float64)
    edge = 0.1 * np.min(ratios[ratios > 0], initial=1.0)
    for (name, after), color in zip(trained.items(), COLORS * 9, strict=False):
        gone = [n for n, ratio in enumerate(after) if ratio == 0]
        axes.plot(gone, [edge] * len(gone), "v", color=color, clip_on=False)
        labels = [legend_label(f"{name}, {when}") for when in ("trained", "before")]
        axes.plot(after, "o-", color=color, label=labels[0], markersize=4)
        axes.plot(initial[name], "--", color=color, label=labels[1], linewidth=1)
    axes.axhline(1, color="0.4", linestyle=":", linewidth=1)
    axes.set_yscale("log", nonpositive="mask")
    axes.set_ylim(bottom=edge)
    _distance_axis(axes, distances)
    axes.set_ylabel("gradient at the clue / gradient at the answer")
    write_legend(axes, fontsize=8)
    return figure


def _distance_axis(axes: Axes, distances: Sequence[int]) -> None:
    # Evenly spaced: distances usually double from one to the next, and begin with 0.
    axes.set_xticks(range(len(distances)), [str(d) for d in distances])
    axes.set_xlabel("distance (steps)")
