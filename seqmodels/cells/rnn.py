"""The simple recurrent network of Elman: one matrix product and one tanh a step.

    h_t = tanh(x_t W_x + h_tm1 W_h + b),    y_t = h_t

Elman 1990, "Finding Structure in Time", Cognitive Science 14(2).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.cells.initializers import Initializer, glorot_uniform, orthogonal, packed
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

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"tanh": jnp.tanh, "relu": jax.nn.relu}


class RNNState(NamedTuple):
    """h: hidden state (*batch, H)."""

    h: Array


class RNNParams(NamedTuple):
    """w_x: (D, H). w_h: (H, H). b: (H,). initial: learned initial state, leaves (H,), or None."""

    w_x: Array
    w_h: Array
    b: Array
    initial: RNNState | None = None


def rnn_initial_state(
    params: RNNParams, batch_shape: Sequence[int] = (), *, dtype: Any = None
) -> RNNState:
    """Returns the state before the first step: zeros, or `params.initial`, in at least float32."""
    dtype = dtype or params.w_h.dtype
    return zero_or_learned_state(RNNState, params, dtype, batch_shape, params.w_h.shape[0])


def rnn_project(params: RNNParams, state: RNNState, x_t: Array, *, dtype: Any = None) -> Array:
    """Returns the pre-activation x_t W_x + h_tm1 W_h + b, (*batch, H).

    The products have operands in `dtype`; their sums and the result are at least float32.
    """
    check_last_axis("rnn", "x_t", x_t, params.w_x.shape[0])
    dtype = dtype or params.w_x.dtype
    gates = matmul(x_t, params.w_x, dtype=dtype) + matmul(state.h, params.w_h, dtype=dtype)
    return gates + lift(params.b.astype(gates.dtype), gates)


def rnn_gates(
    params: RNNParams,
    state: RNNState,
    gates: Array,
    *,
    activation: str | Callable[[Array], Array] = "tanh",
) -> GateValues:
    """Returns the candidate h, which becomes the state; this cell has no gates."""
    del params
    function = ACTIVATIONS[activation] if isinstance(activation, str) else activation
    gates = gates.astype(state.h.dtype)
    return GateValues(candidates={"h": function(gates)}, pre_activations={"h": gates})


def rnn_update(
    params: RNNParams,
    state: RNNState,
    gates: Array,
    *,
    activation: str | Callable[[Array], Array] = "tanh",
    dtype: Any = None,
) -> tuple[RNNState, Array]:
    """Returns (state, y_t) from the pre-activation, y_t in `dtype`."""
    h = rnn_gates(params, state, gates, activation=activation).candidates["h"]
    return RNNState(h), h.astype(dtype or params.w_x.dtype)


def rnn_step(
    params: RNNParams,
    state: RNNState,
    x_t: Array,
    *,
    activation: str | Callable[[Array], Array] = "tanh",
    dtype: Any = None,
) -> tuple[RNNState, Array]:
    """Takes one step: h_t = tanh(x_t W_x + h_tm1 W_h + b).

    Args:
      params: `RNNParams`.
      state: `RNNState`, h (*batch, H).
      x_t: input (*batch, D).
      activation: "tanh", "relu" or a function.
      dtype: dtype of the matrix products; None for the dtype of the parameters.

    Returns:
      (state, y_t), y_t = h_t (*batch, H) in `dtype`.

    Raises:
      ValueError: if the last axis of `x_t` is not D.
    """
    gates = rnn_project(params, state, x_t, dtype=dtype)
    return rnn_update(params, state, gates, activation=activation, dtype=dtype)


def rnn(
    input_size: int,
    hidden_size: int,
    *,
    activation: str | Callable[[Array], Array] = "tanh",
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
    learn_initial_state: bool = False,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """Returns the simple RNN as a `Cell`.

    The bias starts at zero.

    Args:
      input_size: D.
      hidden_size: H.
      activation: "tanh", "relu" or a function.
      w_x_init: initializer of w_x.
      w_h_init: initializer of w_h; for ReLU see `initializers.identity`.
      learn_initial_state: whether the initial state is a parameter (it starts at zero).
      dtype: dtype of the matrix products; None for the dtype of the parameters.
      param_dtype: dtype of the parameters.

    Returns:
      A `Cell` whose parameters are `RNNParams`.

    Raises:
      ValueError: if a size is not a positive integer, the activation is not known, or a dtype is
        not a floating one.

    Examples:
      >>> cell = sm.rnn(input_size=3, hidden_size=4)
      >>> params = cell.init(jax.random.key(0))
      >>> params.w_x.shape, params.w_h.shape, params.b.shape
      ((3, 4), (4, 4), (4,))
      >>> state, y_t = cell.step(params, cell.initial_state(params, (2,)), jnp.ones((2, 3)))
      >>> state.h.shape, y_t.shape
      ((2, 4), (2, 4))
    """
    check_size("rnn", input_size=input_size, hidden_size=hidden_size)
    if not callable(activation) and activation not in ACTIVATIONS:
        raise ValueError(
            f"rnn: activation: got {activation!r}, expected one of {', '.join(ACTIVATIONS)} "
            "or a function"
        )

    def init(key: Array) -> RNNParams:
        key_x, key_h = jax.random.split(key)
        zeros = jnp.zeros(hidden_size, param_dtype)
        return RNNParams(
            w_x=packed(w_x_init, key_x, input_size, hidden_size, blocks=1, dtype=param_dtype),
            w_h=packed(w_h_init, key_h, hidden_size, hidden_size, blocks=1, dtype=param_dtype),
            b=zeros,
            initial=RNNState(zeros) if learn_initial_state else None,
        )

    return make_cell(
        init,
        functools.partial(rnn_initial_state, dtype=dtype),
        (
            functools.partial(rnn_project, dtype=dtype),
            functools.partial(rnn_update, activation=activation, dtype=dtype),
        ),
        gates=(functools.partial(rnn_gates, activation=activation),),
    )


rnn_init = init_function(rnn, RNNParams)
