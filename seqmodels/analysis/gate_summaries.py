"""Summaries of a trace: saturation, time constants of units, and mean gates at each token.

All of them ignore steps that are not valid and average over time and batch. They take one `Trace`;
for a stack or a bidirectional pair call them for each one.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.analysis.gates import Trace
from seqmodels.cells.stages import check_size
from seqmodels.drivers.contract import tree_where
from seqmodels.types import Array


class Saturation(NamedTuple):
    """Shares of the valid steps at which a gate is nearly closed or nearly open, per unit.

    Attributes:
      below: share of steps below the lower limit, (H,).
      above: share of steps above the upper limit, (H,).
    """

    below: Array
    above: Array


class Memory(NamedTuple):
    """Memory of units in steps, (H,); inf for a unit that never forgets.

    Attributes:
      time_constant: tau = -1 / mean(log f), the steps in which a value in the unit falls to 1 / e.
      half_life: tau * log 2.
    """

    time_constant: Array
    half_life: Array

    def share_longer(self, num_steps: Any) -> Array:
        """Returns the share of units whose time constant is longer than `num_steps`, float32."""
        return jnp.mean((self.time_constant > num_steps).astype(jnp.float32))


class TokenTable(NamedTuple):
    """Means over all valid steps at which a token was read.

    Attributes:
      counts: how often each token was read, int32 (V,).
      means: by name of the gate (V, H), NaN for a token that was not read.
    """

    counts: Array
    means: dict[str, Array]


def saturation(trace: Trace, low: float = 0.1, high: float = 0.9) -> dict[str, Saturation]:
    """Returns for each gate and candidate the shares of steps at which it is saturated.

    A gate is saturated below `low` and above `high`. A candidate of a tanh lies in (-1, 1): it is
    saturated below -`high` and above `high`. There the derivative of the activation function is
    nearly zero, so the gate passes on nearly no gradient to its inputs.

    Args:
      trace: the trace of one cell.
      low: the lower limit of gates.
      high: the upper limit.

    Returns:
      `Saturation` by name, shares (H,); NaN if no step is valid. Complex candidates are left out.

    Raises:
      TypeError: if it is not the trace of one cell.
      ValueError: if `low` is not below `high`.

    Examples:
      >>> from seqmodels.analysis.gates import trace
      >>> cell = sm.lstm(3, 4, forget_bias=9.0)
      >>> lstm = trace(cell, cell.init(jax.random.key(0)), jnp.ones((5, 2, 3)), method="scan")
      >>> saturation(lstm)["f"].above.tolist()
      [1.0, 1.0, 1.0, 1.0]
    """
    _check_trace(trace)
    if not low < high:
        raise ValueError(f"low: got {low} with high {high}, expected low < high")
    limits = dict.fromkeys(trace.gates, (low, high))
    limits = dict.fromkeys(trace.candidates, (-high, high)) | limits
    real = {n: a for n, a in (trace.candidates | trace.gates).items() if not jnp.iscomplexobj(a)}
    return {
        name: Saturation(
            valid_mean(trace.valid, (values < limits[name][0]).astype(jnp.float32)),
            valid_mean(trace.valid, (values > limits[name][1]).astype(jnp.float32)),
        )
        for name, values in real.items()
    }


def memory(trace: Trace) -> Memory:
    """Returns how long each unit remembers: tau = -1 / mean(log f), f the retention gate.

    After n steps the share exp(-n / tau) of a value remains, the product of the retention gates.
    This considers the gate alone: a unit can also pass its value to others.

    Args:
      trace: the trace of one cell that has a retention gate.

    Raises:
      TypeError: if it is not the trace of one cell.
      ValueError: if the cell has no retention gate.

    Examples:
      >>> from seqmodels.analysis.gates import trace
      >>> cell = sm.lstm(3, 4, forget_bias=9.0)
      >>> lstm = trace(cell, cell.init(jax.random.key(0)), jnp.ones((5, 2, 3)), method="scan")
      >>> memory(lstm).time_constant.shape, float(memory(lstm).share_longer(100))
      ((4,), 1.0)
    """
    _check_trace(trace)
    if trace.retention is None:
        raise ValueError("memory: got a trace without retention, expected a cell with such a gate")
    decay = -valid_mean(trace.valid, jnp.log(jnp.abs(trace.retention)))
    time_constant = 1 / decay
    # -log 1 may be -0.
    time_constant = jnp.where(decay == 0, jnp.inf, time_constant)
    return Memory(time_constant, time_constant * jnp.log(2.0))


def token_table(trace: Trace, tokens: Any, num_tokens: int) -> TokenTable:
    """Returns the mean of every gate, candidate and retention at each token.

    Args:
      trace: the trace of one cell.
      tokens: integers (T, *batch), the token that each step read. Tokens outside of the vocabulary
        are left out.
      num_tokens: V, static under jit.

    Returns:
      `TokenTable`; its names are those of gates and candidates, and "retention" if it exists.

    Raises:
      TypeError: if it is not the trace of one cell.
      ValueError: if tokens have another shape than the steps or are not integers, or if
        `num_tokens` is not a positive integer.

    Examples:
      >>> from seqmodels.analysis.gates import trace
      >>> cell, tokens = sm.rnn(3, 4), jnp.array([[0, 1], [2, 0]])  # (T, B)
      >>> xs = jax.nn.one_hot(tokens, 3)
      >>> rnn = trace(cell, cell.init(jax.random.key(0)), xs, method="scan")
      >>> table = token_table(rnn, tokens, num_tokens=3)
      >>> table.counts.tolist(), table.means["h"].shape
      ([2, 1, 1], (3, 4))
    """
    _check_trace(trace)
    check_size("token_table", num_tokens=num_tokens)
    tokens = jnp.asarray(tokens)
    if tokens.shape != trace.valid.shape or not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise ValueError(
            f"tokens: got {tokens.dtype}{list(tokens.shape)}, expected integers of shape "
            f"{list(trace.valid.shape)}"
        )
    # Steps that do not count go to an extra token.
    counted = trace.valid & (tokens >= 0) & (tokens < num_tokens)
    tokens = jnp.where(counted, tokens, num_tokens).reshape(-1)
    num_axes = trace.valid.ndim

    def total(values: Array) -> Array:
        values = tree_where(counted, values, jnp.zeros_like(values))
        rows = values.reshape((-1, *values.shape[num_axes:]))
        return jax.ops.segment_sum(rows, tokens, num_tokens + 1)[:num_tokens]

    counts = total(counted.astype(jnp.int32))
    values = trace.gates | trace.candidates
    if trace.retention is not None:
        values = values | {"retention": trace.retention}

    def mean(values: Array) -> Array:
        summed = total(values)
        return summed / counts.reshape((-1,) + (1,) * (summed.ndim - 1))

    return TokenTable(counts, {name: mean(value) for name, value in values.items()})


def _check_trace(trace: Any) -> None:
    if not isinstance(trace, Trace):
        raise TypeError(
            f"trace: got a {type(trace).__name__}, expected a Trace; of a stack or a pair, one of "
            "its entries"
        )


def valid_mean(valid: Array, values: Array) -> Array:
    """Returns the mean over the valid steps; NaN without valid steps.

    Args:
      valid: bool (T, *batch).
      values: (T, *batch, ...).

    Examples:
      >>> float(valid_mean(jnp.array([True, False]), jnp.array([1.0, 9.0])))
      1.0
    """
    axes = tuple(range(valid.ndim))
    values = tree_where(valid, values, jnp.zeros_like(values))
    return jnp.sum(values, axis=axes) / jnp.sum(valid)
