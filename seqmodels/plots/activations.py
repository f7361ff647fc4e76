"""Figure of activation functions with their first and second derivatives."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from seqmodels.plots.style import COLORS, legend_label, write, write_legend

_TITLES = ("value", "first derivative", "second derivative")
Curves = tuple[np.ndarray, ...]


def activation_functions(
    inputs: np.ndarray, functions: Mapping[str, Curves], *, title: str
) -> Figure:
    """Returns the figure with one panel for the values and one for each derivative.

    Args:
      inputs: (N,) ascending.
      functions: by name the values, first and second derivatives, (N,) each.
      title: title of the figure.
    """
    figure = Figure(figsize=(10, 3.6), dpi=120, layout="constrained")
    write(figure.suptitle, title, fontsize=10)
    panels = figure.subplots(1, 3)
    for (name, curves), color in zip(functions.items(), COLORS * 9, strict=False):
        for axes, curve in zip(panels, curves, strict=True):
            axes.plot(inputs, curve, color=color, label=legend_label(name), linewidth=1.5)
    for axes, text in zip(panels, _TITLES, strict=True):
        axes.set_title(text, fontsize=9)
        axes.set_xlabel("input x")
        axes.grid(alpha=0.25)
    panels[0].set_ylim(-1.15, 2.0)
    write_legend(panels[0], fontsize=8, loc="upper left")
    return figure
