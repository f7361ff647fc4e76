"""The figure of a benchmark: ratios to a reference."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from seqmodels.plots.style import (
    COLORS,
    Figure,
    legend_label,
    write,
    write_legend,
    write_ticks,
)


def ratios_by_shape(
    shapes: Sequence[str],
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    title: str,
) -> Figure:
    """Returns the figure of ratios as bars on a logarithmic axis, one panel a name.

    Args:
      shapes: N names, one for each group of bars.
      panels: for each panel and in it for each competitor N positive ratios, NaN where nothing was
        measured.
      title: title of the figure.

    Returns:
      A figure.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(7 * columns, 0.6 + 2.8 * rows), dpi=120, layout="constrained")
    write(figure.suptitle, title, fontsize=11)
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (label, panel) in zip(grid.flat, panels.items(), strict=False):
        width = 0.8 / len(panel)
        for number, (name, heights) in enumerate(panel.items()):
            at = np.arange(len(shapes)) + (number - (len(panel) - 1) / 2) * width
            # From 1, so that slower and faster point to different sides.
            change = np.asarray(heights, np.float64) - 1
            color = COLORS[names.index(name) % len(COLORS)]
            axes.bar(at, change, width, bottom=1.0, color=color, label=legend_label(name))
        axes.set_xlim(-0.5, len(shapes) - 0.5)
        axes.axhline(1, color="0.2", linewidth=1)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        write_ticks(axes.set_xticks, shapes, fontsize=8)
        write(axes.set_title, label, fontsize=10)
        axes.grid(axis="y", alpha=0.25)
        write_legend(axes, fontsize=7, ncols=len(panel))
    return figure
