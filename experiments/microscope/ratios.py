"""The gradient of the LSTM over that of the RNN, over the seeds of a run of long_context."""

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

    Each gradient is the norm of d score / d state, over the same at the answer itself. A distance
    at which a gradient of a seed is zero has no ratio.

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
                logs = [_at(curves[cell, distance], distance, when) for cell in CELLS]
                if np.all(np.isfinite(logs)):
                    ratios = logs[0] - logs[1]
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
    """Returns log10 of the gradient of every seed at a distance, between two points in a line.

    It is NaN where the gradient of a point that counts is zero, whose log10 is recorded as None.
    """
    distances = curves["distances"]
    place = min(distance, distances[-1])
    known = np.array(curves[when], np.float64)  # NaN for None
    if place in distances:
        return known[:, distances.index(place)]
    return np.array([np.interp(place, distances, own) for own in known])


def _power(log10: float) -> str:
    if 0 <= log10 < 6:
        return f"{10**log10:,.0f}"
    return f"10^{log10:.0f}" if abs(log10) >= 10 else f"10^{log10:.1f}"
