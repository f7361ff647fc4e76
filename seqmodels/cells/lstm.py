"""Long short-term memory with a forget gate.

    i, f, g, o = split(x_t W_x + h_tm1 W_h + b)
    c_t = sigmoid(f) * c_tm1 + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(c_t),    y_t = h_t

Hochreiter, Schmidhuber 1997, "Long Short-Term Memory", Neural Computation 9(8); the forget gate is
from Gers, Schmidhuber, Cummins 2000, "Learning to Forget", Neural Computation 12(10). A sigmoid
lies in (0, 1), so a gate is the share of a value that passes. tanh lies in (-1, 1), so a candidate
can raise or lower the cell state.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.cells.initializers import (
    Initializer,
    check_chrono,
    chrono_bias,
    glorot_uniform,
    orthogonal,
    packed,
)
from seqmodels.cells.products import matmul
from seqmodels.cells.stages import (
    check_last_axis,
    check_size,
    init_function,
    lift,
    make_cell,
    zero_or_learned_state,
)
from seqmodels.types import Array, Cell, GateValues


class LSTMState(NamedTuple):
    """h: hidden state (*batch, H). c: cell state (*batch, H)."""

    h: Array
    c: Array


class LSTMParams(NamedTuple):
    """Gates lie along the last axis in the order i, f, g, o.

    w_x: (D, 4H). w_h: (H, 4H). b: (4H,). initial: learned initial state, leaves (H,), or None.
    """

    w_x: Array
    w_h: Array
    b: Array
    initial: LSTMState | None = None


def lstm_initial_state(
    params: LSTMParams, batch_shape: Sequence[int] = (), *, dtype: Any = None
) -> LSTMState:
    """Returns the state before the first step: zeros, or `params.initial`, in at least float32."""
    dtype = dtype or params.w_h.dtype
    return zero_or_learned_state(LSTMState, params, dtype, batch_shape, params.w_h.shape[0])


def lstm_project(params: LSTMParams, state: LSTMState, x_t: Array, *, dtype: Any = None) -> Array:
    """Returns the gates' pre-activations x_t W_x + h_tm1 W_h + b, (*batch, 4H).

    The products have operands in `dtype`; their sums and the gates are at least float32.
    """
    check_last_axis("lstm", "x_t", x_t, params.w_x.shape[0])
    dtype = dtype or params.w_x.dtype
    gates = matmul(x_t, params.w_x, dtype=dtype) + matmul(state.h, params.w_h, dtype=dtype)
    return gates + lift(params.b.astype(gates.dtype), gates)


def lstm_gates(params: LSTMParams, state: LSTMState, gates: Array) -> GateValues:
    """Returns the gates i, f, o and the candidate g from the pre-activations (*batch, 4H).

    f is the share of c that is kept.
    """
    del params
    i, f, g, o = jnp.split(gates.astype(state.c.dtype), 4, axis=-1)
    opened = {"i": jax.nn.sigmoid(i), "f": jax.nn.sigmoid(f), "o": jax.nn.sigmoid(o)}
    inputs = {"i": i, "f": f, "g": g, "o": o}
    return GateValues(opened, {"g": jnp.tanh(g)}, opened["f"], inputs)


def lstm_update(
    params: LSTMParams, state: LSTMState, gates: Array, *, dtype: Any = None
) -> tuple[LSTMState, Array]:
    """Returns (state, y_t) from the gates' pre-activations, y_t in `dtype`."""
    opened, candidates, *_ = lstm_gates(params, state, gates)
    c = opened["f"] * state.c + opened["i"] * candidates["g"]
    h = opened["o"] * jnp.tanh(c)
    return LSTMState(h, c), h.astype(dtype or params.w_x.dtype)


def lstm_step(
    params: LSTMParams, state: LSTMState, x_t: Array, *, dtype: Any = None
) -> tuple[LSTMState, Array]:
    """Takes one step of the equations at the top of this module.

    Args:
      params: `LSTMParams`.
      state: `LSTMState`, h and c (*batch, H).
      x_t: input (*batch, D).
      dtype: dtype of the matrix products; None for the dtype of the parameters.

    Returns:
      (state, y_t), y_t = h_t (*batch, H) in `dtype`.

    Raises:
      ValueError: if the last axis of `x_t` is not D.
    """
    gates = lstm_project(params, state, x_t, dtype=dtype)
    return lstm_update(params, state, gates, dtype=dtype)


def lstm(
    input_size: int,
    hidden_size: int,
    *,
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
    forget_bias: float = 1.0,
    chrono: float | None = None,
    learn_initial_state: bool = False,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """Returns the LSTM as a `Cell`.

    Args:
      input_size: D.
      hidden_size: H.
      w_x_init: initializer of every gate's block of w_x.
      w_h_init: initializer of every gate's block of w_h.
      forget_bias: bias of the forget gate; the other biases are zero. (Jozefowicz et al. 2015.)
      chrono: the longest dependency expected, in steps. Then, instead of `forget_bias`,
        b_f = log U[1, chrono - 1] and b_i = -b_f (Tallec, Ollivier 2018, arXiv 1804.11188).
      learn_initial_state: whether the initial state is a parameter (it starts at zero).
      dtype: dtype of the matrix products; None for the dtype of the parameters.
      param_dtype: dtype of the parameters.

    Returns:
      A `Cell` whose parameters are `LSTMParams`.

    Raises:
      ValueError: if a size is not a positive integer, `chrono` is not greater than 2, or a dtype is
        not a floating one.

    Examples:
      >>> cell = sm.lstm(input_size=3, hidden_size=4)
      >>> params = cell.init(jax.random.key(0))
      >>> params.w_x.shape, params.w_h.shape, params.b.shape
      ((3, 16), (4, 16), (16,))
      >>> state, ys = sm.unroll(cell, params, jnp.ones((5, 2, 3)))
      >>> state.h.shape, state.c.shape, ys.shape
      ((2, 4), (2, 4), (5, 2, 4))
    """
    check_size("lstm", input_size=input_size, hidden_size=hidden_size)
    check_chrono(chrono)

    def init(key: Array) -> LSTMParams:
        key_x, key_h, key_b = jax.random.split(key, 3)
        zeros = jnp.zeros(hidden_size, param_dtype)
        b_i, b_f = zeros, jnp.full(hidden_size, forget_bias, param_dtype)
        if chrono is not None:
            b_f = chrono_bias(key_b, (hidden_size,), chrono, param_dtype)
            b_i = -b_f
        return LSTMParams(
            w_x=packed(w_x_init, key_x, input_size, hidden_size, blocks=4, dtype=param_dtype),
            w_h=packed(w_h_init, key_h, hidden_size, hidden_size, blocks=4, dtype=param_dtype),
            b=jnp.concatenate([b_i, b_f, zeros, zeros]),
            initial=LSTMState(zeros, zeros) if learn_initial_state else None,
        )

    return make_cell(
        init,
        functools.partial(lstm_initial_state, dtype=dtype),
        (
            functools.partial(lstm_project, dtype=dtype),
            functools.partial(lstm_update, dtype=dtype),
        ),
        gates=(lstm_gates,),
    )


lstm_init = init_function(lstm, LSTMParams)
