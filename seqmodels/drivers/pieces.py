"""Cutting the time axis into pieces that a scan can go through."""

import math
from typing import Any

import jax


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
