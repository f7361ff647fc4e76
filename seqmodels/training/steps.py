"""Pure training steps: many optimiser steps in one dispatch, many seeds side by side."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from seqmodels.types import Array, Params


class TrainState(NamedTuple):
    """params: parameters. opt_state: the optimiser's. step: int32. key: PRNG key of the data."""

    params: Params
    opt_state: optax.OptState
    step: Array
    key: Array


class StepMetrics(NamedTuple):
    """loss: scalar. grad_norm: global norm of the gradient before clipping."""

    loss: Array
    grad_norm: Array


def adam(
    learning_rate: float, clip_norm: float, warmup_steps: int = 0
) -> optax.GradientTransformation:
    """Returns Adam at a constant rate after a linear warm-up, behind clipping by global norm.

    Args:
      learning_rate: the rate after the warm-up.
      clip_norm: gradients with a larger global norm are scaled down to it (Pascanu, Mikolov, Bengio
        2013, arXiv 1211.5063); infinite for no clipping.
      warmup_steps: steps over which the rate grows from 0.

    Returns:
      An optax optimiser.
    """
    schedule = optax.schedules.constant_schedule(learning_rate)
    if warmup_steps:
        schedule = optax.schedules.warmup_constant_schedule(0.0, learning_rate, warmup_steps)
    return optax.chain(optax.clip_by_global_norm(clip_norm), optax.adam(schedule))


def start(
    init: Callable[[Array], Params], optimizer: optax.GradientTransformation, key: Array
) -> TrainState:
    """Returns the state before the first step; parameters and data draw from keys of their own."""
    key_params, key_data = jax.random.split(key)
    params = init(key_params)
    return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32), key_data)


def make_train_steps(
    loss: Callable[[Params, Array], Array],
    optimizer: optax.GradientTransformation,
    num_steps: int,
) -> Callable[[TrainState], tuple[TrainState, StepMetrics]]:
    """Returns the function that takes `num_steps` optimiser steps under one `lax.scan`.

    Args:
      loss: `loss(params, key) -> scalar`; it makes or picks its batch from the key.
      optimizer: an optax optimiser.
      num_steps: steps a call.

    Returns:
      `train(state) -> (state, StepMetrics)`, metrics with a leading axis of `num_steps`.
    """

    def step(state: TrainState, _: None) -> tuple[TrainState, StepMetrics]:
        key = jax.random.fold_in(state.key, state.step)
        value, gradient = jax.value_and_grad(loss)(state.params, key)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = StepMetrics(value, optax.tree.norm(gradient))
        return TrainState(params, opt_state, state.step + 1, state.key), metrics

    def train(state: TrainState) -> tuple[TrainState, StepMetrics]:
        return jax.lax.scan(step, state, length=num_steps)

    return train


def over_seeds(function: Callable[..., Any], mesh: Mesh) -> Any:
    """Returns `function` for S seeds at once, spread over the devices.

    Args:
      function: takes and returns pytrees of arrays for one seed.
      mesh: a mesh with one axis; its size divides S.

    Returns:
      A compiled function whose arguments and results have a leading axis S.
    """
    spec = PartitionSpec(mesh.axis_names[0])

    def side_by_side(*arguments: Any) -> Any:
        if mesh.devices.flat[0].platform != "cpu":
            return jax.vmap(function)(*arguments)
        # One after the other: batches of small matrix products are slow on a CPU.
        return jax.lax.map(lambda one: function(*one), arguments)

    spread = jax.shard_map(side_by_side, mesh=mesh, in_specs=spec, out_specs=spec)
    sharding = NamedSharding(mesh, spec)
    return jax.jit(spread, in_shardings=sharding, out_shardings=sharding)
