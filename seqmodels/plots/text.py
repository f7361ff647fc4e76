"""Figures of decoded text: attention maps, and pictures with captions."""

import textwrap
from collections.abc import Sequence

import numpy as np

from seqmodels.plots.style import COLORS, Figure, drawable


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
    axes.set_title(title, fontsize=10)
    image = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    names = [[drawable(label) for label in labels] for labels in (source, target)]
    axes.set_xticks(
        range(len(source)), names[0], rotation=45, ha="right", fontsize=8, parse_math=False
    )
    axes.set_yticks(range(len(target)), names[1], fontsize=8, parse_math=False)
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
    figure.suptitle(title, fontsize=11)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, caption, good in zip(grid.flat, images, captions, right, strict=False):
        gray = image.shape[-1] == 1
        axes.imshow(image[..., 0] if gray else image, cmap="gray_r" if gray else None)
        label = textwrap.fill(drawable(caption), 24) or "(nothing)"
        color = COLORS[1] if good else COLORS[0]
        axes.set_title(label, fontsize=8, color=color, parse_math=False)
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
    figure.suptitle(title, fontsize=11)
    picture, bars = figure.subplots(2, 1, height_ratios=[3, 0.5 + 0.3 * len(captions)])
    picture.set_axis_off()
    gray = image.shape[-1] == 1
    shown = image[..., 0] if gray else image
    picture.imshow(shown, cmap="gray_r" if gray else None, vmin=0, vmax=255)
    bars.barh(range(len(captions)), probabilities, color=COLORS[0])
    bars.invert_yaxis()
    bars.set_xlim(0, 1)
    bars.set_xlabel("probability")
    labels = [textwrap.shorten(drawable(text), 60) or "(nothing)" for text in captions]
    bars.set_yticks(range(len(captions)), labels, fontsize=8, parse_math=False)
    return figure
