"""Gradient norms of a score with respect to the states of earlier steps."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqmodels.cells.stages import new_state
from seqmodels.drivers.contract import match_varying_axes
from seqmodels.drivers.unroll import unroll
from seqmodels.types import Array, Cell, Params, State


def state_gradient_norms(
    cell: Cell, params: Params, xs: Array, score: Callable[[Array], Array]
) -> Array:
    """Returns the norm of d score / d s for the state s that enters each step.

    A product of Jacobians, one a step: it vanishes or explodes with the distance to where the score
    is read. Hochreiter 1991; Pascanu, Mikolov, Bengio 2013 (arXiv 1211.5063).

    Args:
      cell: a cell that can take one step and has one feature axis.
      params: its parameters.
      xs: inputs (T, *batch, D).
      score: `score(ys) -> scalar`, a sum over the batch of one score a sequence; ys (T, *batch, H).

    Returns:
      Norms (T, *batch): over all floating leaves of the state together.
    """
    batch_shape = xs.shape[1:-1]
    state = new_state(cell, params, batch_shape, None)
    num_features = xs.shape[-1]
    leaves, structure = jax.tree.flatten(state)
    floating = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]
    axes = len(batch_shape)
    sizes = [leaf[(0,) * axes].size if f else 0 for leaf, f in zip(leaves, floating, strict=True)]

    def nudged(state: State, nudge: Array) -> State:
        ends = [sum(sizes[: n + 1]) for n in range(len(sizes))]
        parts = jnp.split(nudge, ends, axis=-1)[: len(sizes)]
        moved = [
            leaf + part.reshape(leaf.shape).astype(leaf.dtype) if f else leaf
            for leaf, part, f in zip(jax.tree.leaves(state), parts, floating, strict=True)
        ]
        return jax.tree.unflatten(structure, moved)

    def step(params: Params, state: State, x_t: Array) -> tuple[State, Any]:
        nudge = x_t[..., num_features:]
        return cell.step(params, nudged(state, nudge), x_t[..., :num_features])

    # The nudges of all steps are zero and ride behind the features, so one backward pass gives the
    # gradient with respect to every state.
    probe = Cell(cell.init, cell.initial_state, step, reset=cell.reset)
    zeros = jnp.zeros((xs.shape[0], *batch_shape, sum(sizes)), xs.dtype)
    # In shard_map the gradient of what is the same on every device is summed over the devices.
    zeros = match_varying_axes(zeros, params, xs)

    def total(nudges: Array) -> Array:
        _, ys = unroll(probe, params, jnp.concatenate([xs, nudges], axis=-1), state, method="scan")
        return score(ys)

    gradients = jax.grad(total)(zeros)
    # Divided by the largest first: a square leaves the range of float32 long before its root.
    largest = jnp.max(jnp.abs(gradients), axis=-1, keepdims=True, initial=0)
    safe = jnp.where(largest > 0, largest, 1)
    return largest[..., 0] * jnp.linalg.norm(gradients / safe, axis=-1)
