"""Style shared by all figures: colors, one panel, and drawable text."""

from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure as _Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.text import Text

from seqmodels.storage.text import printable

# Told apart also by those who do not see red and green (Okabe and Ito).
COLORS = ("#d55e00", "#009e73", "#0072b2", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


class Figure(_Figure):
    """A figure whose titles, labels and legends are plain text, in which `$` is a dollar.

    The labels of ticks stay as the function sets them; those of numbers are formulas.
    """

    def draw(self, renderer: RendererBase) -> None:
        """Draws the figure."""
        ticks = {
            label
            for axes in self.get_axes()
            for axis in (axes.xaxis, axes.yaxis)
            for label in (*axis.get_ticklabels(which="both"), axis.get_offset_text())
        }
        for text in self.findobj(Text):
            if isinstance(text, Text) and text not in ticks:
                text.set_parse_math(False)
                text.set_text(drawable(text.get_text(), keep="\n"))
        super().draw(renderer)


def one_panel(title: str) -> tuple[Figure, Axes]:
    """Returns a figure of the usual size with one panel."""
    # Figure by itself, without pyplot: no global state, no window system.
    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25)
    return figure, axes


def drawable(text: str, keep: str = "") -> str:
    """Returns the text with a box for what Matplotlib's own font does not have, such as emoji.

    Args:
      text: the text; control characters become escapes.
      keep: control characters that stay.
    """
    known = get_font(findfont("DejaVu Sans")).get_charmap()
    return "".join(
        sign if sign in keep or ord(sign) in known else "\u25a1" for sign in printable(text, keep)
    )


def legend_label(name: str) -> str:
    """Returns a name as the label of a curve; Matplotlib hides labels that begin with "_"."""
    return f" {drawable(name)}" if name.startswith("_") else drawable(name)
