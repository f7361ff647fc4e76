"""A gated recurrent unit whose gates do not read the state, so that it is a linear recurrence.

    z, n = split(x_t W_x + b)
    h_t = (1 - sigmoid(z)) * h_tm1 + sigmoid(z) * n,    y_t = h_t

Feng, Tung, Ahmed, Bengio, Hajimirsadeghi 2024, "Were RNNs All We Needed?" (arXiv 2410.01201). Here,
as in the paper, z is the share of the state that is replaced; in `sm.gru` it is the share kept.

The parallel scan of the paper divides by products of all previous gates, which underflow. Hence it
computes in log-space and needs positive candidates, n -> g(n). An associative scan does not divide.
The gates lie in [0, 1], so their products do not overflow. A product that underflows to zero means
that the cell has forgotten an old state. So these cells do not use log-space, and candidates may
have either sign. `positive=True` gives the candidates of the paper.
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


class MinGRUState(NamedTuple):
    """h: hidden state (*batch, H)."""

    h: Array


class MinGRUParams(NamedTuple):
    """Gates lie along the last axis in the order z, n.

    w_x: (D, 2H). b: (2H,). initial: the learned initial state, leaves (H,), or None.
    """

    w_x: Array
    b: Array
    initial: MinGRUState | None = None


def min_gru_initial_state(
    params: MinGRUParams, batch_shape: Sequence[int] = (), *, dtype: Any = None
) -> MinGRUState:
    """Returns the state before the first step: zeros, or `params.initial`, in at least float32."""
    dtype = dtype or params.w_x.dtype
    return zero_or_learned_state(MinGRUState, params, dtype, batch_shape, params.b.shape[0] // 2)


def min_gru_gates(
    params: MinGRUParams, x_t: Array, *, positive: bool = False, dtype: Any = None
) -> GateValues:
    """Returns the gate z and the candidate n; 1 - z is the share of h that is kept."""
    check_last_axis("min_gru", "x_t", x_t, params.w_x.shape[0])
    z, n = jnp.split(input_gates(params.w_x, params.b, x_t, dtype), 2, axis=-1)
    candidate = positive_candidate(n) if positive else n
    # 1 - sigmoid(z), but exact for large z too, where the difference would round to zero.
    retention = jax.nn.sigmoid(-z)
    return GateValues({"z": jax.nn.sigmoid(z)}, {"n": candidate}, retention, {"z": z, "n": n})


def min_gru_elements(
    params: MinGRUParams, x_t: Array, *, positive: bool = False, dtype: Any = None
) -> tuple[MinGRUState, MinGRUState]:
    """Returns (a_t, b_t) of h_t = a_t * h_tm1 + b_t, each (*batch, H), in at least float32."""
    gates, candidates, kept, _ = min_gru_gates(params, x_t, positive=positive, dtype=dtype)
    assert kept is not None
    return MinGRUState(kept), MinGRUState(gates["z"] * candidates["n"])


def min_gru_output(
    params: MinGRUParams, state: MinGRUState, x_t: Array, *, dtype: Any = None
) -> Array:
    """Returns y_t = h_t (*batch, H), in `dtype`."""
    del x_t
    return state.h.astype(dtype or params.w_x.dtype)


def min_gru_step(
    params: MinGRUParams,
    state: MinGRUState,
    x_t: Array,
    *,
    positive: bool = False,
    dtype: Any = None,
) -> tuple[MinGRUState, Array]:
    """Takes one step of the equations at the top of this module.

    Args:
      params: `MinGRUParams`.
      state: `MinGRUState`, h (*batch, H).
      x_t: input (*batch, D).
      positive: whether the candidate is g(n); see `positive_candidate`.
      dtype: dtype of the matrix products; None for the dtype of the parameters.

    Returns:
      (state, y_t), y_t = h_t (*batch, H) in `dtype`.

    Raises:
      ValueError: if the last axis of `x_t` is not D.
    """
    elements = min_gru_elements(params, x_t, positive=positive, dtype=dtype)
    state = linear_step(*elements, state)
    return state, min_gru_output(params, state, x_t, dtype=dtype)


def min_gru(
    input_size: int,
    hidden_size: int,
    *,
    positive: bool = False,
    w_x_init: Initializer = glorot_uniform,
    update_bias: float = 0.0,
    chrono: float | None = None,
    learn_initial_state: bool = False,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """Returns the minimal GRU as a `Cell`.

    Args:
      input_size: D.
      hidden_size: H.
      positive: whether the candidate is g(n); see `positive_candidate`.
      w_x_init: initializer of every gate's block of w_x.
      update_bias: bias of z, the share of the state that is replaced; that of n is zero.
      chrono: the longest dependency expected, in steps. Then, instead of `update_bias`,
        b_z = -log U[1, chrono - 1] (Tallec, Ollivier 2018, arXiv 1804.11188).
      learn_initial_state: whether the initial state is a parameter (it starts at zero).
      dtype: dtype of the matrix products; None for the dtype of the parameters.
      param_dtype: dtype of the parameters.

    Returns:
      A `Cell` whose parameters are `MinGRUParams`.

    Raises:
      ValueError: if a size is not a positive integer, `chrono` is not greater than 2, or a dtype is
        not a floating one.

    Examples:
      >>> cell = sm.min_gru(input_size=3, hidden_size=4)
      >>> params = cell.init(jax.random.key(0))
      >>> params.w_x.shape, params.b.shape
      ((3, 8), (8,))
      >>> state, y_t = cell.step(params, cell.initial_state(params, (2,)), jnp.ones((2, 3)))
      >>> state.h.shape, y_t.shape
      ((2, 4), (2, 4))
    """
    check_size("min_gru", input_size=input_size, hidden_size=hidden_size)
    check_chrono(chrono)

    def init(key: Array) -> MinGRUParams:
        key_x, key_b = jax.random.split(key)
        zeros = jnp.zeros(hidden_size, param_dtype)
        b_z = jnp.full(hidden_size, update_bias, param_dtype)
        if chrono is not None:
            b_z = -chrono_bias(key_b, (hidden_size,), chrono, param_dtype)
        return MinGRUParams(
            w_x=packed(w_x_init, key_x, input_size, hidden_size, blocks=2, dtype=param_dtype),
            b=jnp.concatenate([b_z, zeros]),
            initial=MinGRUState(zeros) if learn_initial_state else None,
        )

    return make_linear_cell(
        init,
        functools.partial(min_gru_initial_state, dtype=dtype),
        functools.partial(min_gru_elements, positive=positive, dtype=dtype),
        functools.partial(min_gru_output, dtype=dtype),
        gates=functools.partial(min_gru_gates, positive=positive, dtype=dtype),
    )


min_gru_init = init_function(min_gru, MinGRUParams)
