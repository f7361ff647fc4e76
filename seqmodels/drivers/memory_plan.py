"""The memory of a gradient step through a long sequence, and the plan that fits a budget.

The prediction counts arrays from their shapes. The loss is assumed to be a function of the outputs.
Then the peak holds either the outputs and their cotangents, or the cotangents and the arrays of one
segment. It also holds the states before every segment, one chunk's coefficients, and the gradients
of the parameters. `compiled.memory_analysis()` of XLA agrees within a few percent on a CPU, but
needs one compilation for every plan.
"""

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from seqmodels.drivers.reshape import chunk_size
from seqmodels.drivers.stage_analysis import analyze_stages
from seqmodels.pytrees import is_float
from seqmodels.types import DriverCall

_UNITS = {"": 1, "b": 1, "byte": 1, "bytes": 1} | {
    prefix + unit: base**power
    for power, prefix in enumerate("kmgt", start=1)
    for base, unit in ((1000, "b"), (1024, "ib"))
}


# XLA of JAX 0.10.0 and 0.10.1 copies the outputs once more on a CPU.
_COPIES_OF_OUTPUTS = 1 if jax.__version_info__ < (0, 10, 2) else 0


class MemoryPlan(NamedTuple):
    """One way to run a sequence.

    Attributes:
      segment: S, steps a segment; T for the whole sequence at once.
      num_steps: T.
      peak: predicted bytes at the peak of a gradient step, without its arguments.
    """

    segment: int
    num_steps: int
    peak: int

    def __str__(self) -> str:
        """Text of the plan."""
        if self.segment >= self.num_steps:
            text = f"the whole sequence of {self.num_steps} steps at once"
        else:
            text = f"{-(-self.num_steps // self.segment)} segments of {self.segment} steps"
        return f"{text}, predicted peak {_format_bytes(self.peak)}"


def parse_bytes(text: int | str) -> int:
    """Returns bytes from a number, or from text such as "300MB" (10**6) or "2GiB" (2**30).

    Raises:
      ValueError: if it is not a positive number of bytes.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?(?:e[+-]?\d+)?)\s*([a-zA-Z]*)\s*", str(text))
    unit = _UNITS.get(match[2].lower()) if match else None
    size = 0
    if match and unit and not isinstance(text, bool):
        number = float(match[1]) * unit
        size = round(number) if math.isfinite(number) else 0
    if size < 1:
        raise ValueError(
            f"chunked: memory_budget: got {text!r}, expected bytes, or text such as '300MB' or "
            "'2GiB'"
        )
    return size


class _Sizes(NamedTuple):
    """Bytes of x_t, of y_t, of the saved state and the gates of one step, and of the parameters."""

    x: int
    y: int
    state: int
    gates: int
    params: int


def choose_plan(
    call: DriverCall,
    *,
    budget: int | None,
    segment: int | None,
    inputs_gradient: bool,
    chunk: int,
) -> MemoryPlan:
    """Returns the whole sequence at once if that fits, or else the segments with the lowest peak.

    Segments of any length take about the same time, so the lowest peak costs no time. Without a
    budget it returns the lowest peak.

    Args:
      call: the cell to unroll.
      budget: bytes, or None.
      segment: steps a segment, or None to choose it.
      inputs_gradient: whether the gradient of xs counts.
      chunk: steps a chunk of the fused backward pass.

    Raises:
      ValueError: if no plan fits.
    """
    num_steps, padded = call.num_steps, call.contract.valid is not None
    sizes = _sizes(call)
    keeps = (True,) * len(jax.tree.leaves(call.state))
    analysis = analyze_stages(call.cell, call.params, call.state, call.x_t, keeps)
    # Outputs are zeroed in the padding, states are not.
    y_is_state = not padded and None not in analysis.output_aliases

    def plan(segment: int) -> MemoryPlan:
        # Copies of xs: its gradient; with ones in the padding; without the leftover steps.
        rest = num_steps % (segment if segment < num_steps else chunk_size(num_steps, chunk))
        copies = inputs_gradient + padded + bool(rest)
        peak = num_steps * copies * sizes.x
        peak += _peak(sizes, y_is_state, num_steps, segment, chunk)
        if rest and segment >= num_steps:  # the states are sliced too
            peak += num_steps * sizes.state // 2
        return MemoryPlan(segment, num_steps, peak)

    if segment is not None:
        return plan(segment)
    whole = plan(max(num_steps, 1))
    if budget is not None and whole.peak <= budget:
        return whole
    root = max(1, math.isqrt(num_steps))
    lengths = {n for n in range(max(root // 4, 1), 4 * root + 1) if num_steps % n == 0} or {root}
    smallest = min((plan(n) for n in sorted(lengths)), key=lambda p: p.peak)
    smallest = min(smallest, whole, key=lambda p: p.peak)
    if budget is not None and smallest.peak > budget:
        raise ValueError(
            f"chunked: memory_budget: got {_format_bytes(budget, math.floor)}, expected at least "
            f"{_format_bytes(smallest.peak, math.ceil)}: {smallest}, {_shares(sizes, num_steps)}"
        )
    return smallest


def kept_bytes(call: DriverCall, *, save: bool) -> int:
    """Returns the bytes that the fused driver saves for all steps: states, and gates if `save`."""
    sizes = _sizes(call)
    return call.num_steps * (sizes.state + save * sizes.gates)


def _peak(sizes: _Sizes, y_is_state: bool, num_steps: int, segment: int, chunk: int) -> int:
    outputs = num_steps * sizes.y
    coefficients = chunk * (3 * sizes.gates + 3 * sizes.state + 2 * sizes.x + sizes.y)
    always = coefficients + 3 * sizes.params
    if segment >= num_steps:
        kept = num_steps * sizes.state + (0 if y_is_state else outputs)
        return always + kept + (1 + _COPIES_OF_OUTPUTS) * outputs
    num_segments = -(-num_steps // segment)
    always += num_segments * sizes.state
    kept = max(outputs, segment * (sizes.state + sizes.y))
    return always + kept + (1 + _COPIES_OF_OUTPUTS) * outputs


def _shares(sizes: _Sizes, num_steps: int) -> str:
    return f"of which outputs and their cotangents {_format_bytes(2 * num_steps * sizes.y)}"


def _sizes(call: DriverCall) -> _Sizes:
    gates_size, state = 0, call.state
    for project, update in call.cell.stages:
        gates = jax.eval_shape(project, call.params, state, call.x_t)
        gates_size += _bytes(gates)
        state = jax.eval_shape(update, call.params, state, gates)
    floats = [a for a in jax.tree.leaves(call.state) if is_float(a)]
    _, y_t = state
    return _Sizes(
        x=_bytes(call.x_t),
        y=_bytes(y_t),
        state=_bytes(floats),
        gates=gates_size,
        params=_bytes(call.params),
    )


def _format_bytes(size: int, rounded: Callable[[float], int] = round) -> str:
    """Returns text that `parse_bytes` reads; `math.ceil` rounds a least budget up to it."""
    return f"{rounded(size / 1e5) / 10:.1f} MB" if size >= 1e5 else f"{size} bytes"


def _bytes(tree: Any) -> int:
    return sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(tree))
