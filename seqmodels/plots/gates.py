"""Figures of a trained model's gates: heat maps over words, gradients and horizons by distance."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqmodels.plots.style import (
    COLORS,
    legend_label,
    one_panel,
    write,
    write_legend,
    write_ticks,
)

CELL_COLORS = {
    "rnn": COLORS[0], "gru": COLORS[1], "lstm": COLORS[2],
    "bilstm": COLORS[3], "rnn_relu": COLORS[4], "gru_after": COLORS[5],
}  # fmt: skip
_STYLES = ("-", "--", ":", "-.")
_MOST_WORDS = 50  # labels of more words than that would overlap


class CellCurve(NamedTuple):
    """A curve of one model.

    Attributes:
      name: the label in the legend.
      cell: a key of `CELL_COLORS`, which gives the color.
      values: N values.
    """

    name: str
    cell: str
    values: Sequence[float]


def gate_heat_maps(
    panels: Mapping[str, np.ndarray], words: Sequence[str], *, title: str, bounded: Sequence[str]
) -> Figure:
    """Returns the figure of gates and states over time: a panel each, a row a unit.

    Args:
      panels: by name, values (T, H) with the units in the order in which they are drawn.
      words: T labels.
      title: title of the figure.
      bounded: names of panels whose values lie in [0, 1]; others are drawn around 0.

    Returns:
      A figure.
    """
    width = min(max(7.0, 2.5 + 0.16 * len(words)), 14.0)
    figure = Figure(figsize=(width, 1.2 + 1.75 * len(panels)), dpi=120, layout="constrained")
    write(figure.suptitle, title, fontsize=13)
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, values) in zip(grid, panels.items(), strict=True):
        # With the full range, outliers of a state would make all other values pale.
        largest = float(np.nanpercentile(np.abs(values), 99)) or 1.0
        limits = (0.0, 1.0) if name in bounded else (-largest, largest)
        image = axes.imshow(
            values.T,
            aspect="auto",
            interpolation="nearest",
            cmap="viridis" if name in bounded else "RdBu_r",
            vmin=limits[0],
            vmax=limits[1],
        )
        write(axes.set_ylabel, f"{name}\nunit", fontsize=11)
        axes.set_yticks([])
        figure.colorbar(image, ax=axes, pad=0.01, fraction=0.03).ax.tick_params(labelsize=9)
    _word_axis(grid[-1], words)
    return figure


def answers_by_word(
    panels: Mapping[str, np.ndarray], classes: Sequence[str], words: Sequence[str], *, title: str
) -> Figure:
    """Returns the figure of the probabilities after each word: a panel a model, a row a class.

    Args:
      panels: by name of the model, probabilities (T, C).
      classes: C labels.
      words: T labels.
      title: title of the figure.

    Returns:
      A figure.
    """
    width = min(max(7.0, 2.5 + 0.16 * len(words)), 14.0)
    height = 1.4 + len(panels) * (0.6 + 0.19 * len(classes))
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    write(figure.suptitle, title, fontsize=13)
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, values) in zip(grid, panels.items(), strict=True):
        image = axes.imshow(
            values.T, aspect="auto", interpolation="nearest", cmap="Blues", vmin=0, vmax=1
        )
        write(axes.set_title, name, fontsize=11, loc="left")
        write_ticks(axes.set_yticks, classes, fontsize=10)
    bar = figure.colorbar(image, ax=list(grid), pad=0.01, fraction=0.03, shrink=min(1, 3 / height))
    bar.set_label("probability", fontsize=11)
    _word_axis(grid[-1], words)
    return figure


def gradient_by_steps(curves: Sequence[CellCurve], *, title: str, xlabel: str) -> Figure:
    """Returns the figure of the gradient by distance on a logarithmic axis.

    Args:
      curves: log10 of the gradient 0, 1, 2, ... steps before the last one over the last one's;
        -inf is not drawn.
      title: title of the figure.
      xlabel: label of the axis of distances.

    Returns:
      A figure.
    """
    figure, axes = one_panel(title)
    for curve, style in zip(curves, _styles(curves), strict=True):
        values = np.asarray(curve.values, np.float64)
        values = np.where(np.isfinite(values), values, np.nan)
        axes.plot(values, style, color=CELL_COLORS[curve.cell], label=legend_label(curve.name))
    axes.axhline(0, color="0.4", linestyle=":", linewidth=1)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.yaxis.set_major_formatter(lambda power, _: f"$10^{{{power:.0f}}}$")
    axes.set_xlabel(xlabel)
    axes.set_ylabel("gradient / gradient at the answer")
    write_legend(axes, fontsize=9)
    return figure


def horizon_by_distance(
    distances: Sequence[int],
    curves: Sequence[CellCurve],
    *,
    chance: float,
    threshold: float,
    title: str,
    xlabel: str,
) -> Figure:
    """Returns the figure of accuracy on fresh sequences against distance.

    Args:
      distances: N distances, ascending.
      curves: accuracies at each.
      chance: accuracy without memory, drawn as a dotted line.
      threshold: accuracy that defines the memory horizon, drawn as a dashed line.
      title: title of the figure.
      xlabel: label of the axis of distances.

    Returns:
      A figure.
    """
    figure, axes = one_panel(title)
    for curve, style in zip(curves, _styles(curves), strict=True):
        color = CELL_COLORS[curve.cell]
        label = legend_label(curve.name)
        axes.plot(curve.values, style, color=color, label=label, marker="o", markersize=4)
    axes.axhline(threshold, color="0.4", linestyle="--", linewidth=1, label="horizon threshold")
    axes.axhline(chance, color="0.4", linestyle=":", linewidth=1, label="without memory (chance)")
    axes.set_xticks(range(len(distances)), [str(distance) for distance in distances])
    axes.set_xlabel(xlabel)
    axes.set_ylabel("accuracy on fresh sequences")
    axes.set_ylim(-0.02, 1.04)
    write_legend(axes, fontsize=9)
    return figure


def _styles(curves: Sequence[CellCurve]) -> list[str]:
    """Returns the line of every curve: solid for the last one of its cell, then dashed."""
    own: dict[str, int] = {}
    found = []
    for curve in reversed(curves):
        found.append(_STYLES[own.setdefault(curve.cell, 0) % len(_STYLES)])
        own[curve.cell] += 1
    return found[::-1]


def _word_axis(axes: Axes, words: Sequence[str]) -> None:
    """Labels every word, or only the longest of neighboring words if there are too many."""
    spacing = max(1, -(-len(words) // _MOST_WORDS))
    # From the end, because the answer is read at the last word, which must have a label.
    groups = [range(max(end - spacing, 0), end) for end in range(len(words) - 1, 0, -spacing)]
    places = [max(group, key=lambda place: len(words[place])) for group in groups]
    places = [*places[::-1], len(words) - 1]
    labels = [words[place] for place in places]
    write_ticks(axes.set_xticks, labels, places=places, rotation=90, fontsize=10)
