"""Figures of decoded text: attention maps, and pictures with captions."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqmodels.plots.style import COLORS, drawable, write, write_ticks


def attention_map(
    weights: np.ndarray, source: Sequence[str], target: Sequence[str], *, title: str
) -> Figure:
    """Returns the figure of attention weights: a row a token written, a column a token read.

    Args:
      weights: (T, S), each row sums to 1.
      source: S labels.
      target: T labels.
      title: title of the figure.

    Returns:
      A figure.
    """
    size = 1.6 + 0.42 * len(source), 1.5 + 0.34 * len(target)
    figure = Figure(figsize=(max(size[0], 4.5), size[1]), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    write(axes.set_title, title, fontsize=10)
    image = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    write_ticks(axes.set_xticks, source, rotation=45, ha="right", fontsize=8)
    write_ticks(axes.set_yticks, target, fontsize=8)
    axes.set_xlabel("read")
    axes.set_ylabel("written")
    figure.colorbar(image, ax=axes, label="weight")
    return figure


def contact_sheet(
    images: np.ndarray, captions: Sequence[str], right: Sequence[bool], *, title: str
) -> Figure:
    """Returns the figure of pictures with their captions, right ones green and wrong ones red.

    Args:
      images: uint8 (N, height, width, 1 or 3).
      captions: N texts.
      right: N, whether each caption is right.
      title: title of the figure.

    Returns:
      A figure.
    """
    columns = min(6, max(len(images), 1))
    rows = max(-(-len(images) // columns), 1)
    height, width = images.shape[1:3]
    tall = 2.0 * min(height / width, 2)
    figure = Figure(
        figsize=(2 * columns, (tall + 0.55) * rows + 0.5), dpi=120, layout="constrained"
    )
    write(figure.suptitle, title, fontsize=11)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, caption, good in zip(grid.flat, images, captions, right, strict=False):
        _show(axes, image)
        label = textwrap.fill(drawable(caption), 24) or "(nothing)"
        color = COLORS[1] if good else COLORS[0]
        write(axes.set_title, label, fontsize=8, color=color)
    return figure


def captioned_picture(
    image: np.ndarray, captions: Sequence[str], probabilities: Sequence[float], *, title: str
) -> Figure:
    """Returns the figure of a picture with the probabilities of its captions.

    Args:
      image: uint8 (height, width, 1 or 3).
      captions: N texts, the first one at the top.
      probabilities: N values in [0, 1].
      title: title of the figure.

    Returns:
      A figure.
    """
    figure = Figure(figsize=(8, 3 + 0.3 * len(captions)), dpi=120, layout="constrained")
    write(figure.suptitle, title, fontsize=11)
    picture, bars = figure.subplots(2, 1, height_ratios=[3, 0.5 + 0.3 * len(captions)])
    picture.set_axis_off()
    _show(picture, image)
    bars.barh(range(len(captions)), probabilities, color=COLORS[0])
    bars.invert_yaxis()
    bars.set_xlim(0, 1)
    bars.set_xlabel("probability")
    labels = [textwrap.shorten(drawable(text), 60) or "(nothing)" for text in captions]
    write_ticks(bars.set_yticks, labels, fontsize=8)
    return figure


def _show(axes: Axes, image: np.ndarray) -> None:
    """Draws a picture uint8 (height, width, 1 or 3), with ink dark where it is gray."""
    if image.shape[-1] == 1:
        # Without limits the contrast would be stretched, and a uniform picture be white.
        axes.imshow(image[..., 0], cmap="gray_r", vmin=0, vmax=255)
    else:
        axes.imshow(image)
