"""Residual autocorrelation as a training metric."""

from collections.abc import Sequence

import jax.numpy as jnp

from seqmodels.analysis.autocorrelation import acf
from seqmodels.types import Array


def residual_autocorrelation(
    residuals: Array, weights: Array, lags: Sequence[int] = (1,), *, weight: Array | float = 1.0
) -> dict[str, Array]:
    """Returns autocorrelations of residuals as entries of `Loss.metrics`, on the device.

    Each entry is the mean over the sequences of the batch of r_k, their autocorrelation with gaps
    (`seqmodels.analysis.autocorrelation.acf`, "conservative"). For residuals without significant
    linear autocorrelation it is within 2 / sqrt(steps x sequences) of 0. A value that stays away
    from 0 shows a lag that the model misses. Sequences without variance, or with fewer valid steps
    than the largest lag plus 2, do not count.

    Args:
      residuals: real (T, *batch), one-step residuals (observed minus predicted).
      weights: (T, *batch), 0 where there is no residual.
      lags: from 1 to T - 1.
      weight: `Loss.weight` of the batch, by which the loop divides.

    Returns:
      "residual_acf_1" and so on: scalars times `weight`, without gradient.

    Raises:
      ValueError: for a lag out of range.
    """
    lags = tuple(lags)
    residuals = residuals.astype(jnp.promote_types(residuals.dtype, jnp.float32))
    length = residuals.shape[0]
    if not lags or min(lags) < 1 or max(lags) >= length:
        raise ValueError(
            f"lags: got {', '.join(map(str, lags)) or 'none'}, expected lags from 1 to {length - 1}"
        )
    is_valid = weights > 0
    least = jnp.min(residuals, axis=0, initial=jnp.inf, where=is_valid)
    counts = (jnp.max(residuals, axis=0, initial=-jnp.inf, where=is_valid) > least) & (
        jnp.sum(is_valid, axis=0) >= max(lags) + 2
    )
    # A series without values has no autocorrelation, which raises where values are concrete. This
    # series replaces it and does not count.
    signs = jnp.where(jnp.arange(length) % 2, 1.0, -1.0).astype(residuals.dtype)
    stand_in = jnp.broadcast_to(jnp.reshape(signs, (-1, *[1] * counts.ndim)), residuals.shape)
    used = jnp.where(counts[None], jnp.where(is_valid, residuals, 0), stand_in)
    correlations = acf(used, nlags=max(lags), mask=is_valid | ~counts[None], axis=0)
    number = jnp.maximum(jnp.sum(counts), 1)

    def mean(lag: int) -> Array:
        return jnp.sum(jnp.where(counts, jnp.nan_to_num(correlations[..., lag]), 0)) / number

    return {f"residual_acf_{lag}": weight * mean(lag) for lag in lags}
