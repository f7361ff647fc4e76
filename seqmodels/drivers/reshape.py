"""Reshaping of time and batch axes: one batch axis for any number of them, chunks for a scan."""

import math
from typing import Any

import jax


def merge_batch(tree: Any, first: int, num_batch_axes: int) -> Any:
    """Returns leaves with one batch axis in the place of zero or more of them.

    Args:
      tree: leaves with `first` axes before the batch axes.
      first: 0 or 1.
      num_batch_axes: the number of batch axes.
    """

    def merge(a: jax.Array) -> jax.Array:
        last = first + num_batch_axes
        return a.reshape((*a.shape[:first], math.prod(a.shape[first:last]), *a.shape[last:]))

    return jax.tree.map(merge, tree)


def split_batch(tree: Any, first: int, batch_shape: tuple[int, ...]) -> Any:
    """Returns leaves with the batch axes restored: the inverse of `merge_batch`."""
    return jax.tree.map(
        lambda a: a.reshape((*a.shape[:first], *batch_shape, *a.shape[first + 1 :])), tree
    )


def chunk_size(num_steps: int, target: int) -> int:
    """Returns the divisor of `num_steps` nearest to `target`, from half of it to twice it.

    Without such a divisor it returns `target`. Then the leftover steps form a separate chunk.
    """
    candidates = range((target + 1) // 2, 2 * target + 1)
    divisors = [size for size in candidates if num_steps % size == 0]
    return min(divisors, key=lambda size: abs(size - target), default=target)


def split_chunks(tree: Any, num_chunks: int, batch_shape: tuple[int, ...]) -> Any:
    """Returns leaves (T, *batch, ...) as (N, K * batch, ...), T = N * K.

    Time and batch become one axis, because XLA uses another layout for (N, K, 1, ...) than for
    (T, 1, ...) and would copy the whole sequence.
    """

    def split(a: jax.Array) -> jax.Array:
        rows = a.shape[0] // num_chunks * math.prod(batch_shape)
        return a.reshape((num_chunks, rows, *a.shape[1 + len(batch_shape) :]))

    return jax.tree.map(split, tree)


def merge_chunks(tree: Any, num_steps: int, batch_shape: tuple[int, ...]) -> Any:
    """Returns leaves (N, K * batch, ...) as (T, *batch, ...): the inverse of `split_chunks`."""
    return jax.tree.map(lambda a: a.reshape((num_steps, *batch_shape, *a.shape[2:])), tree)


def merge_time_batch(tree: Any, num_batch_axes: int = 1) -> Any:
    """Returns leaves (K, *batch, ...) as (K * batch, ...)."""

    def merge(a: jax.Array) -> jax.Array:
        axes = 1 + num_batch_axes
        return a.reshape((math.prod(a.shape[:axes]), *a.shape[axes:]))

    return jax.tree.map(merge, tree)


def split_time_batch(tree: Any, num_steps: int, batch_shape: tuple[int, ...]) -> Any:
    """Returns leaves (K * batch, ...) as (K, *batch, ...): the inverse of `merge_time_batch`."""
    return jax.tree.map(lambda a: a.reshape((num_steps, *batch_shape, *a.shape[1:])), tree)
