"""Losses of the tasks, from optax."""

import jax.numpy as jnp
import optax

from seqmodels.types import Array


def cross_entropy(logits: Array, targets: Array) -> Array:
    """Returns the mean of -log softmax(logits)[target]: logits (..., C), targets int (...)."""
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(_widen(logits), targets)
    return jnp.mean(losses)


def squared_error(outputs: Array, targets: Array) -> Array:
    """Returns the mean of (outputs - targets)^2, both of one shape."""
    return jnp.mean(optax.losses.squared_error(_widen(outputs), _widen(targets)))


def weighted_cross_entropy(logits: Array, targets: Array, weights: Array) -> Array:
    """Returns the sum of -weight log softmax(logits)[target].

    Args:
      logits: (..., C).
      targets: int (...).
      weights: (...); divide by their sum for the mean.

    Returns:
      A scalar.
    """
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(_widen(logits), targets)
    return jnp.sum(weights * losses)


def _widen(values: Array) -> Array:
    """Returns values in at least float32, in which sums of losses are computed."""
    values = jnp.asarray(values)
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))
