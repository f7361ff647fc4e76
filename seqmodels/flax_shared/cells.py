"""Flax's recurrent cells in stages, so that the drivers of this library can run them.

A Flax cell computes `x_t W_x + b_x` and `h_tm1 W_h + b_h` in one dense layer a gate. Here the
layers of all gates are packed into one, and the cell is declared in stages (`sm.make_cell`). The
state is Flax's own carry: `(c, h)` of an LSTM, `h` of the other cells. Equations and gate names are
those of the Flax documentation:

    SimpleCell  h = activation(x W_x + h_tm1 W_h + b),      plus h_tm1 inside if `residual`
    LSTMCell    gates i, f, g, o:  c = f * c_tm1 + i * g,   h = o * activation(c)
    GRUCell     gates r, z, n:     n = activation(n_x + r * n_h),  h = (1 - z) * n + z * h_tm1
    MGUCell     gates f, n:        n = activation(n_x + f * n_h),  h = (1 - f) * n + f * h_tm1

This module does not import Flax; `seqmodels.linen` and `seqmodels.nnx` do.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from seqmodels.cells.stages import lift, make_cell
from seqmodels.types import Array, Cell, State

# Gates of each kind, in the order in which they are packed.
GATES = {
    "simple": ("",),
    "lstm": ("i", "f", "g", "o"),
    "gru": ("r", "z", "n"),
    "mgu": ("f", "n"),
}


class FlaxOptions(NamedTuple):
    """Options that determine the arithmetic of one Flax cell.

    Attributes:
      kind: a key of `GATES`.
      gate_fn: activation of the gates; not used by "simple".
      activation_fn: activation of candidates and of the LSTM's output.
      dtype: dtype of the dense layers; None promotes inputs and parameters to a common one.
      carry_dtype: dtype of the carry.
      flag: `residual` of a SimpleCell, `reset_gate` of an MGUCell; not used by the others.
    """

    kind: str
    gate_fn: Callable[[Array], Array]
    activation_fn: Callable[[Array], Array]
    dtype: Any = None
    carry_dtype: Any = jnp.float32
    flag: bool = False


class FlaxWeights(NamedTuple):
    """Packed dense layers; gates lie along the last axis in the order of `GATES`.

    w_x: (D, nH). w_h: (H, nH). b_x, b_h: (nH,), or None where no gate has a bias.
    """

    w_x: Array
    w_h: Array
    b_x: Array | None
    b_h: Array | None


def pack_weights(
    kernels_x: Sequence[Array],
    kernels_h: Sequence[Array],
    biases_x: Sequence[Array | None],
    biases_h: Sequence[Array | None],
) -> FlaxWeights:
    """Returns packed weights from one array for each gate, in the order of `GATES`.

    Layers that hold all gates already are passed as one array each and are not copied.

    Args:
      kernels_x: kernels (D, H) of the layers that read the input.
      kernels_h: kernels (H, H) of the layers that read the hidden state.
      biases_x: biases (H,) of the former; None where a layer has no bias.
      biases_h: biases (H,) of the latter; None where a layer has no bias.
    """
    return FlaxWeights(
        _concatenate(kernels_x),
        _concatenate(kernels_h),
        _pack_biases(biases_x),
        _pack_biases(biases_h),
    )


def _concatenate(arrays: Sequence[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else jnp.concatenate(arrays, axis=-1)


def _pack_biases(biases: Sequence[Array | None]) -> Array | None:
    present = [bias for bias in biases if bias is not None]
    if not present:
        return None
    return _concatenate([jnp.zeros_like(present[0]) if b is None else b for b in biases])


def flax_cell(options: FlaxOptions) -> Cell:
    """Returns the cell whose parameters are `FlaxWeights` and whose state is Flax's carry.

    `cell.init` raises TypeError, because Flax makes the parameters. As in Flax, dtypes are
    promoted, so a step may return a carry of another dtype than it was given. Equal options give
    the same cell, so a call outside of jit compiles once.
    """
    try:
        return _cached_cell(options)
    except TypeError:  # an activation that cannot be hashed
        return _make(options)


def _make(options: FlaxOptions) -> Cell:
    return make_cell(
        _no_init,
        functools.partial(_zero_carry, options=options),
        (
            functools.partial(_project, options=options),
            functools.partial(_UPDATES[options.kind], options=options),
        ),
    )


_cached_cell = functools.lru_cache(maxsize=256)(_make)


def _no_init(key: Array) -> FlaxWeights:
    raise TypeError("flax_cell: init: got a call, expected parameters made by Flax")


def _zero_carry(
    params: FlaxWeights, batch_shape: Sequence[int] = (), *, options: FlaxOptions
) -> State:
    h = jnp.zeros((*batch_shape, params.w_h.shape[0]), options.carry_dtype)
    return (h, h) if options.kind == "lstm" else h


def _dense(inputs: Array, kernel: Array, bias: Array | None, dtype: Any) -> Array:
    """Returns `inputs @ kernel + bias` in the dtype of Flax's `Dense`."""
    arrays = [a for a in (inputs, kernel, bias) if a is not None]
    dtype = dtype or jnp.result_type(*arrays)
    product = inputs.astype(dtype) @ kernel.astype(dtype)
    return product if bias is None else product + lift(bias.astype(dtype), product)


def _project(
    params: FlaxWeights, state: State, x_t: Array, *, options: FlaxOptions
) -> tuple[Array, ...]:
    """Returns the summed pre-activations; for GRU and MGU the candidate's two parts apart."""
    h = state[1] if options.kind == "lstm" else state
    from_x = _dense(x_t, params.w_x, params.b_x, options.dtype)
    from_h = _dense(h, params.w_h, params.b_h, options.dtype)
    if options.kind in ("simple", "lstm"):
        gates = from_x + from_h
        return (gates + h if options.kind == "simple" and options.flag else gates,)
    n = from_x.shape[-1] // len(GATES[options.kind]) * (len(GATES[options.kind]) - 1)
    return from_x[..., :n] + from_h[..., :n], from_x[..., n:], from_h[..., n:]


def _update_simple(
    params: FlaxWeights, state: Array, gates: tuple[Array], *, options: FlaxOptions
) -> tuple[Array, Array]:
    del params
    h = options.activation_fn(gates[0])
    return h, h


def _update_lstm(
    params: FlaxWeights, state: tuple[Array, Array], gates: tuple[Array], *, options: FlaxOptions
) -> tuple[tuple[Array, Array], Array]:
    del params
    i, f, g, o = jnp.split(gates[0], 4, axis=-1)
    c = options.gate_fn(f) * state[0] + options.gate_fn(i) * options.activation_fn(g)
    h = options.gate_fn(o) * options.activation_fn(c)
    return (c, h), h


def _update_gru(
    params: FlaxWeights, state: Array, gates: tuple[Array, Array, Array], *, options: FlaxOptions
) -> tuple[Array, Array]:
    del params
    rz, n_x, n_h = gates
    # Split first, because a gate_fn such as a softmax mixes the entries of one gate.
    r, z = (options.gate_fn(gate) for gate in jnp.split(rz, 2, axis=-1))
    n = options.activation_fn(n_x + r * n_h)
    h = (1.0 - z) * n + z * state
    return h, h


def _update_mgu(
    params: FlaxWeights, state: Array, gates: tuple[Array, Array, Array], *, options: FlaxOptions
) -> tuple[Array, Array]:
    del params
    f_gates, n_x, n_h = gates
    f = options.gate_fn(f_gates)
    n = options.activation_fn(n_x + (f * n_h if options.flag else n_h))
    h = (1.0 - f) * n + f * state
    return h, h


_UPDATES: dict[str, Callable[..., tuple[State, Array]]] = {
    "simple": _update_simple,
    "lstm": _update_lstm,
    "gru": _update_gru,
    "mgu": _update_mgu,
}
