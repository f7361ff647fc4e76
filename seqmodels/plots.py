"""Arrays in, Matplotlib figures out."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

# Colours that stay apart for colour-blind readers (Okabe, Ito 2008).
COLOURS = ("#d55e00", "#009e73", "#0072b2", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
Curve = tuple[Sequence[float], Sequence[float], Sequence[float]]


def accuracy_by_distance(
    distances: Sequence[int],
    curves: Mapping[str, Curve],
    *,
    chance: float,
    threshold: float,
    title: str,
) -> Figure:
    """Returns the figure of accuracy against distance, one curve with its interval a cell.

    Args:
      distances: N distances, ascending.
      curves: for each name (mean, low, high), N values each, NaN where nothing was measured.
      chance: accuracy without memory, drawn as a dotted line.
      threshold: accuracy that defines the memory horizon, drawn as a dashed line.
      title: title of the figure.

    Returns:
      A figure.
    """
    figure, axes = _one_panel(title)
    for (name, (mean, low, high)), colour in zip(curves.items(), COLOURS * 9, strict=False):
        axes.plot(mean, "o-", color=colour, label=name, markersize=4)
        axes.fill_between(range(len(mean)), low, high, color=colour, alpha=0.15, linewidth=0)
    axes.axhline(threshold, color="0.4", linestyle="--", linewidth=1, label="horizon threshold")
    axes.axhline(chance, color="0.4", linestyle=":", linewidth=1, label="without memory (chance)")
    _distance_axis(axes, distances)
    axes.set_ylabel("test accuracy")
    axes.set_ylim(-0.02, 1.04)
    axes.legend(fontsize=8)
    return figure


def gradient_by_distance(
    distances: Sequence[int],
    initial: Mapping[str, Sequence[float]],
    trained: Mapping[str, Sequence[float]],
    *,
    title: str,
) -> Figure:
    """Returns the figure of the gradient that reaches the clue, against distance.

    Args:
      distances: N distances, ascending.
      initial: for each name N ratios of gradient norms, before training (dashed).
      trained: the same after training (solid). A ratio of 0, too small for its dtype, is drawn as a
        triangle at the lower edge.
      title: title of the figure.

    Returns:
      A figure.
    """
    figure, axes = _one_panel(title)
    every = np.asarray([*initial.values(), *trained.values()], np.float64)
    edge = 0.1 * np.min(every[every > 0], initial=1.0)
    for (name, after), colour in zip(trained.items(), COLOURS * 9, strict=False):
        gone = [n for n, ratio in enumerate(after) if ratio == 0]
        axes.plot(gone, [edge] * len(gone), "v", color=colour, clip_on=False)
        axes.plot(after, "o-", color=colour, label=f"{name}, trained", markersize=4)
        axes.plot(initial[name], "--", color=colour, label=f"{name}, before", linewidth=1)
    axes.axhline(1, color="0.4", linestyle=":", linewidth=1)
    axes.set_yscale("log", nonpositive="mask")
    axes.set_ylim(bottom=edge)
    _distance_axis(axes, distances)
    axes.set_ylabel("gradient at the clue / gradient at the answer")
    axes.legend(fontsize=8)
    return figure


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
    figure.suptitle(title, fontsize=11)
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
            colour = COLOURS[names.index(name) % len(COLOURS)]
            axes.bar(at, change, width, bottom=1.0, color=colour, label=name)
        axes.set_xlim(-0.5, len(shapes) - 0.5)
        axes.axhline(1, color="0.2", linewidth=1)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xticks(range(len(shapes)), shapes, fontsize=8)
        axes.set_title(label, fontsize=10)
        axes.grid(axis="y", alpha=0.25)
        axes.legend(fontsize=7, ncols=len(panel))
    return figure


def confusion_matrices(
    counts: Mapping[str, np.ndarray], classes: Sequence[str], *, title: str
) -> Figure:
    """Returns the figure of what was taken for what, one panel a model.

    Args:
      counts: for each name (C, C): how often class i (row) was taken for class j (column).
      classes: C names.
      title: title of the figure.

    Returns:
      A figure; colours are shares of a row, so that classes of different sizes compare.
    """
    columns = min(3, len(counts))
    rows = -(-len(counts) // columns)
    # Numbers of three digits have to fit into a square.
    side = max(2.6, 0.36 * len(classes))
    figure = Figure(
        figsize=(side * columns + 0.4, side * rows + 0.9), dpi=120, layout="constrained"
    )
    figure.suptitle(title, fontsize=11)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(counts) :]:
        axes.set_visible(False)
    for axes, (name, matrix) in zip(grid.flat, counts.items(), strict=False):
        matrix = np.asarray(matrix)
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        # The root lifts the few mistakes, which are what one looks for, off the white.
        axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(matrix):
            colour = "white" if shares[row, column] > 0.4 else "black"
            if count:
                axes.text(column, row, count, ha="center", va="center", fontsize=6.5, color=colour)
        right = np.trace(matrix) / max(matrix.sum(), 1)
        axes.set_title(f"{name}: {100 * right:.1f} % right", fontsize=9)
        axes.set_xticks(range(len(classes)), classes, fontsize=8)
        axes.set_yticks(range(len(classes)), classes, fontsize=8)
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
      truths: N names of the true classes.
      probabilities: for each model (N, C).
      classes: C names.
      title: title of the figure.

    Returns:
      A figure.
    """
    across = 3
    rows = -(-len(images) // across)
    figure = Figure(figsize=(4.2 * across, 1.5 * rows + 0.9), dpi=120, layout="constrained")
    figure.suptitle(title, fontsize=11)
    grid = figure.subplots(rows, 2 * across, squeeze=False, width_ratios=[1, 2] * across)
    for axes in grid.flat[2 * len(images) :]:
        axes.set_visible(False)
    for number, (image, truth) in enumerate(zip(images, truths, strict=True)):
        picture, bars = grid.flat[2 * number : 2 * number + 2]
        picture.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        picture.set_xticks([])
        picture.set_yticks([])
        picture.set_ylabel(f"true: {truth}", fontsize=8)
        width = 0.8 / len(probabilities)
        for place, (name, values) in enumerate(probabilities.items()):
            at = np.arange(len(classes)) + (place - (len(probabilities) - 1) / 2) * width
            colour = COLOURS[place % len(COLOURS)]
            bars.bar(at, values[number], width, color=colour, label=name)
        bars.set_ylim(0, 1)
        bars.set_yticks([0, 0.5, 1], ["0", "", "1"], fontsize=7)
        bars.set_xticks(range(len(classes)), classes, fontsize=7)
        if truth in classes:
            bars.get_xticklabels()[classes.index(truth)].set_fontweight("bold")
    names, labels = grid.flat[1].get_legend_handles_labels()
    figure.legend(names, labels, loc="outside lower center", ncols=len(labels), fontsize=8)
    return figure


def _one_panel(title: str) -> tuple[Figure, Axes]:
    # Figure by itself, without pyplot: no global state, no window system.
    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25)
    return figure, axes


def _distance_axis(axes: Axes, distances: Sequence[int]) -> None:
    # Evenly spaced: distances usually double from one to the next, and begin with 0.
    axes.set_xticks(range(len(distances)), [str(d) for d in distances])
    axes.set_xlabel("distance (steps)")


def confusion_matrices(
    matrices: Mapping[str, np.ndarray], classes: Sequence[str], *, title: str
) -> Figure:
    """Returns the figure of confusion matrices, each row as shares of its true class.

    Args:
      matrices: for each name (C, C) counts, true classes in rows, predicted in columns.
      classes: C names.
      title: title of the figure.

    Returns:
      A figure.
    """
    size = 1.2 + 0.6 * len(classes)
    shape = (0.8 + size * len(matrices), 0.9 + size)
    figure = Figure(figsize=shape, dpi=120, layout="constrained")
    figure.suptitle(title, fontsize=10)
    grid = figure.subplots(1, len(matrices), squeeze=False, sharey=True)
    names = [_drawable(name) for name in classes]
    for axes, (name, matrix) in zip(grid.flat, matrices.items(), strict=True):
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(*shares.shape):
            share = shares[row, column]
            colour = "white" if share > 0.6 else "black"
            axes.text(column, row, f"{share:.2f}", ha="center", va="center", color=colour)
        axes.set_title(name, fontsize=9)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(range(len(names)), names, fontsize=8, parse_math=False)
        axes.tick_params(axis="x", rotation=30)
        axes.set_xlabel("predicted", fontsize=8)
    grid[0, 0].set_ylabel("true", fontsize=8)
    return figure


def prediction_by_word(
    words: Sequence[str], curves: Mapping[str, Sequence[float]], *, ylabel: str, title: str
) -> Figure:
    """Returns the figure of how a prediction moves with every further word.

    Args:
      words: T words.
      curves: for each name T values, the t-th after t words.
      ylabel: what the values are.
      title: title of the figure.

    Returns:
      A figure.
    """
    width = min(max(5.0, 1.5 + 0.4 * len(words)), 30.0)
    figure = Figure(figsize=(width, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25)
    for (name, values), colour in zip(curves.items(), COLOURS * 9, strict=False):
        axes.plot(values, "o-", color=colour, label=_drawable(name), markersize=4)
    every = max(1, -(-len(words) // 60))  # labels of more words than that would overlap
    places = range(0, len(words), every)
    labels = [_drawable(words[place]) for place in places]
    axes.set_xticks(places, labels, rotation=60, ha="right", fontsize=8, parse_math=False)
    axes.set_ylabel(ylabel)
    axes.legend(fontsize=8)
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
        grey = image.shape[-1] == 1
        axes.imshow(image[..., 0] if grey else image, cmap="gray_r" if grey else None)
        told = textwrap.fill(_drawable(caption), 24) or "(nothing)"
        colour = COLOURS[1] if good else COLOURS[0]
        axes.set_title(told, fontsize=8, color=colour, parse_math=False)
    return figure


def _drawable(text: str) -> str:
    """Returns the text with a box for what Matplotlib's own font does not have, such as emoji."""
    known = get_font(findfont("DejaVu Sans")).get_charmap()
    return "".join(sign if ord(sign) in known else "\u25a1" for sign in text)
