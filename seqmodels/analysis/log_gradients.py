"""Logarithms of gradient norms with respect to earlier states, below the range of the dtype."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqmodels.analysis.nudges import score_gradient
from seqmodels.cells.stages import new_state
from seqmodels.drivers.contract import check_xs
from seqmodels.pytrees import combine, match_varying_axes, partition_floats, widen
from seqmodels.types import Array, Cell, Params, State


def log_state_gradient_norms(
    cell: Cell, params: Params, xs: Array, score: Callable[[Array], Array]
) -> Array:
    """Returns ln of the norm of d score / d s for the state s that enters each step.

    Unlike `gradients.state_gradient_norms` it scales the gradient to norm 1 at every step and
    carries its logarithm separately, so that it neither underflows nor overflows. A gradient that
    falls by a factor of 10 at each step underflows in float32 after 38 steps.

    Args:
      cell: a cell that can take one step.
      params: its parameters.
      xs: inputs (T, *batch, D).
      score: `score(ys) -> scalar`, a sum over the batch of one score a sequence; ys (T, *batch, H).

    Returns:
      (T, *batch), -inf where the gradient is exactly zero.

    Raises:
      ValueError: if xs has too few axes, or the score is not one real number.

    Examples:
      >>> cell, xs = sm.rnn(3, 4), jnp.ones((5, 2, 3))
      >>> params = cell.init(jax.random.key(0))
      >>> log_state_gradient_norms(cell, params, xs, lambda ys: jnp.sum(ys[-1])).shape
      (5, 2)
    """
    # In at least float32 outside of the step, whose own products may be of a lower precision.
    xs = widen(check_xs(cell, xs))
    batch_shape = xs.shape[1 : xs.ndim - cell.x_ndim]
    first = widen(new_state(cell, params, batch_shape, None))
    first = match_varying_axes(first, params, xs)  # in shard_map

    def step(floats: Any, others: Any, x_t: Array) -> tuple[Any, Any]:
        """Returns floating-point leaves of the new state and the output, and the other leaves."""
        state = combine(floats, others)
        new, y_t = cell.step(params, state, x_t)
        new = jax.tree.map(lambda a, b: a.astype(b.dtype), new, state)
        return partition_floats((new, widen(y_t)))

    def forward(state: State, x_t: Array) -> tuple[State, Any]:
        new, y_t = combine(*step(*partition_floats(state), x_t))
        return new, (state, y_t)

    _, (before, ys) = jax.lax.scan(forward, first, xs)
    floats, others = partition_floats(ys)
    dys = score_gradient(lambda floats: score(combine(floats, others)), floats)
    start, _ = partition_floats(jax.tree.map(jnp.zeros_like, first))
    leaves = jax.tree.leaves(start)
    if not leaves:
        return jnp.full((len(xs), *batch_shape), -jnp.inf)
    real = jnp.finfo(jnp.result_type(*leaves, *jax.tree.leaves(dys))).dtype

    def backward(carry: tuple[Any, Array], inputs: Any) -> tuple[Any, Array]:
        unit, log = carry
        (floats, others), x_t, dy_t = inputs
        _, pull_back, _ = jax.vjp(lambda floats: step(floats, others, x_t), floats, has_aux=True)
        output, output_log = _scaled(dy_t, batch_shape)
        # The scale of the larger gradient: from later steps, or from this step's output.
        scale = jnp.maximum(log, output_log)
        safe = jnp.where(jnp.isfinite(scale), scale, 0)
        (found,) = pull_back(
            (_times(unit, jnp.exp(log - safe)), _times(output, jnp.exp(output_log - safe)))
        )
        unit, gone = _scaled(found, batch_shape)
        log = (safe + gone).astype(real)
        return (unit, log), log

    carry = match_varying_axes((start, jnp.full(batch_shape, -jnp.inf, real)), params, xs, ys)
    inputs = (partition_floats(before), xs, dys)
    return jax.lax.scan(backward, carry, inputs, reverse=True)[1]


def _times(tree: Any, scale: Array) -> Any:
    """Returns leaves (*batch, ...) times scale (*batch), each in its own dtype."""
    axes = scale.ndim
    return jax.tree.map(
        lambda leaf: (
            leaf * scale.reshape(scale.shape + (1,) * (leaf.ndim - axes)).astype(leaf.dtype)
        ),
        tree,
    )


def _scaled(tree: Any, batch_shape: tuple[int, ...]) -> tuple[Any, Array]:
    """Returns leaves (*batch, ...) with a norm of 1 over all of them, and ln of the norm before.

    Zeros stay zeros; the logarithm of their norm is -inf.
    """
    axes = len(batch_shape)
    leaves = [
        leaf.reshape((*batch_shape, math.prod(leaf.shape[axes:]))) for leaf in jax.tree.leaves(tree)
    ]
    flat = jnp.concatenate(leaves, axis=-1)
    largest = jnp.max(jnp.abs(flat), axis=-1, initial=0)
    is_zero = largest == 0
    # Divided by the largest first: a square leaves the range of float32 long before its root.
    safe = jnp.where(is_zero, 1, largest)
    norm = jnp.where(is_zero, 1, jnp.linalg.norm(flat / safe[..., None], axis=-1))
    unit = _times(_times(tree, 1 / safe), 1 / norm)
    return unit, jnp.where(is_zero, -jnp.inf, jnp.log(safe) + jnp.log(norm))
