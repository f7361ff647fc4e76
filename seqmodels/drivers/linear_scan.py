"""Linear recurrences with known coefficients, solved for all steps at once."""

from typing import Any

import jax
import jax.numpy as jnp

from seqmodels.drivers.contract import tree_where
from seqmodels.types import Array


def linear_scan(a: Array, b: Array, restarts: Array | None = None, reverse: bool = False) -> Array:
    """Returns s_t = a_t s_tm1 + b_t for all t from a zero state, by `jax.lax.associative_scan`.

    Args:
      a: (T, *batch, ...) for elementwise products, where an axis may be of size 1. For matrices
        (T, *batch, n, n), one axis more than `b`.
      b: (T, *batch, ...).
      restarts: bool (T, *batch), where true s_t is b_t, even if s_tm1 is NaN; None: never.
      reverse: whether time runs from the last step to the first; then s_tm1 is the state of the
        next step.

    Returns:
      (T, *batch, ...).
    """
    matrices = a.ndim > b.ndim

    def combine(before: Any, after: Any) -> Any:
        (restarts_1, a_1, b_1), (restarts_2, a_2, b_2) = before, after
        product = jnp.matmul(a_2, a_1, precision="highest") if matrices else a_2 * a_1
        both = product, multiply(a_2, b_1) + b_2
        if restarts is None:
            return None, *both
        # By selection: with a product, 0 * NaN would let a NaN through a restart.
        return restarts_1 | restarts_2, *tree_where(restarts_2, (a_2, b_2), both)

    return jax.lax.associative_scan(combine, (restarts, a, b), reverse=reverse)[2]


def multiply(a: Array, vector: Array) -> Array:
    """Returns a times a vector (..., n): elementwise, or as a matrix if `a` has one axis more."""
    if a.ndim == vector.ndim:
        return a * vector
    return jnp.matmul(a, vector[..., None], precision="highest")[..., 0]
