"""Metrics of a recurrent cell while it trains: its gates, and its gradient by distance."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.analysis.gate_summaries import memory, saturation
from seqmodels.analysis.gates import Trace, trace
from seqmodels.analysis.gradients import fit_decay, leaf_gradient_norms
from seqmodels.analysis.jacobians import spectral_radius
from seqmodels.types import Array, Cell, Params, State

KINDS = ("gates", "gradients")
DISTANCES = (1, 10, 100, 1000)
LONGEST_CONSTANT = 1e6  # steps; a unit that never forgets has an infinite time constant
RECURRENT = ("w_h", "w_n")  # names of matrices (H, N * H) that read the state

Watch = Callable[[Params, Any], dict[str, Array]]


class Reading(NamedTuple):
    """The inputs of a recurrent cell inside a model, for one batch.

    Attributes:
      params: the parameters of the cell.
      xs: its inputs (T, B, D).
      lengths: int (B,), or None.
      resets: bool (T, B), or None.
      state: the first state, or None for the cell's own.
      score: `score(ys) -> scalar`, a sum over the batch of a value read at each sequence's last
        step, such as the output of the right answer. Only `gradients` needs it.
    """

    params: Params
    xs: Array
    lengths: Array | None = None
    resets: Array | None = None
    state: State | None = None
    score: Callable[[Array], Array] | None = None


def make_watch(kinds: Sequence[str], cell: Cell, read: Callable[[Params, Any], Reading]) -> Watch:
    """Returns the pure function `watch(params, batch) -> scalars by name`.

    "gates": for every gate the share of steps and units below 0.1 (`gates/f_low`) and above 0.9
    (`gates/f_high`). For every candidate the share above 0.9 in absolute value
    (`gates/g_saturated`). The median time constant of the units in steps (`gates/time_constant`, at
    most 10^6).

    "gradients": the norm of d score / d state at distances of 1, 10, 100 and 1000 steps
    (`gradients/at_10`). It is divided by the norm at distance 0, where the state enters the last
    step. The decay per step by a line through all distances (`gradients/decay`). The largest
    spectral radius of the matrices that read the state (`gradients/spectral_radius`).

    Cells inside a stack or a pair have their place in front of the name, as in `gates/0.f_low` and
    `gates/forward.f_low`. The backward cell of a pair has gates alone.

    Args:
      kinds: a selection of `KINDS`.
      cell: the recurrent cell.
      read: `read(params, batch) -> Reading`, pure.

    Raises:
      ValueError: for a kind that does not exist.

    Examples:
      >>> cell = sm.lstm(3, 4)
      >>> watch = make_watch(("gates",), cell, lambda params, xs: Reading(params, xs))
      >>> found = watch(cell.init(jax.random.key(0)), jnp.ones((5, 2, 3)))
      >>> sorted(found)[:3]
      ['gates/f_high', 'gates/f_low', 'gates/g_saturated']
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"watch: got {kind!r}, expected {' or '.join(KINDS)}")

    def watch(params: Params, batch: Any) -> dict[str, Array]:
        reading = read(params, batch)
        found: dict[str, Array] = {}
        if "gates" in kinds:
            found |= gate_metrics(cell, reading)
        if "gradients" in kinds:
            found |= gradient_metrics(cell, reading)
        return found

    return watch


def gate_metrics(cell: Cell, reading: Reading) -> dict[str, Array]:
    """Returns the metrics "gates" of `make_watch`."""
    traces = trace(
        cell, reading.params, reading.xs, reading.state,
        lengths=reading.lengths, resets=reading.resets,
    )  # fmt: skip
    found: dict[str, Array] = {}
    for place, one in _by_place(traces, lambda leaf: isinstance(leaf, Trace)):
        for name, shares in saturation(one).items():
            low, high = jnp.mean(shares.below), jnp.mean(shares.above)
            if name in one.gates:
                found |= {f"gates/{place}{name}_low": low, f"gates/{place}{name}_high": high}
            else:
                found[f"gates/{place}{name}_saturated"] = low + high
        if one.retention is not None:
            constants = jnp.minimum(memory(one).time_constant, LONGEST_CONSTANT)
            found[f"gates/{place}time_constant"] = jnp.median(constants)
    return found


def gradient_metrics(cell: Cell, reading: Reading) -> dict[str, Array]:
    """Returns the metrics "gradients" of `make_watch`.

    Raises:
      ValueError: if the reading has no score.
    """
    if reading.score is None:
        raise ValueError("watch: got gradients without a score, expected Reading.score")
    norms = leaf_gradient_norms(
        cell, reading.params, reading.xs, reading.score,
        lengths=reading.lengths, resets=reading.resets, state=reading.state,
    )  # fmt: skip
    num_steps = len(reading.xs)
    found: dict[str, Array] = {}
    for place, leaves in _by_place(norms, lambda leaf: isinstance(leaf, dict)):
        if "backward" in place or not leaves:
            continue
        # The largest leaf by distance from the last valid step, mean over the batch.
        total = functools.reduce(jnp.hypot, leaves.values())
        total = _by_distance(total, reading.lengths)
        of_last = total[0]
        for distance in DISTANCES:
            if distance < num_steps:
                found[f"gradients/{place}at_{distance}"] = total[distance] / of_last
        found[f"gradients/{place}decay"] = fit_decay(total, jnp.arange(num_steps)).rate
    radii = [spectral_radius(matrix) for matrix in recurrent_matrices(reading.params).values()]
    if radii:
        found["gradients/spectral_radius"] = jnp.max(jnp.stack(radii))
    return found


def recurrent_matrices(params: Params) -> dict[str, Array]:
    """Returns the square blocks of all matrices named w_h or w_n (H, N * H), by path and number.

    Examples:
      >>> params = sm.gru(3, 4).init(jax.random.key(0))
      >>> {name: matrix.shape for name, matrix in recurrent_matrices(params).items()}
      {'w_h.0': (4, 4), 'w_h.1': (4, 4), 'w_n.0': (4, 4)}
    """
    blocks: dict[str, Array] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if name.split(".")[-1] in RECURRENT and leaf.ndim == 2:
            parts = jnp.split(leaf, leaf.shape[1] // leaf.shape[0], axis=1)
            blocks |= {f"{name}.{number}": part for number, part in enumerate(parts)}
    return blocks


def _by_place(tree: Any, is_leaf: Callable[[Any], bool]) -> list[tuple[str, Any]]:
    """Returns the leaves with their places as prefixes: "", "0." or "forward."."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_leaf)
    return [
        (jax.tree_util.keystr(path, simple=True, separator=".") + "." if path else "", leaf)
        for path, leaf in leaves
    ]


def _by_distance(norms: Array, lengths: Array | None) -> Array:
    """Returns the mean over the batch of norms (T, B) by distance from each last step, (T,).

    A distance counts the sequences that are longer than it; NaN if all are shorter.
    """
    num_steps = norms.shape[0]
    if lengths is None:
        return jnp.mean(norms[::-1], axis=1)
    steps = lengths[None] - 1 - jnp.arange(num_steps)[:, None]
    turned = jnp.take_along_axis(norms, jnp.maximum(steps, 0), axis=0)
    counts = steps >= 0
    return jnp.sum(jnp.where(counts, turned, 0), axis=1) / jnp.sum(counts, axis=1)
