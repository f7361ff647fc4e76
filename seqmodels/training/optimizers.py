"""Optax optimizers from a few settings: warm-up, decay, clipping, accumulation, averaging."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from seqmodels.training.accumulation import accumulate_gradients, decay_mask
from seqmodels.types import Array, Params

SCHEDULES = ("constant", "linear", "cosine")
NEVER = 2**31 - 1


class OptimizerSettings(NamedTuple):
    """Settings of an optimizer and its learning-rate schedule.

    Attributes:
      learning_rate: the rate after the warm-up.
      steps: training steps in all, at the end of which "linear" and "cosine" reach 0.
      schedule: "constant", "linear" or "cosine" after the warm-up.
      warmup: steps over which the rate grows linearly from 0.
      weight_decay: decoupled decay of AdamW (Loshchilov, Hutter 2019, arXiv 1711.05101), times the
        rate; 0 is Adam. Matrices alone are decayed, see `decay_mask`.
      clip_norm: gradients with a larger global norm are scaled down to it (Pascanu, Mikolov, Bengio
        2013, arXiv 1211.5063); infinite for no clipping.
      accumulate: steps whose gradients make one update, each with the weight of its loss; divides
        `steps`. Warm-up and decay still count steps.
      average: decay of the exponential moving average of the parameters; 0 for none.
      skip: whether an update that is not finite is left out.
    """

    learning_rate: float
    steps: int
    schedule: str = "constant"
    warmup: int = 0
    weight_decay: float = 0.0
    clip_norm: float = float("inf")
    accumulate: int = 1
    average: float = 0.0
    skip: bool = False


class AverageState(NamedTuple):
    """updates_averaged: int32. params_average: the average, at least in float32."""

    updates_averaged: Array
    params_average: Params


def make_schedule(settings: OptimizerSettings) -> optax.Schedule:
    """Returns the learning rate by the number of updates made.

    Args:
      settings: `OptimizerSettings`.

    Returns:
      An optax schedule.

    Raises:
      ValueError: if the schedule is unknown, or if the warm-up or the steps of one update exceed
        the training steps.

    Examples:
      >>> schedule = make_schedule(OptimizerSettings(0.1, steps=100, schedule="linear", warmup=10))
      >>> [round(float(schedule(step)), 3) for step in (0, 5, 10, 100)]
      [0.0, 0.05, 0.1, 0.0]
    """
    rate, every = settings.learning_rate, settings.accumulate
    if not 1 <= every <= settings.steps:
        raise ValueError(
            f"accumulate: got {every} steps, expected 1 to the {settings.steps} of the training"
        )
    if settings.steps % every:
        raise ValueError(
            f"accumulate: got {every} steps, expected a divisor of the {settings.steps} of the "
            "training: the last ones would make no update"
        )
    if settings.schedule not in SCHEDULES:
        raise ValueError(
            f"schedule: got {settings.schedule!r}, expected one of {', '.join(SCHEDULES)}"
        )
    if settings.warmup > settings.steps:
        raise ValueError(
            f"warmup: got {settings.warmup} steps, expected at most the {settings.steps} of the "
            "training"
        )
    warmup = -(-settings.warmup // every)
    # Optax rejects a decay over 0 steps.
    left = max(settings.steps // every - warmup, 1)
    after = {
        "constant": optax.schedules.constant_schedule(rate),
        "linear": optax.schedules.linear_schedule(rate, 0.0, left),
        "cosine": optax.schedules.cosine_decay_schedule(rate, left),
    }[settings.schedule]
    if not warmup:
        return after
    before = optax.schedules.linear_schedule(0.0, rate, warmup)
    return optax.schedules.join_schedules([before, after], [warmup])


def average_params(decay: float) -> optax.GradientTransformation:
    """Returns a transformation that keeps a moving average of the parameters and no update.

    average_n = (1 - decay) sum_k decay^(n - k) params_k / (1 - decay^n), with params_k after update
    k. The average is that of Polyak, Juditsky 1992, with the bias correction of Adam.

    Args:
      decay: in (0, 1).

    Returns:
      An optax transformation; it must be the last of a chain.

    Examples:
      >>> average = average_params(0.5)
      >>> params = jnp.ones(3)
      >>> updates, state = average.update(-params, average.init(params), params)
      >>> state.params_average.tolist()
      [0.0, 0.0, 0.0]
    """

    def wide(leaf: Array) -> Array:
        return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))

    def init(params: Params) -> AverageState:
        # Copies, because both may be donated to the next step.
        copies = jax.tree.map(lambda leaf: jnp.array(wide(leaf), copy=True), params)
        return AverageState(jnp.zeros((), jnp.int32), copies)

    def update(
        updates: Params, state: AverageState, params: Params | None = None
    ) -> tuple[Params, AverageState]:
        count = state.updates_averaged + 1
        new = optax.apply_updates(params, updates)
        # (1 - decay) / (1 - decay^n): the weight of the newest among all so far.
        weight = (1 - decay) / -jnp.expm1(count * math.log(decay))

        def average(old: Array, leaf: Array) -> Array:
            return old + (wide(leaf) - old) * weight.astype(old.dtype)

        return updates, AverageState(count, jax.tree.map(average, state.params_average, new))

    return optax.GradientTransformation(init, update)


def make_optimizer(settings: OptimizerSettings) -> optax.GradientTransformation:
    """Returns the optimizer: accumulation, clipping, AdamW, averaging; skips non-finite updates.

    Args:
      settings: `OptimizerSettings`.

    Returns:
      An optax optimizer.

    Raises:
      ValueError: as in `make_schedule`.

    Examples:
      >>> optimizer = make_optimizer(OptimizerSettings(0.1, steps=100, clip_norm=1.0))
      >>> params = jnp.ones(3)
      >>> updates, opt_state = optimizer.update(params, optimizer.init(params), params)
      >>> updates.shape
      (3,)
    """
    schedule = make_schedule(settings)
    parts: list[optax.GradientTransformation] = []
    if settings.clip_norm < float("inf"):
        parts.append(optax.clip_by_global_norm(settings.clip_norm))
    mask = decay_mask if settings.weight_decay else None
    parts.append(optax.adamw(schedule, weight_decay=settings.weight_decay, mask=mask))
    if settings.average:
        parts.append(average_params(settings.average))
    optimizer = optax.chain(*parts)
    if settings.skip:
        # Outside the clipping, which turns an infinite gradient into NaN. Without a limit, because
        # optax applies the updates after its limit; the loop stops before.
        optimizer = optax.apply_if_finite(optimizer, NEVER)
    if settings.accumulate > 1:
        optimizer = accumulate_gradients(optimizer, settings.accumulate, skip=settings.skip)
    return optimizer


def make_optimizer_with_rate(settings: OptimizerSettings) -> optax.GradientTransformation:
    """Returns the optimizer of `make_optimizer` whose state holds the learning rate.

    So one compiled step serves many rates; `set_rate` changes the rate of a state. The first rate
    is the rate of the settings. Arguments and errors are those of `make_optimizer`.

    Examples:
      >>> optimizer = make_optimizer_with_rate(OptimizerSettings(0.1, steps=100))
      >>> params = jnp.ones(3)
      >>> opt_state = set_rate(optimizer.init(params), jnp.float32(0.0))
      >>> updates, opt_state = optimizer.update(params, opt_state, params)
      >>> float(jnp.max(jnp.abs(updates)))
      0.0
    """

    def make(rate: Any) -> optax.GradientTransformation:
        return make_optimizer(settings._replace(learning_rate=rate))

    make(settings.learning_rate)
    return optax.inject_hyperparams(make)(rate=settings.learning_rate)


def set_rate(opt_state: optax.OptState, rate: Array) -> optax.OptState:
    """Returns the state with another learning rate.

    Args:
      opt_state: the state of an optimizer from `make_optimizer_with_rate`.
      rate: scalar, float32.

    Examples:
      >>> optimizer = make_optimizer_with_rate(OptimizerSettings(0.1, steps=100))
      >>> opt_state = set_rate(optimizer.init(jnp.ones(3)), jnp.float32(0.01))
    """
    return optax.tree.set(opt_state, rate=rate)


def averaged_params(opt_state: optax.OptState, params: Params, decay: float) -> Params:
    """Returns the averaged parameters of an optimizer, or `params` if it keeps no average.

    Args:
      opt_state: the state of an optimizer from `make_optimizer`.
      params: the current parameters, whose dtypes the result has; before the first update the
        average equals the parameters given to `init`.
      decay: `average` of its settings.

    Returns:
      Parameters.

    Examples:
      >>> optimizer = make_optimizer(OptimizerSettings(0.1, steps=100, average=0.9))
      >>> params = jnp.ones(3)
      >>> averaged_params(optimizer.init(params), params, decay=0.9).shape
      (3,)
    """
    if not decay:
        return params
    average = optax.tree.get(opt_state, "params_average")
    return jax.tree.map(lambda a, b: a.astype(b.dtype), average, params)
