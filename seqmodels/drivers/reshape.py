"""Other shapes for the axes of time and batch: one batch axis; pieces a scan can go through."""

import math
from typing import Any

import jax


def merge_batch(tree: Any, first: int, num_batch_axes: int) -> Any:
    """Returns leaves with one batch axis in the place of any number of them, none too.

    Args:
      tree: leaves with `first` axes before the batch axes.
      first: 0 or 1.
      num_batch_axes: how many there are.
    """

    def one(a: jax.Array) -> jax.Array:
        last = first + num_batch_axes
        return a.reshape((*a.shape[:first], math.prod(a.shape[first:last]), *a.shape[last:]))

    return jax.tree.map(one, tree)


def split_batch(tree: Any, first: int, batch_shape: tuple[int, ...]) -> Any:
    """Returns leaves with the batch axes back in the place of the one that `merge_batch` made."""
    return jax.tree.map(
        lambda a: a.reshape((*a.shape[:first], *batch_shape, *a.shape[first + 1 :])), tree
    )


def chunk_size(num_steps: int, wanted: int) -> int:
    """Returns the divisor of `num_steps` nearest to `wanted`, from half of it to twice it.

    Where there is none it is `wanted` itself, and the steps that are left over are a chunk of their
    own.
    """
    between = range((wanted + 1) // 2, 2 * wanted + 1)
    divisors = [size for size in between if num_steps % size == 0]
    return min(divisors, key=lambda size: abs(size - wanted), default=wanted)


def cut(tree: Any, num_pieces: int, batch_shape: tuple[int, ...]) -> Any:
    """Returns leaves (T, *batch, ...) as (N, K * batch, ...), T = N * K.

    Time and batch become one axis, because XLA takes (N, K, 1, ...) for another layout than
    (T, 1, ...) and copies the whole sequence.
    """

    def one(a: jax.Array) -> jax.Array:
        rows = a.shape[0] // num_pieces * math.prod(batch_shape)
        return a.reshape((num_pieces, rows, *a.shape[1 + len(batch_shape) :]))

    return jax.tree.map(one, tree)


def as_steps(tree: Any, num_steps: int, batch_shape: tuple[int, ...]) -> Any:
    """Returns leaves (K * batch, ...) as (K, *batch, ...)."""
    return jax.tree.map(lambda a: a.reshape((num_steps, *batch_shape, *a.shape[1:])), tree)


def as_rows(tree: Any, num_batch_axes: int = 1) -> Any:
    """Returns leaves (K, *batch, ...) as (K * batch, ...)."""

    def one(a: jax.Array) -> jax.Array:
        axes = 1 + num_batch_axes
        return a.reshape((math.prod(a.shape[:axes]), *a.shape[axes:]))

    return jax.tree.map(one, tree)


def joined(tree: Any, num_steps: int, batch_shape: tuple[int, ...]) -> Any:
    """Returns leaves (N, K * batch, ...) as (T, *batch, ...)."""
    return jax.tree.map(lambda a: a.reshape((num_steps, *batch_shape, *a.shape[2:])), tree)
