"""The values that pass between the forward pass and the backward pass of the fused driver."""

from typing import Any, NamedTuple

from seqmodels.drivers.stage_analysis import StageAnalysis
from seqmodels.types import Array, Params, Stage, State


class FusedPlan(NamedTuple):
    """The static settings of one unroll.

    Attributes:
      stages: the stages of the cell.
      analysis: the analysis of the stages.
      chunk: K, steps a chunk of the backward pass.
      save: whether the forward pass saves the gates.
      reverse: whether time runs from the last step to the first.
      keep_states: whether the states are an output.
      batch_last: whether the loops over time store the batch axis last; see `batch_last.py`.
    """

    stages: tuple[Stage, ...]
    analysis: StageAnalysis
    chunk: int
    save: bool
    reverse: bool
    keep_states: bool
    batch_last: bool = False


class SequenceInputs(NamedTuple):
    """The inputs of one unroll; arrays (T, B, ...) or (B, ...).

    Attributes:
      params: parameters.
      xs: inputs.
      state: the state before the first step, without its constant leaves.
      constants: the constant leaves of the state.
      fresh: the state that replaces the state at a reset, without constant leaves; None without
        resets.
      valid: bool (T, B) or None.
      resets: bool (T, B), false in the padding, or None.
    """

    params: Params
    xs: Array
    state: State
    constants: State
    fresh: State
    valid: Array | None
    resets: Array | None


class Residuals(NamedTuple):
    """The arrays that the forward pass saves for the backward pass.

    Attributes:
      states: the state after each step, leaves (T, B, ...).
      gates: the gates of each stage (T, B, ...), or (T, ..., B) if the plan stores the batch axis
        last; None if the backward pass recomputes them.
    """

    states: State
    gates: Any


class OutputCotangents(NamedTuple):
    """Cotangents of the results of the forward pass; None for leaves without a cotangent.

    Attributes:
      final_state: (B, ...).
      ys: (T, B, ...).
      states: (T, B, ...), None if the states are not an output.
    """

    final_state: State
    ys: Any
    states: State


class Chunk(NamedTuple):
    """K steps of all arrays that have a time axis; `start` is the state before the first step."""

    xs: Array
    states: State
    gates: Any
    dys: Any
    dstates: State
    valid: Array | None
    resets: Array | None
    start: State
