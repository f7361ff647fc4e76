"""Linear recurrences with known coefficients, all steps at once."""

from typing import Any

import jax
import jax.numpy as jnp

from seqmodels.drivers.contract import select
from seqmodels.types import Array


def linear_scan(a: Array, b: Array, begins: Array | None = None, reverse: bool = False) -> Array:
    """Returns s_t = a_t s_tm1 + b_t for all t from a zero state, by `jax.lax.associative_scan`.

    Args:
      a: (T, *batch, ...) for products entry by entry, an axis may be of size 1; or one axis more
        than `b`, (T, *batch, n, n), for matrices.
      b: (T, *batch, ...).
      begins: bool (T, *batch), where true s_t is b_t, whatever s_tm1 is, NaN included; None: never.
      reverse: whether to go from the last step to the first; s_tm1 is then that of the next step.

    Returns:
      (T, *batch, ...).
    """
    matrices = a.ndim > b.ndim

    def combine(before: Any, after: Any) -> Any:
        (begins_1, a_1, b_1), (begins_2, a_2, b_2) = before, after
        product = jnp.matmul(a_2, a_1, precision="highest") if matrices else a_2 * a_1
        both = product, times(a_2, b_1) + b_2
        if begins is None:
            return None, *both
        # By selection: 0 * NaN would let a NaN from before a beginning through.
        return begins_1 | begins_2, *select(begins_2, (a_2, b_2), both)

    return jax.lax.associative_scan(combine, (begins, a, b), reverse=reverse)[2]


def times(a: Array, vector: Array) -> Array:
    """Returns a times a vector (..., n): entry by entry, or a matrix if `a` has one axis more."""
    if a.ndim == vector.ndim:
        return a * vector
    return jnp.matmul(a, vector[..., None], precision="highest")[..., 0]
