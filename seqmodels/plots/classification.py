"""Figures of classifiers: confusion matrices, probabilities, and predictions by word."""

from collections.abc import Mapping, Sequence

import numpy as np

from seqmodels.plots.style import (
    COLORS,
    Figure,
    legend_label,
    write,
    write_legend,
    write_ticks,
)


def confusion_matrices(
    counts: Mapping[str, np.ndarray], classes: Sequence[str], *, title: str
) -> Figure:
    """Returns the figure of confusion matrices, one panel per model.

    Args:
      counts: for each name (C, C): how often class i (row) was predicted as class j (column).
      classes: C names.
      title: title of the figure.

    Returns:
      A figure; colors are shares of a row, so that classes of different sizes compare.
    """
    columns = min(3, len(counts))
    rows = -(-len(counts) // columns)
    # Numbers of three digits must fit into a square.
    side = max(2.6, 0.36 * len(classes))
    size = 6.5 if len(classes) > 5 else 9
    figure = Figure(
        figsize=(side * columns + 0.4, side * rows + 0.9), dpi=120, layout="constrained"
    )
    write(figure.suptitle, title, fontsize=11)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(counts) :]:
        axes.set_visible(False)
    for axes, (name, matrix) in zip(grid.flat, counts.items(), strict=False):
        matrix = np.asarray(matrix)
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        # The root makes the few mistakes, which matter most, visible on the white.
        axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(matrix):
            color = "white" if shares[row, column] > 0.4 else "black"
            if count:
                axes.text(
                    column, row, f"{count:g}", ha="center", va="center", size=size, color=color
                )
        right = np.trace(matrix) / max(matrix.sum(), 1)
        write(axes.set_title, f"{name}: {100 * right:.1f} % right", fontsize=9)
        write_ticks(axes.set_xticks, classes, fontsize=8)
        write_ticks(axes.set_yticks, classes, fontsize=8)
        axes.set_xlabel("predicted", fontsize=8)
        axes.set_ylabel("true", fontsize=8)
    return figure


def image_probabilities(
    images: np.ndarray,
    truths: Sequence[str],
    probabilities: Mapping[str, np.ndarray],
    classes: Sequence[str],
    *,
    title: str,
) -> Figure:
    """Returns the figure of images, each with the probabilities that models give to the classes.

    Args:
      images: (N, height, width) from 0 to 1, drawn dark on light.
      truths: N names of the true classes; "" where it is not known.
      probabilities: for each model (N, C).
      classes: C names.
      title: title of the figure.

    Returns:
      A figure.
    """
    across = min(3, len(images))
    rows = -(-len(images) // across)
    figure = Figure(figsize=(4.2 * across, 1.5 * rows + 0.9), dpi=120, layout="constrained")
    write(figure.suptitle, title, fontsize=11)
    grid = figure.subplots(rows, 2 * across, squeeze=False, width_ratios=[1, 2] * across)
    for axes in grid.flat[2 * len(images) :]:
        axes.set_visible(False)
    for number, (image, truth) in enumerate(zip(images, truths, strict=True)):
        picture, bars = grid.flat[2 * number : 2 * number + 2]
        picture.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        picture.set_xticks([])
        picture.set_yticks([])
        if truth:
            write(picture.set_ylabel, f"true: {truth}", fontsize=8)
        width = 0.8 / len(probabilities)
        for place, (name, values) in enumerate(probabilities.items()):
            at = np.arange(len(classes)) + (place - (len(probabilities) - 1) / 2) * width
            color = COLORS[place % len(COLORS)]
            bars.bar(at, values[number], width, color=color, label=legend_label(name))
        bars.set_ylim(0, 1)
        bars.set_yticks([0, 0.5, 1], ["0", "", "1"], fontsize=7)
        write_ticks(bars.set_xticks, classes, fontsize=7)
        if truth in classes:
            bars.get_xticklabels()[classes.index(truth)].set_fontweight("bold")
    handles, labels = grid.flat[1].get_legend_handles_labels()
    location = {"loc": "outside lower center", "ncols": len(labels)}
    write_legend(figure, handles, labels, fontsize=8, **location)
    return figure


def prediction_by_word(
    words: Sequence[str], curves: Mapping[str, Sequence[float]], *, ylabel: str, title: str
) -> Figure:
    """Returns the figure of a prediction after each word of a text.

    Args:
      words: T words.
      curves: for each name T values, the t-th after t words.
      ylabel: label of the axis of values.
      title: title of the figure.

    Returns:
      A figure.
    """
    width = min(max(5.0, 1.5 + 0.4 * len(words)), 30.0)
    figure = Figure(figsize=(width, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    write(axes.set_title, title, fontsize=10)
    axes.grid(alpha=0.25)
    for (name, values), color in zip(curves.items(), COLORS * 9, strict=False):
        axes.plot(values, "o-", color=color, label=legend_label(name), markersize=4)
    spacing = max(1, -(-len(words) // 60))  # labels of more words than that would overlap
    places = range(0, len(words), spacing)
    labels = [words[place] for place in places]
    write_ticks(axes.set_xticks, labels, places=places, rotation=60, ha="right", fontsize=8)
    write(axes.set_ylabel, ylabel)
    write_legend(axes, fontsize=8)
    return figure
