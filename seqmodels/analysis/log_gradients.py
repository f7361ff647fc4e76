"""Logarithms of gradient norms with respect to earlier states, below the range of the dtype."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqmodels.analysis.nudges import widen
from seqmodels.cells.stages import new_state
from seqmodels.drivers.contract import check_xs
from seqmodels.pytrees import match_varying_axes
from seqmodels.types import Array, Cell, Params, State


def log_state_gradient_norms(
    cell: Cell, params: Params, xs: Array, score: Callable[[Array], Array]
) -> Array:
    """Returns ln of the norm of d score / d s for the state s that enters each step.

    Unlike `gradients.state_gradient_norms` it scales the gradient to norm 1 at every step and
    carries its logarithm separately, so that it neither underflows nor overflows. A gradient that
    falls by a factor of 10 at each step underflows in float32 after 38 steps.

    Args:
      cell: a cell that can take one step, with a state of real floating-point arrays.
      params: its parameters.
      xs: inputs (T, B, D).
      score: `score(ys) -> scalar`, a sum over the batch of one score a sequence; ys (T, B, H).

    Returns:
      (T, B), -inf where the gradient is exactly zero.

    Raises:
      ValueError: if xs has too few axes.

    Examples:
      >>> cell, xs = sm.rnn(3, 4), jnp.ones((5, 2, 3))
      >>> params = cell.init(jax.random.key(0))
      >>> log_state_gradient_norms(cell, params, xs, lambda ys: jnp.sum(ys[-1])).shape
      (5, 2)
    """
    # In at least float32 outside of the step, whose own products may be of a lower precision.
    xs = widen(check_xs(cell, xs))
    first = widen(new_state(cell, params, xs.shape[1 : xs.ndim - cell.x_ndim], None))
    first = match_varying_axes(first, params, xs)  # in shard_map

    def step(state: State, x_t: Array) -> tuple[State, Array]:
        new, y_t = cell.step(params, state, x_t)
        return jax.tree.map(lambda a, b: a.astype(b.dtype), new, state), widen(y_t)

    def forward(state: State, x_t: Array) -> tuple[State, Any]:
        new, y_t = step(state, x_t)
        return new, (state, y_t)

    _, (before, ys) = jax.lax.scan(forward, first, xs)
    dys = jax.grad(score)(ys)

    def backward(carry: tuple[Any, Array], inputs: Any) -> tuple[Any, Array]:
        unit, log = carry
        state, x_t, dy_t = inputs
        _, pull_back = jax.vjp(lambda state: step(state, x_t), state)
        output, output_log = _scaled([dy_t])
        # The scale of the larger gradient: from later steps, or from this step's output.
        scale = jnp.maximum(log, output_log)
        safe = jnp.where(jnp.isfinite(scale), scale, 0)
        (found,) = pull_back(
            (_times(unit, jnp.exp(log - safe)), _times(output[0], jnp.exp(output_log - safe)))
        )
        unit, gone = _scaled(found)
        log = safe + gone
        return (unit, log), log

    nothing = jnp.full(xs.shape[1 : xs.ndim - cell.x_ndim], -jnp.inf, ys.dtype)
    start = jax.tree.map(jnp.zeros_like, first), nothing
    start = match_varying_axes(start, params, xs, ys)
    return jax.lax.scan(backward, start, (before, xs, dys), reverse=True)[1]


def _times(tree: Any, scale: Array) -> Any:
    """Returns leaves (B, ...) times scale (B,)."""
    axes = scale.ndim
    return jax.tree.map(
        lambda leaf: leaf * scale.reshape(scale.shape + (1,) * (leaf.ndim - axes)), tree
    )


def _scaled(tree: Any) -> tuple[Any, Array]:
    """Returns leaves (B, ...) with a norm of 1 over all of them, and ln of the norm they had (B,).

    Zeros stay zeros; the logarithm of their norm is -inf.
    """
    leaves = [leaf.reshape(len(leaf), -1) for leaf in jax.tree.leaves(tree)]
    flat = jnp.concatenate(leaves, axis=-1)
    largest = jnp.max(jnp.abs(flat), axis=-1)
    is_zero = largest == 0
    # Divided by the largest first: a square leaves the range of float32 long before its root.
    safe = jnp.where(is_zero, 1, largest)
    norm = jnp.where(is_zero, 1, jnp.linalg.norm(flat / safe[:, None], axis=-1))
    unit = _times(_times(tree, 1 / safe), 1 / norm)
    return unit, jnp.where(is_zero, -jnp.inf, jnp.log(safe) + jnp.log(norm))
