"""Style shared by all figures: colors, one panel, and drawable text."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

# Told apart also by those who do not see red and green (Okabe and Ito).
COLORS = ("#d55e00", "#009e73", "#0072b2", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


def one_panel(title: str) -> tuple[Figure, Axes]:
    """Returns a figure of the usual size with one panel."""
    # Figure by itself, without pyplot: no global state, no window system.
    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25)
    return figure, axes


def drawable(text: str) -> str:
    """Returns the text with a box for what Matplotlib's own font does not have, such as emoji."""
    known = get_font(findfont("DejaVu Sans")).get_charmap()
    return "".join(sign if ord(sign) in known else "\u25a1" for sign in text)
