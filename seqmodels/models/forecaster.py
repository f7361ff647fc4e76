"""Recurrent forecaster: at each step of a series it predicts the following steps."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.cells.stages import lift
from seqmodels.drivers.unroll import unroll_full
from seqmodels.models.sequence_model import SequenceModelParams, sequence_model
from seqmodels.types import Array, Cell, Driver

LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)  # quantiles: ends of 95% and 80% intervals, and the median


class Head(NamedTuple):
    """Output head: predictive distribution and loss.

    Attributes:
      size: P, outputs per value.
      loss: `loss(outputs, targets) -> costs`: (..., P) and (...) to (...).
      mean: `mean(outputs) -> (...)`, the forecast as one number.
      quantiles: `quantiles(outputs) -> (..., 5)` at `LEVELS`; None for a head with only a mean.
      draw: `draw(key, outputs) -> (...)`, a sample; None without a distribution.
    """

    size: int
    loss: Callable[[Array, Array], Array]
    mean: Callable[[Array], Array]
    quantiles: Callable[[Array], Array] | None = None
    draw: Callable[[Array, Array], Array] | None = None


def _gaussian(outputs: Array) -> tuple[Array, Array]:
    # Softplus and a floor: the log-likelihood of an exactly predicted value stays bounded.
    return outputs[..., 0], jax.nn.softplus(outputs[..., 1] + math.log(math.e - 1)) + 1e-3


def _negative_log_likelihood(outputs: Array, targets: Array) -> Array:
    mean, scale = _gaussian(outputs)
    return 0.5 * jnp.square((targets - mean) / scale) + jnp.log(scale)


def _gaussian_quantiles(outputs: Array) -> Array:
    mean, scale = _gaussian(outputs)
    z = jax.scipy.stats.norm.ppf(jnp.asarray(LEVELS, mean.dtype))
    return mean[..., None] + scale[..., None] * lift(z, outputs)


def _gaussian_draw(key: Array, outputs: Array) -> Array:
    mean, scale = _gaussian(outputs)
    return mean + scale * jax.random.normal(key, mean.shape, mean.dtype)


def _ascending(outputs: Array) -> Array:
    """Quantiles that cannot cross: the median, and steps of positive size to both sides."""
    middle = len(LEVELS) // 2
    # The initial values are near those of a standard normal distribution.
    steps = jax.nn.softplus(outputs + 0.5)
    down = jnp.cumsum(steps[..., middle - 1 :: -1], axis=-1)[..., ::-1]
    up = jnp.cumsum(steps[..., middle + 1 :], axis=-1)
    center = outputs[..., middle : middle + 1]
    return jnp.concatenate([center - down, center, center + up], axis=-1)


def _pinball(outputs: Array, targets: Array) -> Array:
    error = targets[..., None] - _ascending(outputs)
    levels = lift(jnp.asarray(LEVELS, error.dtype), error)
    return jnp.sum(jnp.maximum(levels * error, (levels - 1) * error), axis=-1)


HEADS = {
    "point": Head(1, lambda out, y: jnp.square(y - out[..., 0]), lambda out: out[..., 0]),
    # Koenker, Bassett 1978, "Regression quantiles", Econometrica 46.
    "quantile": Head(
        len(LEVELS), _pinball, lambda out: out[..., len(LEVELS) // 2], quantiles=_ascending
    ),
    # As DeepAR: Salinas, Flunkert, Gasthaus 2017 (arXiv 1704.04110), section 3.
    "gaussian": Head(
        2,
        _negative_log_likelihood,
        lambda out: out[..., 0],
        quantiles=_gaussian_quantiles,
        draw=_gaussian_draw,
    ),
}


class Forecaster(NamedTuple):
    """A forecaster as pure functions.

    Attributes:
      init: `init(key) -> SequenceModelParams`. The readout begins at 0, so the first forecasts are
        0; where targets are residuals of a base forecaster, that is the base's own forecast.
      apply: `apply(params, xs, *, key=None, method="auto") -> outputs`: (T, *batch, D) to
        (T, *batch, K, C, P), from each step for the K steps after it. key switches dropout on.
      rollout: `rollout(params, xs, feed, state, steps, *, keys=None, method="auto")`: see
        `forecaster`.
    """

    init: Callable[[Array], SequenceModelParams]
    apply: Callable[..., Array]
    rollout: Callable[..., Array]


def forecaster(
    cell: Cell,
    *,
    hidden_size: int,
    steps: int = 1,
    targets: int = 1,
    head: str = "point",
    dtype: Any = None,
) -> Forecaster:
    """Returns the model that reads a series and predicts at each step the K steps after it.

    A direct model predicts all K steps at once in the readout. A recursive one has K = 1, and
    `rollout` feeds forecasts back: `rollout(params, xs, feed, state, steps, keys)` returns (S, T,
    *batch, steps, C), the values of S paths from every step of xs. Each value is the head's mean of
    the last outputs, or a sample if there is a key. `feed(state, value, k) -> (state, x)` makes the
    next input from that value (T, *batch, C) and a separate state. The leaves of that state have
    leading axes (T, *batch). Without keys S = 1.

    Args:
      cell: reads D features.
      hidden_size: size H of its outputs.
      steps: K.
      targets: C, predicted columns.
      head: one of `HEADS`.
      dtype: dtype of the operands of the readout; None for their common dtype, see `sm.matmul`.

    Raises:
      ValueError: for another head.

    Examples:
      >>> model = forecaster(sm.gru(3, 4), hidden_size=4, steps=2, head="quantile")
      >>> model.apply(model.init(jax.random.key(0)), jnp.ones((5, 2, 3))).shape  # (T, B, K, C, P)
      (5, 2, 2, 1, 5)
    """
    if head not in HEADS:
        raise ValueError(f"head: got {head!r}, expected one of {', '.join(HEADS)}")
    kind = HEADS[head]
    shape = (steps, targets, kind.size)
    model = sequence_model(cell, hidden_size=hidden_size, output_size=math.prod(shape), dtype=dtype)

    def init(key: Array) -> SequenceModelParams:
        params = model.init(key)
        return params._replace(w_out=jnp.zeros_like(params.w_out))

    def read(params: SequenceModelParams, ys: Array) -> Array:
        outputs = model.read(params, ys)
        return outputs.reshape(*outputs.shape[:-1], *shape)

    def apply(
        params: SequenceModelParams,
        xs: Array,
        *,
        key: Array | None = None,
        method: str | Driver = "auto",
    ) -> Array:
        result = unroll_full(cell, params.cell, xs, key=key, method=method, states=False)
        return read(params, result.ys)

    def rollout(
        params: SequenceModelParams,
        xs: Array,
        feed: Callable[[Any, Array, Array], tuple[Any, Array]],
        state: Any,
        num_steps: int,
        *,
        keys: Array | None = None,
        method: str | Driver = "auto",
    ) -> Array:
        if steps != 1:
            raise ValueError(f"rollout: got a forecaster of {steps} steps, expected one of 1")
        if keys is not None and kind.draw is None:
            raise ValueError(f"rollout: got keys with head {head}, expected one that can be drawn")
        result = unroll_full(cell, params.cell, xs, method=method)
        first = read(params, result.ys)[..., 0, :, :]

        def path(key: Array | None) -> Array:
            def step(carry: Any, k: Array) -> tuple[Any, Array]:
                cell_state, feed_state, outputs = carry
                if key is None or kind.draw is None:
                    value = kind.mean(outputs)
                else:
                    value = kind.draw(jax.random.fold_in(key, k), outputs)
                feed_state, x = feed(feed_state, value, k)
                cell_state, ys = cell.step(params.cell, cell_state, x)
                return (cell_state, feed_state, read(params, ys)[..., 0, :, :]), value

            _, values = jax.lax.scan(step, (result.states, state, first), jnp.arange(num_steps))
            return jnp.moveaxis(values, 0, -2)

        return path(None)[None] if keys is None else jax.vmap(path)(keys)

    return Forecaster(init, apply, rollout)


def pooled_quantiles(samples: Array, levels: Sequence[float] = LEVELS) -> Array:
    """Returns quantiles (..., Q) over the first axis of samples (S, ...).

    Raises:
      ValueError: if there is no sample.

    Examples:
      >>> pooled_quantiles(jnp.arange(101.0)[:, None], levels=(0.1, 0.5)).tolist()
      [[10.0, 50.0]]
    """
    if not samples.ndim or not len(samples):
        raise ValueError(f"samples: got shape {samples.shape}, expected at least one sample")
    return jnp.moveaxis(jnp.quantile(samples, jnp.asarray(levels), axis=0), 0, -1)
