"""Style shared by all figures: colors, a single panel, and literal text."""

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

from seqmodels.storage.text import printable
from seqmodels.texts import is_visible

# Distinguishable also with red-green color blindness (Okabe and Ito).
COLORS = ("#d55e00", "#009e73", "#0072b2", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


def one_panel(title: str) -> tuple[Figure, Axes]:
    """Returns a figure of the usual size with one panel."""
    # `Figure` without pyplot: no global state, no window system.
    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    write(axes.set_title, title, fontsize=10)
    axes.grid(alpha=0.25)
    return figure, axes


def write(setter: Callable[..., Any], text: str, **options: Any) -> Any:
    """Calls a Matplotlib method that sets one text, so that the text is shown literally.

    Every caller's text in a figure passes through this function, `write_ticks` or `write_legend`.
    Otherwise Matplotlib reads a `$` as mathematics, which hides characters or raises when the
    figure is saved.

    Args:
      setter: such as `axes.set_title` or `figure.suptitle`.
      text: any text.
      **options: further options of the method.
    """
    return setter(drawable(text), parse_math=False, **options)


def write_ticks(setter: Callable[..., Any], texts: Sequence[str], **options: Any) -> None:
    """Sets ticks at 0, 1, ... with labels by `axes.set_xticks` or `axes.set_yticks`.

    Args:
      setter: the method.
      texts: the labels.
      **options: `places` for ticks elsewhere, and those of the method.
    """
    places = options.pop("places", range(len(texts)))
    setter(places, [drawable(text) for text in texts], parse_math=False, **options)


def legend_label(name: str) -> str:
    """Returns the label of a curve; Matplotlib leaves labels that begin with `_` out of legends."""
    text = drawable(name)
    return f"\u200a{text}" if text.startswith("_") else text


def write_legend(owner: Axes | Figure, *handles: Sequence[Any], **options: Any) -> None:
    """Adds a legend to axes or a figure.

    Args:
      owner: axes, or a figure.
      *handles: none, or handles and labels.
      **options: further options of the method `legend`.
    """
    if not handles:
        handles = owner.get_legend_handles_labels()  # type: ignore[union-attr]
    artists, labels = handles
    legend = owner.legend(artists, labels, **options)
    for text in legend.get_texts():
        text.set_parse_math(False)


def drawable(text: str, keep: str = "\n") -> str:
    """Returns the text with a box for each character that Matplotlib's font lacks, such as emoji.

    Variation selectors, joiners and other invisible characters are left out.

    Args:
      text: the text; control characters become escapes.
      keep: control characters that stay.
    """
    known = get_font(findfont("DejaVu Sans")).get_charmap()
    seen = "".join(sign for sign in str(text) if is_visible(sign))
    return "".join(
        sign if sign in keep or ord(sign) in known else "\u25a1" for sign in printable(seen, keep)
    )
