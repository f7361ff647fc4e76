"""Sentences about a model, derived from its traces: what it wrote where, kept, and read."""

from collections.abc import Sequence

import numpy as np

from experiments.microscope.measure import Measured
from experiments.microscope.models import Collection, Text
from seqmodels.analysis.statistics import horizon_threshold, memory_horizon
from seqmodels.models.sequence_model import SequenceModelParams

UNITS = 2  # that a reading describes
FAINT = -2.0  # log10 of a gradient that hardly changes the answer


def readings(
    collection: Collection, found: Sequence[Measured], text: Text, distances: Sequence[int]
) -> list[str]:
    """Returns a paragraph about each model.

    Args:
      collection: the models.
      found: what was measured of each.
      text: that the traces are of.
      distances: of the horizons.
    """
    return [
        " ".join(
            filter(
                None,
                (
                    f"{one.model.name}:",
                    _answer(collection, one, text),
                    *_kept(collection, one, text),
                    _gradient(one),
                    _horizon(collection, one, distances),
                ),
            )
        )
        for one in found
    ]


def _answer(collection: Collection, one: Measured, text: Text) -> str:
    """Returns the answer, and the word that moved it most."""
    if not collection.classes:
        return f"The answer is {one.answers[-1, 0]:.2f}."
    last = int(np.argmax(one.answers[-1]))
    curve = one.answers[:, last]
    name, share = collection.classes[last], curve[-1]
    moves = np.diff(curve, prepend=1 / len(collection.classes))
    step = int(np.argmax(moves))
    return (
        f"The answer is {name!r} with probability {share:.2f}; the word {text.words[step]!r} "
        f"raised it most, by {moves[step]:.2f}, {_ago(text, step)}."
    )


def _kept(collection: Collection, one: Measured, text: Text) -> list[str]:
    """Returns what the units that decide the answer hold: where it was written, how it was kept.

    A state with a retention gate r is a sum over words: s_T = sum_t w_t prod_{s>t} r_s with the
    write w_t = s_t - r_t s_(t-1), so that the share of each word is exact.
    """
    retained = one.retained.get("")
    params = one.model.params
    if retained is None or not isinstance(params, SequenceModelParams):
        return []
    traces = one.traces[""]
    name = "c" if "c" in traces else "h"
    state = traces[name]
    before = np.concatenate([np.zeros_like(state[:1]), state[:-1]])
    writes = state - retained * before
    # Of a word at step t the product over all later steps is left at the end.
    later = np.cumprod(np.concatenate([retained[1:], np.ones_like(state[:1])])[::-1], axis=0)[::-1]
    weights = np.asarray(params.w_out)
    answer = int(np.argmax(one.answers[-1])) if collection.classes else 0
    toward = weights[:, answer] - (weights.mean(axis=1) if collection.classes else 0)
    support = traces["h"][-1] * toward
    sentences: list[str] = []
    for unit in np.argsort(-support)[:UNITS]:
        share = writes[:, unit] * later[:, unit] / state[-1, unit]
        step = int(np.argmax(share))
        rate = float(np.exp(np.mean(np.log(np.maximum(retained[step + 1 :, unit], 1e-30)))))
        kept = f", kept {rate:.3f} a step" if step + 1 < len(state) else ""
        gate = f" with the output gate at {traces['o'][-1, unit]:.2f}" if "o" in traces else ""
        sentences.append(
            f"Unit {unit} supports it most{'' if not sentences else ' after that'}: "
            f"{100 * share[step]:.0f} % of what it holds was written at {text.words[step]!r}, "
            f"{_ago(text, step)}{kept}, and is read at {text.words[-1]!r}{gate}."
        )
    return sentences


def _gradient(one: Measured) -> str:
    """Returns how many words back the gradient reaches."""
    if one.gradient is None:
        return ""
    faint = np.flatnonzero(one.gradient < FAINT)
    if not len(faint):
        return (
            f"The gradient {len(one.gradient) - 1} steps before the answer is "
            f"{_times(one.gradient[-1])} the one at the answer."
        )
    return (
        f"The gradient falls below a hundredth {faint[0]} steps before the answer: training hears "
        "little of what stood further back."
    )


def _horizon(collection: Collection, one: Measured, distances: Sequence[int]) -> str:
    """Returns the memory horizon on fresh sequences."""
    if one.horizon is None or collection.task_at is None:
        return ""
    chance = collection.task_at(distances[0]).chance
    reach = memory_horizon(distances, one.horizon.tolist(), chance)
    shares = ", ".join(
        f"{value:.2f} at {distance}" for distance, value in zip(distances, one.horizon, strict=True)
    )
    least = horizon_threshold(chance)
    if reach is None:
        return f"On fresh sequences it is right less often than {least:.2f} everywhere: {shares}."
    return f"On fresh sequences it remembers up to distance {reach}; right answers: {shares}."


def _ago(text: Text, step: int) -> str:
    back = len(text.words) - 1 - step
    return "the last word" if not back else f"{back} words before the end"


def _times(log10: float) -> str:
    return f"{10**log10:.2g} times"
