"""Figure of activation functions with their first and second derivatives."""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from seqmodels.analysis.activations import derivatives
from seqmodels.plots.style import COLORS, legend_label, write, write_legend
from seqmodels.types import Array

_TITLES = ("value", "first derivative", "second derivative")


def activation_functions(
    functions: Mapping[str, Callable[[Array], Array]], *, reach: float = 6.0, title: str
) -> Figure:
    """Returns the figure with one panel for the values and one for each derivative.

    Args:
      functions: the functions by name.
      reach: inputs from -reach to reach.
      title: title of the figure.
    """
    x = np.linspace(-reach, reach, 601)
    figure = Figure(figsize=(10, 3.6), dpi=120, layout="constrained")
    write(figure.suptitle, title, fontsize=10)
    panels = figure.subplots(1, 3)
    for (name, function), color in zip(functions.items(), COLORS * 9, strict=False):
        curves = derivatives(function, jnp.asarray(x, jnp.float32))
        for axes, curve in zip(panels, curves, strict=True):
            axes.plot(x, np.asarray(curve), color=color, label=legend_label(name), linewidth=1.5)
    for axes, text in zip(panels, _TITLES, strict=True):
        axes.set_title(text, fontsize=9)
        axes.set_xlabel("input x")
        axes.grid(alpha=0.25)
    panels[0].set_ylim(-1.15, 2.0)
    write_legend(panels[0], fontsize=8, loc="upper left")
    return figure
