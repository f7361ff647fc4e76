"""Pure training steps: many optimizer steps in one dispatch, on one device, many, or many seeds."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from seqmodels.parallel.axes import check_rows
from seqmodels.pytrees import match_varying_axes
from seqmodels.training.state import TrainState
from seqmodels.types import Array, Params


class Loss(NamedTuple):
    """Result of a loss function: sums, so that shares of a batch add up to the whole.

    The loss is `total / weight`. With padded sequences `weight` is the number of valid steps; then
    devices whose rows have different numbers of them still give what one device gives.

    Attributes:
      total: scalar, the sum of the losses of all items.
      weight: scalar, the number of items, or the sum of their weights; where it is 0 the loss is 0.
      metrics: more sums over the same items, reported divided by `weight`.
      carry: carry of the next step.
    """

    total: Array
    weight: Array | float = 1.0
    metrics: dict[str, Array] = {}  # noqa: RUF012 - never changed
    carry: Any = ()


class StepMetrics(NamedTuple):
    """Per-step metrics, with a leading axis of the steps of a dispatch.

    Attributes:
      loss: the loss.
      grad_norm: global norm of the gradient before clipping.
      leaf_norms: (..., leaves), the norm of the gradient of each leaf of the parameters, in the
        order of `leaf_names`.
      finite: bool, whether the loss and the whole gradient are finite.
      metrics: the means of `Loss.metrics`.
    """

    loss: Array
    grad_norm: Array
    leaf_norms: Array
    finite: Array
    metrics: dict[str, Array]


# The number of the keys of the losses; a step, which is below 2^31, never has this number.
_LOSS_KEYS = 2**32 - 1

LossFunction = Callable[[Params, Any, Array, Any], Loss]


def leaf_names(params: Params) -> list[str]:
    """Returns the path of every leaf, such as "cell.w_h", in the order of `jax.tree.leaves`.

    Examples:
      >>> leaf_names(sm.rnn(3, 4).init(jax.random.key(0)))
      ['w_x', 'w_h', 'b']
    """
    paths = jax.tree_util.tree_leaves_with_path(params)
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths]


def make_train_steps(
    loss: LossFunction,
    optimizer: optax.GradientTransformation,
    num_steps: int = 1,
    *,
    sample: Callable[[Array], Any] | None = None,
    mesh: Mesh | None = None,
    batch_axes: Any = 0,
) -> Callable[..., tuple[TrainState, StepMetrics]]:
    """Returns the function that takes `num_steps` optimizer steps under one `lax.scan`.

    Args:
      loss: `loss(params, batch, key, carry) -> Loss`; every step has another key, for dropout.
      optimizer: an optax optimizer. If it takes extra arguments, as `accumulate_gradients` does, it
        also gets `weight`, that of the step's loss.
      num_steps: the number of steps in one call.
      sample: `sample(key) -> batch`, if batches are made on the device; None if they are arguments.
      mesh: a mesh with one axis. The rows of every batch are spread over its devices, and so is the
        carry, along the first axis of its leaves. None for one device. Gradients are summed over
        devices once a step, and every device has its own dropout masks.
      batch_axes: the axis of rows of each leaf of a batch, or of all leaves below a node, such as 1
        for xs (T, B, D). None for a leaf that every device gets whole.

    Returns:
      `train(state, batches=None) -> (state, StepMetrics)`. `batches` has a leading axis of
      `num_steps`; it is None with a `sample`. A stopped state is returned unchanged, with metrics
      of zero. Compile it with `jax.jit` and donate the state.

    Raises:
      ValueError: by `train`, if `batches` have another number of steps, or if the number of devices
        does not divide the rows of a batch.
      TypeError: by `train`, if the loss does not return a `Loss`.

    Examples:
      >>> import optax
      >>> from seqmodels.training.state import create_train_state
      >>> cell, optimizer = sm.gru(3, 4), optax.adam(1e-3)
      >>> def loss(params, xs, key, carry):  # xs (T, B, D)
      ...     return Loss(jnp.sum(sm.unroll(cell, params, xs)[1] ** 2), weight=xs.shape[1])
      >>> state = create_train_state(cell.init, optimizer, jax.random.key(0))
      >>> train = jax.jit(make_train_steps(loss, optimizer, num_steps=2, batch_axes=1))
      >>> state, metrics = train(state, jnp.ones((2, 5, 4, 3)))  # two batches
      >>> metrics.loss.shape, int(state.step)
      ((2,), 2)
    """
    name = mesh.axis_names[0] if mesh else None
    weighted = optax.with_extra_args_support(optimizer)

    def step(state: TrainState, batch: Any) -> tuple[TrainState, StepMetrics]:
        key = jax.random.fold_in(state.key, state.step)
        if sample is not None:
            batch = _rows_of_device(sample(key), batch_axes, mesh)
            # Not of the sample's key: `fold_in(key, n)` is also the n-th of `split(key)`.
            key = jax.random.fold_in(jax.random.fold_in(state.key, _LOSS_KEYS), state.step)
        key = jax.random.fold_in(key, 0 if name is None else jax.lax.axis_index(name))

        def total(params: Params) -> tuple[Array, Loss]:
            result = loss(params, batch, key, state.carry)
            if not isinstance(result, Loss):
                raise TypeError(
                    f"make_train_steps: loss: got a {type(result).__name__}, expected a Loss"
                )
            return result.total, result

        # The gradient of parameters that vary is that of this device's rows alone. For replicated
        # parameters it would be summed already, in the middle of the backward pass.
        params = state.params if name is None else match_varying_axes(state.params, key)
        (_, result), gradient = jax.value_and_grad(total, has_aux=True)(params)
        real = jnp.promote_types(jnp.result_type(result.total), jnp.float32)
        numbers = result.total, result.weight, result.metrics
        sums = gradient, *jax.tree.map(lambda a: jnp.asarray(a, real), numbers)
        if name is not None:
            sums = jax.lax.psum(match_varying_axes(sums, key), name)
        gradient, value, weight, metrics = sums
        scale = jnp.where(weight > 0, 1 / jnp.where(weight > 0, weight, 1), 0)
        gradient, metrics = jax.tree.map(lambda a: a * scale.astype(a.dtype), (gradient, metrics))
        value = value * scale
        finite = jnp.isfinite(value)
        for leaf in jax.tree.leaves(gradient):
            finite &= jnp.all(jnp.isfinite(leaf))
        leaf_norms = jnp.stack([_norm(leaf) for leaf in jax.tree.leaves(gradient)])
        # An optimizer that skips non-finite gradients must skip this one too.
        usable = jax.tree.map(lambda a: jnp.where(finite, a, jnp.nan), gradient)
        updates, opt_state = weighted.update(usable, state.opt_state, state.params, weight=weight)
        state = state._replace(
            params=optax.apply_updates(state.params, updates),
            opt_state=opt_state,
            step=state.step + 1,
            cursor=state.cursor + 1,
            carry=result.carry,
        )
        return state, StepMetrics(value, _norm(leaf_norms), leaf_norms, finite, metrics)

    def run(state: TrainState, batches: Any) -> tuple[TrainState, StepMetrics]:
        return jax.lax.scan(step, state, batches, length=num_steps)

    def skip(state: TrainState, batches: Any) -> tuple[TrainState, StepMetrics]:
        _, metrics = jax.eval_shape(run, state, batches)
        zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), metrics)
        zeros = zeros._replace(finite=~zeros.finite)
        return state, match_varying_axes(zeros, state.step)

    def train(state: TrainState, batches: Any = None) -> tuple[TrainState, StepMetrics]:
        return jax.lax.cond(state.stopped, skip, run, state, batches)

    if mesh is None:
        return train
    rows = PartitionSpec(name)
    replicated = PartitionSpec()
    states: Any = TrainState(*[replicated] * len(TrainState._fields))  # type: ignore[arg-type]
    states = states._replace(carry=rows)

    def spec(axis: int | None) -> PartitionSpec:
        return replicated if axis is None else PartitionSpec(*[None] * (axis + 1), name)

    specs = jax.tree.map(spec, batch_axes, is_leaf=lambda axis: axis is None)

    def spread(state: TrainState, batches: Any = None) -> tuple[TrainState, StepMetrics]:
        _check_rows(batches, batch_axes, mesh.size)
        return jax.shard_map(
            train,
            mesh=mesh,
            in_specs=(states, replicated if batches is None else specs),
            out_specs=(states, replicated),
        )(state, batches)

    return spread


def _norm(leaf: Array) -> Array:
    """Returns the Euclidean norm, at least in float32, which no square overflows."""
    leaf = jnp.abs(leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)))
    largest = jnp.max(leaf, initial=0)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    return scale * jnp.sqrt(jnp.sum(jnp.square(leaf / scale)))


def _rows_of_device(batch: Any, batch_axes: Any, mesh: Mesh | None) -> Any:
    """Returns this device's rows of a batch that every device has made."""
    if mesh is None:
        return batch
    index, devices = jax.lax.axis_index(mesh.axis_names[0]), mesh.size
    _check_rows(batch, batch_axes, devices, leading=0)

    def rows(axis: int | None, leaf: Array) -> Array:
        if axis is None:
            return leaf
        share = leaf.shape[axis] // devices
        return jax.lax.dynamic_slice_in_dim(leaf, index * share, share, axis)

    return _map_leaves(rows, batch_axes, batch)


def _check_rows(batch: Any, batch_axes: Any, devices: int, leading: int = 1) -> None:
    def check(axis: int | None, leaf: Array) -> None:
        if axis is not None:
            check_rows(leaf.shape[axis + leading], devices)

    if batch is not None:
        _map_leaves(check, batch_axes, batch)


def _map_leaves(function: Callable[[int | None, Array], Any], batch_axes: Any, batch: Any) -> Any:
    """Maps over the leaves of a batch with the axis that stands for each, or for a node above."""
    return jax.tree.map(
        lambda axis, node: jax.tree.map(lambda leaf: function(axis, leaf), node),
        batch_axes,
        batch,
        is_leaf=lambda axis: axis is None,
    )


def over_seeds(function: Callable[..., Any], mesh: Mesh, *, donate: tuple[int, ...] = ()) -> Any:
    """Returns `function` for S seeds at once, spread over the devices.

    Args:
      function: takes and returns pytrees of arrays for one seed.
      mesh: a mesh with one axis; its size divides S.
      donate: numbers of the arguments whose buffers the results may reuse.

    Returns:
      A compiled function whose arguments and results have a leading axis S.

    Examples:
      >>> from seqmodels.training.parallel.mesh import make_mesh
      >>> init = over_seeds(sm.rnn(3, 4).init, make_mesh(1, "seeds"))
      >>> init(jax.random.split(jax.random.key(0), 2)).w_h.shape
      (2, 4, 4)
    """
    spec = PartitionSpec(mesh.axis_names[0])

    def side_by_side(*arguments: Any) -> Any:
        if mesh.devices.flat[0].platform != "cpu":
            return jax.vmap(function)(*arguments)
        # One after the other: batches of small matrix products are slow on a CPU.
        return jax.lax.map(lambda seed_arguments: function(*seed_arguments), arguments)

    spread = jax.shard_map(side_by_side, mesh=mesh, in_specs=spec, out_specs=spec)
    sharding = NamedSharding(mesh, spec)
    return jax.jit(spread, in_shardings=sharding, out_shardings=sharding, donate_argnums=donate)
