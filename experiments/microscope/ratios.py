"""The gradient of the LSTM over that of the RNN, over the seeds of a run of long_context."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from seqmodels.analysis.statistics import mean_interval

CELLS = ("lstm", "rnn")  # the one whose gradient is divided, and the other
WHEN = {"initial": "before training", "trained": "both trained at distance"}


class Ratio(NamedTuple):
    """The gradient of one cell over that of another at a distance, as log10, over seeds.

    Attributes:
      distance: distance of both trainings, and of the gradient before the answer.
      when: "initial", before training, or "trained".
      by_seed: log10 of the ratio of each seed; both cells are trained on the same sequences.
      mean: their mean, log10 of the geometric mean.
      low, high: its 95% interval (Student's t); NaN for one seed.
    """

    distance: int
    when: str
    by_seed: list[float]
    mean: float
    low: float
    high: float


def gradient_ratios(results: dict[str, Any]) -> list[Ratio]:
    """Returns the ratios before and after training at every distance that has both cells.

    Each gradient is the norm of d score / d state, over the same at the answer itself.

    Args:
      results: results.json of long_context.
    """
    curves = {
        (record["cell"], record["distance"]): record["gradient_log10"]
        for record in results["results"]
    }
    found = []
    for distance in sorted({distance for _, distance in curves}):
        if distance and {(cell, distance) for cell in CELLS} <= curves.keys():
            for when in WHEN:
                above, below = (_at(curves[cell, distance], distance, when) for cell in CELLS)
                ratios = above - below
                if np.all(np.isfinite(ratios)):
                    found.append(Ratio(distance, when, ratios.tolist(), *mean_interval(ratios)))
    return found


def line(ratio: Ratio) -> str:
    """Returns a ratio in words."""
    count = len(ratio.by_seed)
    interval = f" [{_power(ratio.low)}, {_power(ratio.high)}]" if count > 1 else ""
    about = "geometric mean and 95% interval over" if count > 1 else "of"
    when = WHEN[ratio.when] + (f" {ratio.distance}" if ratio.when == "trained" else "")
    seeds = "seeds" if count > 1 else "seed"
    return (
        f"gradient {ratio.distance} steps before the answer, LSTM / RNN, {when}: "
        f"{_power(ratio.mean)}{interval}, {about} {count} {seeds}"
    )


def _at(curves: dict[str, Any], distance: int, when: str) -> np.ndarray:
    """Returns log10 of the gradient of every seed at a distance, between two points in a line."""

    def finite(values: Sequence[float | None]) -> list[float]:
        return [-np.inf if value is None else value for value in values]

    distances = curves["distances"]
    place = min(distance, distances[-1])
    return np.array([np.interp(place, distances, finite(own)) for own in curves[when]])


def _power(log10: float) -> str:
    if 0 <= log10 < 6:
        return f"{10**log10:,.0f}"
    return f"10^{log10:.0f}" if abs(log10) >= 10 else f"10^{log10:.1f}"
