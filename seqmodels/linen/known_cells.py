"""Flax's recurrent cells whose parameters and equations this library knows."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core.meta import AxisMetadata

from seqmodels.flax_shared.activations import is_plain
from seqmodels.flax_shared.cells import (
    GATES,
    FlaxOptions,
    FlaxWeights,
    flax_cell,
    pack_weights,
)
from seqmodels.types import Array, Cell

# By exact type: a subclass may compute something else.
_KINDS: dict[type, str] = {
    nn.SimpleCell: "simple",
    nn.LSTMCell: "lstm",
    nn.OptimizedLSTMCell: "lstm",
    nn.GRUCell: "gru",
    nn.MGUCell: "mgu",
}
# Gates whose layer has a bias: of the layers that read the input, of those that read the state.
_BIASES: dict[str, tuple[str, str]] = {
    "simple": ("*", ""),
    "lstm": ("", "*"),
    "gru": ("*", "n"),
    "mgu": ("*", "n"),
}


def known_cell(
    module: nn.Module, carry: Any, x_t: jax.ShapeDtypeStruct
) -> tuple[Cell, FlaxWeights] | None:
    """Returns a bound Flax cell as a `Cell` with packed weights; None if it is not known.

    A cell is known if `Cell.step` certainly computes the same as the Flax cell. Its class is one of
    Flax's, not a subclass. Its parameters exist and are those that Flax makes. Its activations act
    on single entries. A step returns a carry with the dtypes of its argument.

    Args:
      module: a bound Flax cell.
      carry: the carry before the first step.
      x_t: shape (*batch, D) and dtype of the input of one step.
    """
    kind = _KINDS.get(type(module))
    leaves = _carry_leaves(kind, carry)
    if kind is None or leaves is None:
        return None
    hidden_size = leaves[0].shape[-1]
    flag = bool(getattr(module, {"simple": "residual", "mgu": "reset_gate"}.get(kind, ""), False))
    weights = _read_weights(module, kind, flag, (x_t.shape[-1], hidden_size))
    options = _read_options(module, kind, flag, leaves[0].dtype)
    if weights is None or options is None:
        return None
    if not (jnp.issubdtype(x_t.dtype, jnp.floating) or _is_whole(x_t.dtype)):
        return None
    if any(leaf.shape != (*x_t.shape[:-1], hidden_size) for leaf in leaves):
        return None
    cell = flax_cell(options)
    new_carry, _ = jax.eval_shape(cell.step, weights, carry, x_t)
    if any(leaf.dtype != options.carry_dtype for leaf in jax.tree.leaves(new_carry)):
        return None  # Flax raises an error that names the dtypes
    return cell, weights


def _is_whole(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.integer) or dtype == jnp.bool_


def _carry_leaves(kind: str | None, carry: Any) -> tuple[Array, ...] | None:
    """Returns the arrays of a carry; None unless they have one floating dtype."""
    leaves: tuple[Any, ...] = (carry,)
    if kind == "lstm":
        leaves = carry if type(carry) is tuple and len(carry) == 2 else ()
    if not leaves or not all(isinstance(leaf, jax.Array) and leaf.ndim > 0 for leaf in leaves):
        return None
    if not jnp.issubdtype(leaves[0].dtype, jnp.floating):
        return None
    if any(leaf.dtype != leaves[0].dtype or leaf.weak_type for leaf in leaves):
        return None
    return leaves


def _read_options(module: Any, kind: str, flag: bool, carry_dtype: Any) -> FlaxOptions | None:
    """Returns the options of a Flax cell; None if they hold more than elementwise functions."""
    if module.dtype is not None and not jnp.issubdtype(module.dtype, jnp.floating):
        return None
    activation_fn = module.activation_fn
    gate_fn = activation_fn if kind == "simple" else module.gate_fn
    if not is_plain(activation_fn) or not is_plain(gate_fn):
        return None
    dtype = None if module.dtype is None else jnp.dtype(module.dtype)
    return FlaxOptions(kind, gate_fn, activation_fn, dtype, jnp.dtype(carry_dtype), flag)


def _read_weights(
    module: nn.Module, kind: str, flag: bool, sizes: tuple[int, int]
) -> FlaxWeights | None:
    """Returns the packed parameters; None unless their names, shapes and dtypes are as Flax's."""
    tree = module.variables.get("params", {}) if module.scope is not None else {}
    biases_x, biases_h = _BIASES[kind]
    if kind == "mgu" and not flag:
        biases_h = ""
    layers: dict[str, list[Any]] = {}
    for side, size, with_bias in (("i", sizes[0], biases_x), ("h", sizes[1], biases_h)):
        for gate in GATES[kind]:
            has_bias = with_bias == "*" or bool(gate and gate in with_bias)
            layer = _read_layer(tree, side + gate, (size, sizes[1]), has_bias)
            if layer is None:
                return None
            layers.setdefault(side, []).append(layer)
    present = [a for pair in (*layers["i"], *layers["h"]) for a in pair if a is not None]
    dtypes = {array.dtype for array in present}
    if len(tree) != 2 * len(GATES[kind]) or len(dtypes) != 1:
        return None
    if not jnp.issubdtype(dtypes.pop(), jnp.floating):
        return None
    (kernels_x, packed_biases_x), (kernels_h, packed_biases_h) = (
        zip(*layers[side], strict=True) for side in "ih"
    )
    return pack_weights(kernels_x, kernels_h, packed_biases_x, packed_biases_h)


def _read_layer(
    tree: Mapping[str, Any], name: str, shape: tuple[int, int], has_bias: bool
) -> tuple[Any, Any] | None:
    """Returns (kernel, bias) of one dense layer; None if it is not as expected."""
    layer = tree.get(name)
    names = {"kernel", "bias"} if has_bias else {"kernel"}
    if not isinstance(layer, Mapping) or set(layer) != names:
        return None
    arrays = [
        leaf.unbox() if isinstance(leaf, AxisMetadata) else leaf
        for leaf in (layer["kernel"], layer.get("bias"))
    ]
    for array, expected in zip(arrays, (shape, shape[1:] if has_bias else None), strict=True):
        if expected is None:
            continue
        if not isinstance(array, jax.Array | np.ndarray) or array.shape != expected:
            return None
    return arrays[0], arrays[1]
