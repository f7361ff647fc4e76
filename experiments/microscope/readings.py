"""Sentences about a model, derived from its traces: writes, retention and reads by word."""

from collections.abc import Sequence

import numpy as np

from experiments.long_context.texts import Text
from experiments.microscope.measure import Measured
from experiments.microscope.models import Collection
from seqmodels.analysis.statistics import horizon_threshold, memory_horizon
from seqmodels.models.sequence_model import SequenceModelParams

WORDS = 3  # named by a reading
LEAST_SHARE = 0.1  # of the evidence, from which a word is named
FAINT = -2.0  # log10 of a gradient that is negligible


def readings(
    collection: Collection, found: Sequence[Measured], text: Text, distances: Sequence[int]
) -> list[str]:
    """Returns a paragraph about each model.

    Args:
      collection: the models.
      found: the measurements of each model.
      text: the traced text.
      distances: the distances of the horizons.
    """
    return [
        " ".join(
            filter(
                None,
                (
                    f"{one.model.name}:",
                    _answer(collection, one, text),
                    *_kept(collection, one, text),
                    _memory(one, text),
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
    """Returns the words that wrote the evidence for the answer, and how a unit carried it.

    A state with a retention gate r is a sum over words: s_T = sum_t w_t prod_{s>t} r_s with the
    write w_t = s_t - r_t s_(t-1). The output is linear in h_T, so it is a sum over words and units;
    of an LSTM h_T counts as c_T times h_T / c_T.
    """
    retained = one.retained.get("")
    params = one.model.params
    if retained is None or not isinstance(params, SequenceModelParams):
        return []
    traces = one.traces[""]
    state = traces["c" if "c" in traces else "h"]
    before = np.concatenate([np.zeros_like(state[:1]), state[:-1]])
    # Of what is written at a step the product over all later steps is left at the end.
    ones = np.ones_like(state[:1])
    left = np.cumprod(np.concatenate([retained[1:], ones])[::-1], axis=0)[::-1]
    weights = np.asarray(params.w_out)
    answer = int(np.argmax(one.answers[-1])) if collection.classes else 0
    toward = weights[:, answer] - (weights.mean(axis=1) if collection.classes else 0)
    seen = np.divide(traces["h"][-1], state[-1], where=state[-1] != 0, out=np.zeros_like(state[-1]))
    evidence = (state - retained * before) * left * seen * toward
    total = evidence.sum()
    if total <= 0:
        return []
    by_word = evidence.sum(axis=1)
    top = np.argsort(-by_word, kind="stable")[:WORDS]
    shares = [
        f"{100 * by_word[step] / total:.0f}% at {text.words[step]!r} ({_ago(text, step)})"
        for step in top
    ]
    step = int(top[0])
    if by_word[step] < LEAST_SHARE * total:
        return [
            f"No word wrote more than {100 * by_word[step] / total:.0f}% of the evidence that is "
            f"there at the end ({text.words[step]!r} wrote that much): the network writes it again "
            "at every step, from its own state."
        ]
    unit = int(np.argmax(evidence[step]))
    where = ""
    if "i" in traces:
        where = f", whose input gate opens to {traces['i'][step, unit]:.2f} there,"
    kept = ""
    if step + 1 < len(state):
        rate = np.exp(np.mean(np.log(np.maximum(retained[step + 1 :, unit], 1e-30))))
        kept = f" and keeps {rate:.3f} of it a step"
    gate = ""
    if "o" in traces:
        gate = f" The output gate at the end is {traces['o'][-1, unit]:.2f}."
    return [
        f"Its evidence was written {', '.join(shares)}.",
        f"Unit {unit}{where} takes up most of {text.words[step]!r}{kept}.{gate}",
    ]


def _memory(one: Measured, text: Text) -> str:
    """Returns how many units keep a value for longer than the model was trained to."""
    units = one.units.get("")
    if units is None or units.time_constant is None:
        return ""
    steps = one.model.distance or len(text.words)
    count = int(np.sum(units.time_constant > steps))
    return (
        f"{count} of {len(units.time_constant)} units have a time constant above {steps} steps "
        f"(the longest {np.max(units.time_constant):,.0f})."
    )


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
        f"The gradient falls below a hundredth {faint[0]} steps before the answer, so training "
        "learns little from earlier words."
    )


def _horizon(collection: Collection, one: Measured, distances: Sequence[int]) -> str:
    """Returns the memory horizon on fresh sequences."""
    if one.horizon is None or collection.task_at is None:
        return ""
    chance = collection.task_at(distances[0]).chance
    reach = memory_horizon(distances, one.horizon.tolist(), chance)
    least = horizon_threshold(chance)
    if reach is None:
        first = distances[0]
        return (
            f"On fresh sequences at distance {first} {one.horizon[0]:.2f} of its answers are "
            f"right, less than the {least:.2f} that count as remembering."
        )
    further = [
        (distance, share)
        for distance, share in zip(distances, one.horizon, strict=True)
        if distance > reach
    ]
    beyond = f"; at {further[0][0]} {further[0][1]:.2f} of its answers are right" if further else ""
    return f"On fresh sequences it remembers up to distance {reach}{beyond}."


def _ago(text: Text, step: int) -> str:
    back = len(text.words) - 1 - step
    return f"{back} word{'' if back == 1 else 's'} before the end" if back else "the last word"


def _times(log10: float) -> str:
    return f"{10**log10:.2g} times"
