"""A long short-term memory whose gates do not read the state, so that it is a linear recurrence.

    i, f, g = split(x_t W_x + b)
    i', f' = sigmoid(i) / (sigmoid(i) + sigmoid(f)), sigmoid(f) / (sigmoid(i) + sigmoid(f))
    h_t = f' * h_tm1 + i' * g,    y_t = h_t

Feng, Tung, Ahmed, Bengio, Hajimirsadeghi 2024, "Were RNNs All We Needed?" (arXiv 2410.01201). The
shares i' and f' add up to one, so the scale of the state does not depend on time. They are computed
as sigmoids of the difference of log sigmoid(i) and log sigmoid(f). That is defined even if both
gates are closed and the quotients are 0 / 0. The cell does not use log-space, for the reasons given
in `seqmodels.cells.min_gru`.
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
    packed,
)
from seqmodels.cells.linear import (
    input_gates,
    linear_step,
    make_linear_cell,
    positive_candidate,
)
from seqmodels.cells.stages import check_last_axis, check_size, init_function, zero_or_learned_state
from seqmodels.types import Array, Cell, GateValues


class MinLSTMState(NamedTuple):
    """h: hidden state (*batch, H)."""

    h: Array


class MinLSTMParams(NamedTuple):
    """Gates lie along the last axis in the order i, f, g.

    w_x: (D, 3H). b: (3H,). initial: the learned initial state, leaves (H,), or None.
    """

    w_x: Array
    b: Array
    initial: MinLSTMState | None = None


def min_lstm_initial_state(
    params: MinLSTMParams, batch_shape: Sequence[int] = (), *, dtype: Any = None
) -> MinLSTMState:
    """Returns the state before the first step: zeros, or `params.initial`, in at least float32."""
    dtype = dtype or params.w_x.dtype
    return zero_or_learned_state(MinLSTMState, params, dtype, batch_shape, params.b.shape[0] // 3)


def min_lstm_gates(
    params: MinLSTMParams, x_t: Array, *, positive: bool = False, dtype: Any = None
) -> GateValues:
    """Returns the shares i' and f' as gates i and f, and the candidate g.

    f' is the share of h that is kept.
    """
    check_last_axis("min_lstm", "x_t", x_t, params.w_x.shape[0])
    i, f, g = jnp.split(input_gates(params.w_x, params.b, x_t, dtype), 3, axis=-1)
    candidate = positive_candidate(g) if positive else g
    log_odds = jax.nn.log_sigmoid(f) - jax.nn.log_sigmoid(i)
    kept, added = jax.nn.sigmoid(log_odds), jax.nn.sigmoid(-log_odds)
    inputs = {"i": i, "f": f, "g": g}
    return GateValues({"i": added, "f": kept}, {"g": candidate}, kept, inputs)


def min_lstm_elements(
    params: MinLSTMParams, x_t: Array, *, positive: bool = False, dtype: Any = None
) -> tuple[MinLSTMState, MinLSTMState]:
    """Returns (a_t, b_t) of h_t = a_t * h_tm1 + b_t, each (*batch, H), in at least float32."""
    gates, candidates, *_ = min_lstm_gates(params, x_t, positive=positive, dtype=dtype)
    return MinLSTMState(gates["f"]), MinLSTMState(gates["i"] * candidates["g"])


def min_lstm_output(
    params: MinLSTMParams, state: MinLSTMState, x_t: Array, *, dtype: Any = None
) -> Array:
    """Returns y_t = h_t (*batch, H), in `dtype`."""
    del x_t
    return state.h.astype(dtype or params.w_x.dtype)


def min_lstm_step(
    params: MinLSTMParams,
    state: MinLSTMState,
    x_t: Array,
    *,
    positive: bool = False,
    dtype: Any = None,
) -> tuple[MinLSTMState, Array]:
    """Takes one step of the equations at the top of this module.

    Args:
      params: `MinLSTMParams`.
      state: `MinLSTMState`, h (*batch, H).
      x_t: input (*batch, D).
      positive: whether the candidate is g(n); see `positive_candidate`.
      dtype: dtype of the matrix products; None for the dtype of the parameters.

    Returns:
      (state, y_t), y_t = h_t (*batch, H) in `dtype`.

    Raises:
      ValueError: if the last axis of `x_t` is not D.
    """
    elements = min_lstm_elements(params, x_t, positive=positive, dtype=dtype)
    state = linear_step(*elements, state)
    return state, min_lstm_output(params, state, x_t, dtype=dtype)


def min_lstm(
    input_size: int,
    hidden_size: int,
    *,
    positive: bool = False,
    w_x_init: Initializer = glorot_uniform,
    forget_bias: float = 1.0,
    chrono: float | None = None,
    learn_initial_state: bool = False,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """Returns the minimal LSTM as a `Cell`.

    Args:
      input_size: D.
      hidden_size: H.
      positive: whether the candidate is g(n); see `positive_candidate`.
      w_x_init: initializer of every gate's block of w_x.
      forget_bias: bias of the forget gate; the other biases are zero.
      chrono: the longest dependency expected, in steps. Then, instead of `forget_bias`,
        b_f = log U[1, chrono - 1] and b_i = -b_f, which makes f' = sigmoid(b_f) (Tallec, Ollivier
        2018, arXiv 1804.11188).
      learn_initial_state: whether the initial state is a parameter (it starts at zero).
      dtype: dtype of the matrix products; None for the dtype of the parameters.
      param_dtype: dtype of the parameters.

    Returns:
      A `Cell` whose parameters are `MinLSTMParams`.

    Raises:
      ValueError: if a size is not a positive integer, `chrono` is not greater than 2, or a dtype is
        not a floating one.

    Examples:
      >>> cell = sm.min_lstm(input_size=3, hidden_size=4)
      >>> params = cell.init(jax.random.key(0))
      >>> params.w_x.shape, params.b.shape
      ((3, 12), (12,))
      >>> state, y_t = cell.step(params, cell.initial_state(params, (2,)), jnp.ones((2, 3)))
      >>> state.h.shape, y_t.shape
      ((2, 4), (2, 4))
    """
    check_size("min_lstm", input_size=input_size, hidden_size=hidden_size)
    check_chrono(chrono)

    def init(key: Array) -> MinLSTMParams:
        key_x, key_b = jax.random.split(key)
        zeros = jnp.zeros(hidden_size, param_dtype)
        b_i, b_f = zeros, jnp.full(hidden_size, forget_bias, param_dtype)
        if chrono is not None:
            b_f = chrono_bias(key_b, (hidden_size,), chrono, param_dtype)
            b_i = -b_f
        return MinLSTMParams(
            w_x=packed(w_x_init, key_x, input_size, hidden_size, blocks=3, dtype=param_dtype),
            b=jnp.concatenate([b_i, b_f, zeros]),
            initial=MinLSTMState(zeros) if learn_initial_state else None,
        )

    return make_linear_cell(
        init,
        functools.partial(min_lstm_initial_state, dtype=dtype),
        functools.partial(min_lstm_elements, positive=positive, dtype=dtype),
        functools.partial(min_lstm_output, dtype=dtype),
        gates=functools.partial(min_lstm_gates, positive=positive, dtype=dtype),
    )


min_lstm_init = init_function(min_lstm, MinLSTMParams)
