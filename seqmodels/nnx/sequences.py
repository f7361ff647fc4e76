"""Flax's conventions for padded sequences: order of time and choice of the last carry."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from seqmodels.drivers.contract import tree_where
from seqmodels.types import Array


def read_lengths(seq_lengths: Any, num_steps: int, batch_shape: Sequence[int]) -> Array | None:
    """Returns lengths clipped to 0 ... T; None unless they are integers of `batch_shape`."""
    lengths = jnp.asarray(seq_lengths)
    if lengths.shape != tuple(batch_shape) or not jnp.issubdtype(lengths.dtype, jnp.integer):
        return None
    return jnp.clip(lengths, 0, num_steps)


def flip_time(tree: Any, lengths: Array | None) -> Any:
    """Returns a tree with its valid steps in reverse order, leaves (T, *batch, ...).

    As in Flax, padding stays at the end and is itself reversed. Applied twice it gives the tree
    again.

    Args:
      tree: leaves (T, *batch, ...).
      lengths: integers (*batch), 0 <= length <= T; None reverses whole sequences.
    """
    if lengths is None:
        return jax.tree.map(lambda a: jnp.flip(a, axis=0), tree)
    batch_lengths = lengths

    def flip(a: Array) -> Array:
        t = jnp.arange(a.shape[0]).reshape((-1,) + (1,) * batch_lengths.ndim)
        is_valid = t < batch_lengths[None]
        last = batch_lengths[None] - 1 - t
        source = jnp.where(is_valid, last, last + a.shape[0])
        source = source.reshape(source.shape + (1,) * (a.ndim - source.ndim))
        return jnp.take_along_axis(a, source, axis=0)

    return jax.tree.map(flip, tree)


def last_valid(states: Any, lengths: Array, before: Any) -> Any:
    """Returns each sequence's state after its last valid step; `before` where the length is 0.

    Args:
      states: leaves (T, *batch, ...), the states after each step.
      lengths: integers (*batch), 0 <= length <= T.
      before: leaves (*batch, ...), the state before the first step.
    """

    def pick(a: Array) -> Array:
        step = jnp.maximum(lengths - 1, 0)
        step = step.reshape((1, *step.shape) + (1,) * (a.ndim - 1 - step.ndim))
        return jnp.take_along_axis(a, step, axis=0)[0]

    if jax.tree.leaves(states)[0].shape[0] == 0:
        return before
    return tree_where(lengths > 0, jax.tree.map(pick, states), before)
