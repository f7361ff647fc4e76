"""Padded sequences as Flax's `RNN` treats them: cleaned lengths, flipped order, the last carry."""

from typing import Any

import jax
import jax.numpy as jnp

from seqmodels.drivers.contract import tree_where
from seqmodels.types import Array


def clean_lengths(lengths: Any, num_steps: int, batch_shape: tuple[int, ...]) -> Array | None:
    """Returns `lengths` as int32 within 0..T; None unless they are integers of `batch_shape`."""
    lengths = jnp.asarray(lengths)
    if lengths.shape != batch_shape or not jnp.issubdtype(lengths.dtype, jnp.integer):
        return None
    return jnp.clip(lengths.astype(jnp.int32), 0, num_steps)


def flip(tree: Any, lengths: Array | None) -> Any:
    """Returns sequences, leaves (T, *batch, ...), with the order of steps reversed.

    With lengths the valid steps stay at the start and the padding at the end, each reversed. The
    function is its own inverse.
    """
    if lengths is None:
        return jax.tree.map(lambda a: jnp.flip(a, axis=0), tree)

    def flip_leaf(a: Array) -> Array:
        num_steps = a.shape[0]
        backwards = jnp.arange(num_steps - 1, -1, -1).reshape((-1,) + (1,) * lengths.ndim)
        steps = (backwards + lengths[None]) % max(num_steps, 1)
        return jnp.take_along_axis(a, steps.reshape(steps.shape + (1,) * (a.ndim - steps.ndim)), 0)

    return jax.tree.map(flip_leaf, tree)


def last_carry(carries: Any, lengths: Array, initial: Any) -> Any:
    """Returns the carry after the last valid step; the initial carry where the length is 0.

    Args:
      carries: the carry after every step, leaves (T, *batch, ...).
      lengths: int (*batch), within 0..T.
      initial: the carry before the first step, leaves (*batch, ...).
    """
    last = jnp.maximum(lengths - 1, 0)[None]

    def pick(a: Array) -> Array:
        return jnp.take_along_axis(a, last.reshape(last.shape + (1,) * (a.ndim - last.ndim)), 0)[0]

    if not jax.tree.leaves(carries)[0].shape[0]:
        return initial
    return tree_where(lengths > 0, jax.tree.map(pick, carries), initial)
