"""Data parallelism: a function of a batch with its rows spread over devices."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, PartitionSpec

from seqmodels.parallel.axes import (
    KEY,
    Batch,
    Output,
    check_entries,
    check_rows,
    describe,
    outputs_of,
    split_arguments,
)
from seqmodels.types import Array

_NAME = "rows"  # the axis of the mesh


def data_parallel(
    function: Callable[..., Any],
    *,
    batch_axis: int | None = None,
    in_axes: Sequence[Any] | None = None,
    out_axes: Any = "mean",
    weight: Callable[..., Any] | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Callable[..., Any]:
    """Returns `function` with the rows of its batch spread over devices, and its outputs combined.

    Every device runs `function` on its share of the rows with a copy of the other arguments. The
    result is that of `function` itself, to rounding. It works inside and outside of `jax.jit`,
    `jax.grad` and `jax.vmap`. With one device and without `weight`, `function` is called as it is.

    Take derivatives inside, as in the first example: then each device takes its own, and they are
    combined once. `jax.grad` of the returned function gives the same numbers. The update of an
    optimizer, which is not a mean over rows, belongs outside.

    Args:
      function: a pure function `(params, *batch)`, or of any positional arguments with `in_axes`.
        Arguments and outputs are pytrees of arrays.
      batch_axis: the axis that counts rows in all arguments but the first, such as 1 for xs
        (T, B, D); the first is copied. Short for `in_axes=(None, batch_axis, ..., batch_axis)`.
      in_axes: one entry for each argument, as in `jax.vmap`; an entry may also be a pytree, a
        prefix of its argument. An integer is the axis that counts rows. None copies the argument.
        "key" is for one PRNG key: each device folds its own number into it. So devices draw
        different dropout masks, which are not those of one device. Keys of each row, split by an
        integer, give the same masks on any number of devices.
      out_axes: how to combine the outputs; one entry for all, or a pytree that is a prefix of the
        outputs. "mean" is for means over rows and their gradients, "sum" for sums. An integer
        concatenates outputs of each row along that axis. Such an output must depend on its own row
        alone, and not on the number of rows: the gradient of a mean with respect to its rows would
        be that of a device's mean.
      weight: `weight(*arguments) -> scalar`, the weight of a device's rows in a "mean". If
        `function` is a mean over valid steps, that is their number. A device with weight 0 is left
        out, and a mean of weight 0 is 0. None weights all rows equally.
      devices: the devices, in the order of their rows; None for all local devices of the default
        backend, which are looked up in the first call.

    Returns:
      A compiled function of the same arguments, all positional. Make it once and call it often. It
      raises ValueError if the devices do not divide the number of rows, unless all outputs are
      concatenated: then the last row is repeated, and the results of the copies are dropped. It
      raises ValueError if an entry of `in_axes` or `out_axes` does not fit its array.

    Raises:
      TypeError: if `function` or `weight` is not callable.
      ValueError: if not exactly one of `batch_axis` and `in_axes` is given, or if an entry is not
        one of those above.

    Examples:
      >>> loss = lambda w, xs: jnp.mean((xs @ w) ** 2)  # xs (T, B, D): a mean over rows
      >>> step = sm.data_parallel(jax.value_and_grad(loss), batch_axis=1)
      >>> value, gradient = step(jnp.ones(3), jnp.ones((5, 4, 3)))
      >>> float(value), gradient.shape
      (9.0, (3,))

      Outputs of each row are concatenated, for any number of rows:

      >>> cell = sm.gru(3, 4)
      >>> apply = lambda params, xs, lengths: sm.unroll(cell, params, xs, lengths=lengths)[1]
      >>> predict = sm.data_parallel(apply, in_axes=(None, 1, 0), out_axes=1)
      >>> lengths = jnp.array([5, 2, 3, 1, 0])
      >>> predict(cell.init(jax.random.key(0)), jnp.ones((5, 5, 3)), lengths).shape
      (5, 5, 4)

      A mean over valid steps needs the number of valid steps of each device:

      >>> def mean_output(params, xs, lengths):
      ...     return jnp.sum(apply(params, xs, lengths)) / (4 * jnp.sum(lengths))
      >>> count = lambda params, xs, lengths: jnp.sum(lengths)
      >>> mean = sm.data_parallel(mean_output, in_axes=(None, 1, 0), weight=count)
      >>> mean(cell.init(jax.random.key(0)), jnp.ones((5, 4, 3)), lengths[:4]).shape
      ()
    """
    for name, called in (("function", function), ("weight", weight)):
        if not callable(called) and not (called is None and name == "weight"):
            kind = type(called).__name__
            raise TypeError(f"data_parallel: {name}: got a {kind}, expected a function")
    if (batch_axis is None) == (in_axes is None):
        raise ValueError(
            f"data_parallel: got batch_axis={batch_axis} and in_axes={in_axes}, expected one of "
            "the two"
        )
    check_entries("batch_axis", batch_axis, (None,))
    if not isinstance(in_axes, tuple | list | None):
        raise ValueError(
            f"data_parallel: in_axes: got {in_axes!r}, expected a tuple with one entry for each "
            "argument"
        )
    check_entries("in_axes", in_axes if in_axes is None else tuple(in_axes), (None, KEY))
    check_entries("out_axes", out_axes, ("mean", "sum"))
    given = None if devices is None else tuple(devices)
    if given is not None and (
        not given
        or len(set(given)) < len(given)
        or not all(isinstance(device, jax.Device) for device in given)
    ):
        raise ValueError(
            f"data_parallel: devices: got {devices!r}, expected different devices of JAX, or None"
        )

    def run(*arguments: Any, **keywords: Any) -> Any:
        if keywords:
            names = ", ".join(keywords)
            raise TypeError(
                f"data_parallel: got {names} as keyword arguments, expected positional arguments"
            )
        axes = (None, *[batch_axis] * (len(arguments) - 1)) if in_axes is None else tuple(in_axes)
        batch = split_arguments(arguments, axes, "batch_axis" if in_axes is None else "in_axes")
        used = given or tuple(jax.local_devices())
        concatenates = all(isinstance(entry, int) for entry in jax.tree.leaves(out_axes))
        if not concatenates:
            check_rows(batch.rows, len(used))
        if not batch.rows or (given is None and len(used) == 1 and weight is None):
            outputs = function(*arguments)
            outputs_of(outputs, out_axes)
            return outputs
        return _spread(_Call(function, weight, out_axes, used), batch)

    return jax.jit(functools.wraps(function)(run))


class _Call(NamedTuple):
    """The arguments of `data_parallel` that a call needs."""

    function: Callable[..., Any]
    weight: Callable[..., Any] | None
    out_axes: Any
    devices: Sequence[jax.Device]


def _spread(call: _Call, batch: Batch) -> Any:
    """Returns the outputs of a call whose rows are spread over the devices."""
    size, rows = len(call.devices), batch.rows
    padding = -rows % size
    leaves = [_repeat_last(a, axis, padding) for a, axis in zip(*batch[:2], strict=True)]
    whole = jax.eval_shape(call.function, *batch.structure.unflatten(leaves))
    outputs = outputs_of(whole, call.out_axes)

    def share(*leaves: Array) -> list[Array]:
        if size > 1:
            index = jax.lax.axis_index(_NAME)
            leaves = tuple(
                jax.random.fold_in(leaf, index) if axis == KEY else leaf
                for leaf, axis in zip(leaves, batch.axes, strict=True)
            )
        arguments = batch.structure.unflatten(leaves)
        results = [jnp.asarray(leaf) for leaf in jax.tree.leaves(call.function(*arguments))]
        part = None
        if call.weight is not None:
            part = jnp.asarray(call.weight(*arguments))
            if part.shape != ():
                raise ValueError(f"data_parallel: weight: got {describe(part)}, expected a scalar")
        return [_combine(a, output, size, part) for a, output in zip(results, outputs, strict=True)]

    mesh = Mesh(np.asarray(call.devices), (_NAME,), axis_types=(AxisType.Auto,))
    # Without the check every value varies from device to device. So a loop of the user's may begin
    # with zeros. A gradient taken inside is that of its device's rows, and is summed once above.
    results = jax.shard_map(
        share,
        mesh=mesh,
        in_specs=tuple(_spec(axis) for axis in batch.axes),
        out_specs=[_spec(output.entry) for output in outputs],
        check_vma=False,
    )(*leaves)
    if padding:
        results = [
            jax.lax.slice_in_dim(a, 0, _kept(output, rows, padding), axis=output.entry)
            for a, output in zip(results, outputs, strict=True)
        ]
    return jax.tree.unflatten(jax.tree.structure(whole), results)


def _spec(entry: Any) -> PartitionSpec:
    return PartitionSpec(*[None] * entry, _NAME) if isinstance(entry, int) else PartitionSpec()


def _repeat_last(leaf: Array, axis: Any, padding: int) -> Array:
    """Returns the array with its last row repeated, for which the function is defined."""
    if not padding or not isinstance(axis, int):
        return leaf
    rows = np.minimum(np.arange(leaf.shape[axis] + padding), leaf.shape[axis] - 1)
    return jnp.take(leaf, rows, axis=axis)


def _kept(output: Output, rows: int, padding: int) -> int:
    """Returns how many rows of an output belong to the given rows."""
    count = output.shape[output.entry] * rows
    if count % (rows + padding):
        raise ValueError(
            f"batch: got {rows} rows and output{output.path}, {describe(output)}, expected a "
            "multiple of the devices, or an output that has rows"
        )
    return count // (rows + padding)


def _combine(leaf: Array, output: Output, size: int, weight: Array | None) -> Array:
    """Returns one leaf of the outputs, combined over the devices, inside of shard_map."""
    expected = list(output.shape)
    if isinstance(output.entry, int):
        expected[output.entry] //= size
        if leaf.shape != tuple(expected) or output.shape[output.entry] % size:
            raise ValueError(
                f"data_parallel: out_axes: got {output.entry} for output{output.path}, "
                f"{describe(output)}, expected the axis that counts its rows, 'mean' or 'sum'"
            )
        return leaf
    if leaf.shape != output.shape:
        raise ValueError(
            f"data_parallel: out_axes: got {output.entry!r} for output{output.path}, "
            f"{describe(output)}, whose shape depends on the number of rows, expected the axis of "
            "its rows"
        )
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return jax.lax.psum(leaf, _NAME)
    wide = leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
    if output.entry == "sum":
        result = jax.lax.psum(wide, _NAME)
    elif weight is None:
        result = jax.lax.pmean(wide, _NAME)
    else:
        weight = weight.astype(jnp.finfo(wide.dtype).dtype)
        total = jax.lax.psum(weight, _NAME)
        share = jnp.where(weight == 0, 0, weight / jnp.where(total == 0, 1, total))
        # By selection: a mean over nothing, on a device without weight, may be NaN.
        result = jax.lax.psum(jnp.where(weight == 0, 0, wide * share), _NAME)
    return result.astype(leaf.dtype)
