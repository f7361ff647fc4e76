"""How much memory a gradient step through a long sequence takes, and which plan fits a budget.

Counted are arrays, from their shapes. For a loss that is a function of the outputs, a step has at
its peak either the outputs and their cotangents, or the cotangents and what one segment needs;
beside that the states before every segment, one chunk's coefficients, and gradients of the
parameters. `compiled.memory_analysis()` of XLA says the same within a few per cent on a CPU, but
costs a compilation for every plan that is looked at.
"""

import math
import re
from typing import Any, NamedTuple

import jax

from seqmodels.drivers.reshape import chunk_size
from seqmodels.drivers.stage_analysis import is_float, read_traits
from seqmodels.types import Array, Cell, Contract, Params, State

_UNITS = {"": 1, "b": 1} | {
    prefix + unit: base**power
    for power, prefix in enumerate("kmgt", start=1)
    for base, unit in ((1000, "b"), (1024, "ib"))
}


class MemoryPlan(NamedTuple):
    """One way to run a sequence.

    Attributes:
      segment: S, steps a segment; T for the whole sequence at once.
      num_steps: T.
      peak: predicted bytes at the peak of a gradient step, its arguments not counted.
    """

    segment: int
    num_steps: int
    peak: int

    def __str__(self) -> str:
        """The plan in words."""
        if self.segment >= self.num_steps:
            way = f"the whole sequence of {self.num_steps} steps at once"
        else:
            way = f"{-(-self.num_steps // self.segment)} segments of {self.segment} steps"
        return f"{way}, predicted peak {_text(self.peak)}"


def parse_bytes(text: int | str) -> int:
    """Returns bytes from a number, or from text such as "300MB" (10**6) or "2GiB" (2**30).

    Raises:
      ValueError: if it is not a positive number of bytes.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?(?:e[+-]?\d+)?)\s*([a-zA-Z]*)\s*", str(text))
    unit = _UNITS.get(match[2].lower()) if match else None
    size = 0
    if match and unit and not isinstance(text, bool):
        size = int(float(match[1]) * unit)
    if size < 1:
        raise ValueError(
            f"chunked: memory_budget: got {text!r}, expected bytes, or text such as '300MB' or "
            "'2GiB'"
        )
    return size


class _Sizes(NamedTuple):
    """Bytes: of x_t, y_t, the state that is kept of a step, the gates; of the parameters."""

    x: int
    y: int
    state: int
    gates: int
    params: int


def choose_plan(
    cell: Cell,
    params: Params,
    xs: Array,
    state: State,
    contract: Contract,
    *,
    budget: int | None,
    segment: int | None,
    inputs_gradient: bool,
    chunk: int,
) -> MemoryPlan:
    """Returns the whole sequence at once if that fits, or else the segments with the lowest peak.

    Segments of any length take about the same time, so the lowest peak costs nothing. Without a
    budget it is always the lowest peak; a segment that is given is taken.

    Raises:
      ValueError: if nothing fits.
    """
    num_steps = xs.shape[0]
    sizes = _sizes(cell, params, xs, state)
    x_t = jax.ShapeDtypeStruct(xs.shape[1:], xs.dtype)
    traits = read_traits(cell, params, state, x_t, (True,) * len(jax.tree.leaves(state)))
    # Outputs are zeroed in the padding, states are not.
    y_is_state = contract.valid is None and None not in traits.alias

    def plan(segment: int) -> MemoryPlan:
        # Of the size of xs: its gradient; with ones in the padding; without the steps left over.
        rest = num_steps % (segment if segment < num_steps else chunk_size(num_steps, chunk))
        copies = inputs_gradient + (contract.valid is not None) + bool(rest)
        peak = num_steps * copies * sizes.x
        peak += _peak(sizes, y_is_state, num_steps, segment, chunk)
        if rest and segment >= num_steps:  # states too are cut there
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
            f"chunked: memory_budget: got {_text(budget)}, expected at least "
            f"{_text(smallest.peak)}: {smallest}, {_shares(sizes, num_steps)}"
        )
    return smallest


def kept_bytes(cell: Cell, params: Params, xs: Array, state: State, *, save: bool) -> int:
    """Returns the bytes that the fused driver keeps of all steps: states, and gates if `save`."""
    sizes = _sizes(cell, params, xs, state)
    return xs.shape[0] * (sizes.state + save * sizes.gates)


def _peak(sizes: _Sizes, y_is_state: bool, num_steps: int, segment: int, chunk: int) -> int:
    outputs = num_steps * sizes.y
    coefficients = chunk * (3 * sizes.gates + 3 * sizes.state + 2 * sizes.x + sizes.y)
    always = coefficients + 3 * sizes.params
    if segment >= num_steps:
        kept = num_steps * sizes.state + (0 if y_is_state else outputs)
        return always + kept + outputs
    num_segments = -(-num_steps // segment)
    always += num_segments * sizes.state
    return always + outputs + max(outputs, segment * (sizes.state + sizes.y))


def _shares(sizes: _Sizes, num_steps: int) -> str:
    return f"of which outputs and their cotangents {_text(2 * num_steps * sizes.y)}"


def _sizes(cell: Cell, params: Params, xs: Array, state: State) -> _Sizes:
    x_t = jax.ShapeDtypeStruct(xs.shape[1:], xs.dtype)
    gates, mid = 0, state
    for project, update in cell.stages:
        gated = jax.eval_shape(project, params, mid, x_t)
        gates += _bytes(gated)
        mid = jax.eval_shape(update, params, mid, gated)
    floats = [a for a in jax.tree.leaves(state) if is_float(a)]
    return _Sizes(_bytes(x_t), _bytes(mid[1]), _bytes(floats), gates, _bytes(params))


def _text(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size} bytes"


def _bytes(tree: Any) -> int:
    return sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(tree))
