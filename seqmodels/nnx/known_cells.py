"""Flax's own NNX cells as cells of this library: reads their layers at every call."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np
from flax.nnx.nn import dtypes

from seqmodels.flax_shared.activations import is_plain
from seqmodels.flax_shared.cells import (
    GATES,
    FlaxOptions,
    FlaxWeights,
    flax_cell,
    pack_weights,
)
from seqmodels.types import Array, Cell, State


class _Layers(NamedTuple):
    """The kind of a cell and the names of its layers, in the order of the packed gates."""

    kind: str
    from_x: tuple[str, ...]
    from_h: tuple[str, ...]


class ReadyCell(NamedTuple):
    """A cell that a driver can run, its parameters and the state before the first step."""

    cell: Cell
    weights: FlaxWeights
    state: State


class KnownCell(NamedTuple):
    """Options and parameters of one of Flax's cells."""

    options: FlaxOptions
    weights: FlaxWeights


_PACKED = (("dense_i",), ("dense_h",))
_CELLS: dict[type, _Layers] = {
    flax.nnx.LSTMCell: _Layers("lstm", ("ii", "if_", "ig", "io"), ("hi", "hf", "hg", "ho")),
    flax.nnx.OptimizedLSTMCell: _Layers("lstm", *_PACKED),
    flax.nnx.GRUCell: _Layers("gru", *_PACKED),
    flax.nnx.SimpleCell: _Layers("simple", *_PACKED),
}
# A method of a class may be replaced.
_CALLS: dict[type, Callable[..., Any]] = {
    kind: kind.__call__ for kind in (*_CELLS, flax.nnx.Linear)
}


def read_cell(cell: Any) -> KnownCell | None:
    """Returns options and parameters of one of Flax's own cells, or None for any other cell.

    A cell is Flax's own if its type is exactly `SimpleCell`, `LSTMCell`, `OptimizedLSTMCell` or
    `GRUCell`. Every layer must be exactly an `nnx.Linear` with the default `dot_general`,
    `promote_dtype` and precision. Its activations must be pure functions of single entries.
    Attributes are read at every call, so a layer or function that was replaced is seen.
    """
    layers = _CELLS.get(type(cell))
    if layers is None or not _is_original(type(cell)):
        return None
    from_x = [_read_layer(cell, name) for name in layers.from_x]
    from_h = [_read_layer(cell, name) for name in layers.from_h]
    sides = _Sides(
        [layer for layer in from_x if layer is not None],
        [layer for layer in from_h if layer is not None],
    )
    if None in from_x or None in from_h or not _fits(layers, sides):
        return None
    activation_fn = cell.activation_fn
    gate_fn = getattr(cell, "gate_fn", activation_fn)
    if not (is_plain(activation_fn) and is_plain(gate_fn)):
        return None
    flag = bool(getattr(cell, "residual", False))
    weights = pack_weights(
        [layer.kernel for layer in sides.from_x],
        [layer.kernel for layer in sides.from_h],
        [layer.bias for layer in sides.from_x],
        [layer.bias for layer in sides.from_h],
    )
    dtype = sides.from_x[0].dtype
    return KnownCell(FlaxOptions(layers.kind, gate_fn, activation_fn, dtype, flag=flag), weights)


def make_ready(known: KnownCell, carry: Any, xs: Array) -> ReadyCell | None:
    """Returns the cell with a carry of a dtype that steps keep; None if Flax must run it.

    Args:
      known: the cell.
      carry: Flax's carry, leaves (*batch, H).
      xs: inputs (T, *batch, D).

    Raises:
      ValueError: if the inputs are complex and the cell's dtype is not.
    """
    dtype = known.options.dtype
    if jnp.iscomplexobj(xs) and dtype and not jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(f"inputs: got {xs.dtype}, expected real numbers")
    D, H = known.weights.w_x.shape[0], known.weights.w_h.shape[0]
    is_pair = type(carry) is tuple and len(carry) == 2
    leaves = carry if is_pair else (carry,)
    real = jnp.issubdtype(xs.dtype, jnp.floating) or jnp.issubdtype(xs.dtype, jnp.integer)
    if (
        is_pair != (known.options.kind == "lstm")
        or not (real or xs.dtype == jnp.bool_)
        or xs.shape[-1:] != (D,)
        or not all(isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves)
        or any(leaf.shape != (*xs.shape[1:-1], H) for leaf in leaves)
        or len({leaf.dtype for leaf in leaves}) != 1
        or any(_is_promoted_otherwise(a, known.weights) for a in (xs, *leaves))
    ):
        return None
    # Without x64 a NumPy array of 64 bits becomes a JAX array of 32 bits.
    leaves = [jnp.asarray(leaf) for leaf in leaves]
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), known.weights)
    carry_dtype = _carry_dtype(known.options, shapes, jnp.dtype(xs.dtype), leaves[0].dtype)
    if carry_dtype is None:
        return None
    leaves = [leaf.astype(carry_dtype) for leaf in leaves]
    cell = flax_cell(known.options._replace(carry_dtype=carry_dtype))
    return ReadyCell(cell, known.weights, tuple(leaves) if is_pair else leaves[0])


def _is_promoted_otherwise(array: Any, weights: FlaxWeights) -> bool:
    """Returns whether the array has a weak type that decides a dtype."""
    return getattr(array, "weak_type", False) and array.dtype != weights.w_x.dtype


class _Layer(NamedTuple):
    kernel: Array
    bias: Array | None
    dtype: Any


class _Sides(NamedTuple):
    from_x: list[_Layer]
    from_h: list[_Layer]


def _is_original(kind: type) -> bool:
    """Returns whether the class has Flax's own call, perhaps inside the wrapper of `nnx.capture`.

    Under `nnx.capture(..., method_outputs=...)` Flax itself cannot scan one of these cells.
    """
    call, own = kind.__call__, _CALLS[kind]
    is_captured = getattr(call, "__wrapped__", None) is own and hasattr(call, "_does_capturing")
    return call is own or is_captured


def _read_layer(cell: Any, name: str) -> _Layer | None:
    layer = getattr(cell, name, None)
    if (
        type(layer) is not flax.nnx.Linear
        or not _is_original(flax.nnx.Linear)
        or layer.dot_general is not jax.lax.dot_general
        or layer.promote_dtype is not dtypes.promote_dtype
        or layer.precision is not None
        or layer.preferred_element_type is not None
        or layer.use_bias != (layer.bias is not None)
        or not isinstance(layer.kernel, flax.nnx.Variable)
        or not (layer.bias is None or isinstance(layer.bias, flax.nnx.Variable))
    ):
        return None
    kernel = layer.kernel[...]
    bias = None if layer.bias is None else layer.bias[...]
    if not all(a is None or isinstance(a, jax.Array | np.ndarray) for a in (kernel, bias)):
        return None
    return _Layer(jnp.asarray(kernel), None if bias is None else jnp.asarray(bias), layer.dtype)


def _fits(layers: _Layers, sides: _Sides) -> bool:
    """Returns whether shapes and dtypes are such that packing changes nothing."""
    D, H = sides.from_x[0].kernel.shape[0], sides.from_h[0].kernel.shape[0]
    for rows, side in ((D, sides.from_x), (H, sides.from_h)):
        width = H * len(GATES[layers.kind]) // len(side)
        for layer in side:
            if layer.kernel.shape != (rows, width):
                return False
            if layer.bias is not None and layer.bias.shape != (width,):
                return False
        arrays = [a for layer in side for a in (layer.kernel, layer.bias) if a is not None]
        if len({a.dtype for a in arrays}) != 1 or not jnp.issubdtype(arrays[0].dtype, jnp.floating):
            return False
    named = [layer.dtype for layer in (*sides.from_x, *sides.from_h)]
    return len({None if dtype is None else jnp.dtype(dtype) for dtype in named}) == 1


@functools.lru_cache(maxsize=256)
def _carry_dtype(
    options: FlaxOptions, weights: FlaxWeights, x_dtype: Any, carry_dtype: Any
) -> Any | None:
    """Returns the dtype of a carry that a step does not change, `carry_dtype` if possible.

    None if there is no such dtype. The arguments are shapes and dtypes.
    """
    x_t = jax.ShapeDtypeStruct(weights.w_x.shape[:1], x_dtype)
    for _ in range(2):
        h = jax.ShapeDtypeStruct(weights.w_h.shape[:1], carry_dtype)
        state = (h, h) if options.kind == "lstm" else h
        new, _ = jax.eval_shape(flax_cell(options).step, weights, state, x_t)
        found = {leaf.dtype for leaf in jax.tree.leaves(new)}
        if found == {carry_dtype}:
            return carry_dtype
        if len(found) != 1:
            return None
        carry_dtype = found.pop()
    return None
