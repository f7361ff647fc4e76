"""One update for the gradients of several steps, each step with the weight of its items."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from seqmodels.types import Array, Params


class AccumulationState(NamedTuple):
    """State of `accumulate_gradients`.

    Attributes:
      summed: int32, steps since the last update.
      weight: scalar, the sum of their weights.
      total: the sum of weight times gradient, at least in float32.
      inner: state of the optimizer inside.
    """

    summed: Array
    weight: Array
    total: Params
    inner: optax.OptState


def accumulate_gradients(
    optimizer: optax.GradientTransformation, every: int, *, skip: bool = False
) -> optax.GradientTransformationExtraArgs:
    """Returns an optimizer that makes one update for the gradients of `every` steps.

    The gradient of the update is sum_k w_k g_k / sum_k w_k, where w_k is the weight of step k. So
    two batches of 1 and 4 valid steps give what one batch of 5 gives; a mean of the two gradients
    would not. `optax.MultiSteps` takes that mean.

    Args:
      optimizer: makes the update; it gets one gradient for every `every` steps.
      every: the number of steps, at least 1.
      skip: whether a step whose gradient is not finite is left out, and is not one of the `every`
        steps. Otherwise it makes the update NaN, but not the updates after it.

    Returns:
      A transformation whose `update` takes the keyword `weight`, a scalar; without it each step has
      weight 1.

    Raises:
      ValueError: if `every` is less than 1.
    """
    if every < 1:
        raise ValueError(f"accumulate: got {every}, expected at least 1")
    inner = optax.with_extra_args_support(optimizer)

    def wide(leaf: Array) -> Array:
        return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))

    def init(params: Params) -> AccumulationState:
        total = jax.tree.map(lambda leaf: jnp.zeros_like(wide(leaf)), params)
        weight = jnp.zeros((), jnp.float32)
        return AccumulationState(jnp.zeros((), jnp.int32), weight, total, inner.init(params))

    def update(
        updates: Params,
        state: AccumulationState,
        params: Params | None = None,
        *,
        weight: Array | float = 1.0,
        **more: Any,
    ) -> tuple[Params, AccumulationState]:
        counted, steps = jnp.asarray(weight, state.weight.dtype), jnp.int32(1)
        if skip:
            finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(updates)]
            usable = jnp.all(jnp.stack(finite))
            counted, steps = jnp.where(usable, counted, 0), usable.astype(jnp.int32)

        def add(total: Array, leaf: Array) -> Array:
            # By selection, because 0 * NaN is NaN.
            return total + jnp.where(counted > 0, wide(leaf) * counted.astype(total.dtype), 0)

        new = state._replace(
            summed=state.summed + steps,
            weight=state.weight + counted,
            total=jax.tree.map(add, state.total, updates),
        )

        def wait(new: AccumulationState) -> tuple[Params, AccumulationState]:
            return jax.tree.map(jnp.zeros_like, updates), new

        def finish(new: AccumulationState) -> tuple[Params, AccumulationState]:
            scale = jnp.where(new.weight > 0, 1 / jnp.where(new.weight > 0, new.weight, 1), 0)
            mean = jax.tree.map(
                lambda total, leaf: (total * scale.astype(total.dtype)).astype(leaf.dtype),
                new.total,
                updates,
            )
            changes, inner_state = inner.update(mean, new.inner, params, **more)
            changes = jax.tree.map(lambda change, leaf: change.astype(leaf.dtype), changes, updates)
            fresh = jax.tree.map(jnp.zeros_like, new._replace(inner=()))
            return changes, fresh._replace(inner=inner_state)

        return jax.lax.cond(new.summed >= every, finish, wait, new)

    return optax.GradientTransformationExtraArgs(init, update)


def decay_mask(params: Params) -> Any:
    """Returns for each leaf whether weight decay applies: to matrices, but not to embeddings.

    Biases, gains and other vectors are not decayed, because decay would work against what they
    start at, such as the forget bias of an LSTM. Leaves below a name with "peephole" in it are
    vectors too, stored side by side. Of leaves below a name with "embedding" a batch reads a few
    rows, and decay would shrink all of them.

    Args:
      params: pytree of arrays.
    """

    def decays(path: tuple[Any, ...], leaf: Array) -> bool:
        names = jax.tree_util.keystr(path, simple=True, separator=".").lower()
        return leaf.ndim >= 2 and not any(word in names for word in ("embedding", "peephole"))

    return jax.tree_util.tree_map_with_path(decays, params)
