"""Watching residuals while a model is trained: what is left of them that the past still tells?"""

from collections.abc import Sequence

import jax.numpy as jnp

from seqmodels.analysis.autocorrelation import acf
from seqmodels.types import Array


def residual_autocorrelation(
    residuals: Array, weights: Array, lags: Sequence[int] = (1,), *, weight: Array | float = 1.0
) -> dict[str, Array]:
    """Returns autocorrelations of residuals as entries of `Loss.metrics`, on the device.

    At every lag the mean over all sequences of the batch of r_k, their autocorrelation with gaps
    (`seqmodels.analysis.autocorrelation.acf`, "conservative"). That of residuals which the past
    tells nothing of is about 0, within 2 / sqrt(steps x sequences); one that stays away from 0 is a
    lag that the model misses. Sequences of fewer valid steps than the largest lag and 2, or without
    variance, do not count.

    Args:
      residuals: real (T, *batch), what came less what was told one step before.
      weights: (T, *batch), 0 where there is no residual.
      lags: from 1 to T - 1.
      weight: `Loss.weight` of the batch, by which the loop divides.

    Returns:
      "residual_acf_1" and so on: scalars times `weight`, without gradient.

    Raises:
      ValueError: for a lag out of range.
    """
    lags = tuple(lags)
    length = residuals.shape[0]
    if not lags or min(lags) < 1 or max(lags) >= length:
        raise ValueError(
            f"lags: given {', '.join(map(str, lags)) or 'none'}, wanted lags from 1 to {length - 1}"
        )
    there = weights > 0
    # A series that is not there has no autocorrelation, which is a mistake where it is at hand.
    noise = jnp.where(jnp.arange(length) % 2, 1.0, -1.0).reshape(-1, *[1] * (residuals.ndim - 1))
    counts = (jnp.sum(there, axis=0) >= max(lags) + 2) & (
        jnp.max(residuals, axis=0, initial=-jnp.inf, where=there)
        > jnp.min(residuals, axis=0, initial=jnp.inf, where=there)
    )
    used = jnp.where(counts, jnp.where(there, residuals, 0), noise)
    found = acf(used, nlags=max(lags), mask=there | ~counts, axis=0)
    found = jnp.moveaxis(found, -1, 0)
    number = jnp.maximum(jnp.sum(counts), 1)
    means = {
        lag: jnp.sum(jnp.where(counts, jnp.nan_to_num(found[lag]), 0)) / number for lag in lags
    }
    return {f"residual_acf_{lag}": weight * mean for lag, mean in means.items()}
