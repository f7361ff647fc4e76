"""Figure of one step of a cell in detail, and of the same cell unrolled over a few steps."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from seqmodels.plots.style import drawable, write

# (face, edge) by the kind of a node.
_COLORS = {
    "input": ("#ffffff", "#000000"),
    "state": ("#d7efe6", "#009e73"),
    "product": ("#d9e8f5", "#0072b2"),
    "activation": ("#fbe3d4", "#d55e00"),
    "elementwise": ("#f0f0f0", "#666666"),
}
_HALF_WIDTH, _HALF_HEIGHT = 0.42, 0.3
Box = tuple[str, str, tuple[int, ...], tuple[int, ...]]  # kind, label, shape, sources


def unrolled(
    nodes: Sequence[Box],
    state: Sequence[tuple[str, int]],
    outputs: Sequence[int],
    *,
    num_steps: int,
    title: str,
) -> Figure:
    """Returns the figure: above, the operations of one step; below, the chain of steps.

    Args:
      nodes: (kind, label, shape, sources) of every operation, each after its sources; kind is
        "input", "state", "product", "activation" or "elementwise", sources are numbers of nodes.
      state: (name, node of the new value) of every leaf of the state.
      outputs: the nodes of y_t.
      num_steps: steps of the chain, 1 to 8.
      title: title of the figure.

    Raises:
      ValueError: if `num_steps` is not 1 to 8.
    """
    if not 1 <= num_steps <= 8:
        raise ValueError(f"num_steps: got {num_steps}, expected 1 to 8")
    layout = _layout(nodes)
    columns = max(x for x, _ in layout.places) + 2
    low, high = layout.edges
    rows = high - low + 1
    width = max(1.15 * columns + 1, 2.3 * num_steps + 2)
    detail = 0.95 * rows + 1.0
    figure = Figure(figsize=(width, detail + 2.6), dpi=110, layout="constrained")
    write(figure.suptitle, title, fontsize=11)
    step, chain = figure.subplots(2, 1, height_ratios=(detail, 2.4))
    _draw_step(step, nodes, layout, state, outputs)
    shapes = {label: shape for kind, label, shape, _ in nodes if kind == "state"}
    inputs = [(label, shape) for kind, label, shape, _ in nodes if kind == "input"]
    results = [nodes[number][2] for number in outputs]
    _draw_chain(chain, shapes, inputs, results, num_steps)
    return figure


class _Layout(NamedTuple):
    """places: (x, y) of every node. routes: for every (source, reader) the points of its line."""

    places: list[tuple[float, float]]
    routes: dict[tuple[int, int], list[tuple[float, float]]]

    @property
    def edges(self) -> tuple[float, float]:
        """The smallest and the largest y."""
        heights = [y for points in (self.places, *self.routes.values()) for _, y in points]
        return min(heights), max(heights)


def _layout(nodes: Sequence[Box]) -> _Layout:
    """Returns places in columns: x is the longest path from an input, y is near the sources.

    A line over several columns has a free place in each, so that it crosses no box.
    """
    depth: list[int] = []
    for _, _, _, sources in nodes:
        depth.append(1 + max((depth[s] for s in sources), default=-1))
    # A state that is read late is placed near its reader.
    for number, (kind, _, _, _) in enumerate(nodes):
        if kind in ("state", "input"):
            readers = [depth[n] for n, node in enumerate(nodes) if number in node[3]]
            depth[number] = max(min(readers, default=1) - 1, 0)
    columns: list[list[Any]] = [[] for _ in range(max(depth) + 1)]
    before: dict[Any, list[Any]] = {}
    for number, (_, _, _, sources) in enumerate(nodes):
        columns[depth[number]].append(number)
        before[number] = []
        for source in sources:
            last: Any = source
            for column in range(depth[source] + 1, depth[number]):
                columns[column].append((source, number, column))
                before[source, number, column] = [last]
                last = (source, number, column)
            before[number].append(last)
    height: dict[Any, float] = {}
    for number, members in enumerate(columns):
        wish = {
            member: float(np.mean([height[b] for b in before[member]])) if before[member] else 9.0
            for member in members
        }
        members.sort(key=lambda member: -wish[member])
        known = [value for member, value in wish.items() if before[member]]
        middle = float(np.mean(known)) if number and known else 0.0
        for place, member in enumerate(members):
            height[member] = middle + (len(members) - 1) / 2 - place
    places = [(float(depth[n]), height[n]) for n in range(len(nodes))]
    routes = {
        (source, number): [
            (float(column), height[source, number, column])
            for column in range(depth[source] + 1, depth[number])
        ]
        for number, (_, _, _, sources) in enumerate(nodes)
        for source in sources
    }
    return _Layout(places, routes)


def _draw_step(
    axes: Axes,
    nodes: Sequence[Box],
    layout: _Layout,
    state: Sequence[tuple[str, int]],
    outputs: Sequence[int],
) -> None:
    places = layout.places
    for (source, number), points in layout.routes.items():
        line = [(places[source][0] + _HALF_WIDTH, places[source][1])]
        for x, y in points:
            line += [(x - _HALF_WIDTH, y), (x + _HALF_WIDTH, y)]
        axes.plot(*zip(*line, strict=True), color="0.35", linewidth=0.9, zorder=1)
        _arrow(axes, line[-1], (places[number][0] - _HALF_WIDTH, places[number][1]))
    for (kind, label, shape, _), place in zip(nodes, places, strict=True):
        if kind in ("state", "input"):
            label = f"{label} at t" if kind == "input" else f"{label} at t-1"
        _box(axes, place, kind, f"{label}\n{_shape(shape)}")
    last = max(x for x, _ in places) + 1.25
    ends: dict[int, list[str]] = {}
    for name, number in state:
        ends.setdefault(number, []).append(f"{name} at t")
    for number in outputs:
        ends.setdefault(number, []).append("y at t")
    for number, names in ends.items():
        x, y = places[number]
        # Above the boxes that follow, if there are any.
        rise = 0.0 if x + 1.5 > last else 0.5
        _arrow(axes, (x + _HALF_WIDTH, y), (x + _HALF_WIDTH + 0.1, y + rise), head=False)
        end = (last, y + rise)
        _arrow(axes, (x + _HALF_WIDTH + 0.1, y + rise), end)
        _text(axes, ", ".join(names), end[0] + 0.05, end[1], va="center", fontsize=9)
    low, high = layout.edges
    axes.set_xlim(-0.7, last + 1.0)
    axes.set_ylim(low - 0.6, high + 0.8)
    write(axes.set_title, "one step", fontsize=10, loc="left")
    axes.set_axis_off()


def _draw_chain(
    axes: Axes,
    state: dict[str, tuple[int, ...]],
    inputs: Sequence[tuple[str, tuple[int, ...]]],
    outputs: Sequence[tuple[int, ...]],
    num_steps: int,
) -> None:
    carried = "\n".join(f"{name} {_shape(shape)}" for name, shape in state.items())
    read = "\n".join(_shape(shape) for _, shape in inputs)
    made = "\n".join(_shape(shape) for shape in outputs)
    for t in range(num_steps + 1):
        start, end = (2.0 * t - 1.55, 0.0), (2.0 * t - 0.45, 0.0)
        _arrow(axes, start, end)
        _text(axes, carried, 2.0 * t - 1.0, 0.08, ha="center", va="bottom", fontsize=8.5)
        if t == num_steps:
            break
        _box(axes, (2.0 * t, 0.0), "product", "step")
        _arrow(axes, (2.0 * t, -1.0), (2.0 * t, -_HALF_HEIGHT))
        _arrow(axes, (2.0 * t, _HALF_HEIGHT), (2.0 * t, 1.0))
        _text(axes, f"x at {t}\n{read}", 2.0 * t, -1.05, ha="center", va="top", fontsize=8.5)
        _text(axes, f"y at {t}\n{made}", 2.0 * t, 1.05, ha="center", va="bottom", fontsize=8.5)
    axes.set_xlim(-1.9, 2.0 * num_steps + 0.1)
    axes.set_ylim(-1.8, 1.8)
    write(
        axes.set_title, f"{num_steps} steps, the same parameters in each", fontsize=10, loc="left"
    )
    axes.set_axis_off()


def _box(axes: Axes, place: tuple[float, float], kind: str, text: str) -> None:
    face, edge = _COLORS[kind]
    x, y = place
    axes.add_patch(
        FancyBboxPatch(
            (x - _HALF_WIDTH, y - _HALF_HEIGHT), 2 * _HALF_WIDTH, 2 * _HALF_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.1", facecolor=face, edgecolor=edge, zorder=2,
        )
    )  # fmt: skip
    _text(axes, text, x, y, ha="center", va="center", fontsize=8.5, zorder=3)


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], *, head: bool = True
) -> None:
    axes.annotate(
        "", xy=end, xytext=start, zorder=1,
        arrowprops={"arrowstyle": "-|>" if head else "-", "color": "0.35", "linewidth": 0.9,
                    "shrinkA": 0, "shrinkB": 0},
    )  # fmt: skip


def _text(axes: Axes, text: str, x: float, y: float, **options: Any) -> None:
    write(lambda words, **more: axes.text(x, y, words, **more), text, **options)


def _shape(shape: tuple[int, ...]) -> str:
    return drawable(f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})")
