"""The gated recurrent unit, in both of its forms.

Reset before the matrix product (Cho et al. 2014, arXiv 1406.1078), two stages:

    r, z = sigmoid(x_t W_x[r, z] + h_tm1 W_h + b[r, z])
    n = tanh(x_t W_x[n] + (r * h_tm1) W_n + b[n])
    h_t = (1 - z) * n + z * h_tm1,    y_t = h_t

Reset after it (cuDNN and torch), one stage and one more bias:

    n = tanh(x_t W_x[n] + b[n] + r * (h_tm1 W_n + b_n))
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
    fold_stages,
    init_function,
    lift,
    make_cell,
    zero_or_learned_state,
)
from seqmodels.types import Array, Cell, GateValues, Stage


class GRUState(NamedTuple):
    """h: hidden state (*batch, H)."""

    h: Array


class GRUParams(NamedTuple):
    """Gates lie along the last axis in the order r, z, n.

    w_x: (D, 3H). w_h: (H, 2H), of r and z. w_n: (H, H), of the candidate. b: (3H,). b_n: (H,), the
    candidate's recurrent bias in the reset-after form, None in the other. initial: the learned
    initial state, leaves (H,), or None.
    """

    w_x: Array
    w_h: Array
    w_n: Array
    b: Array
    b_n: Array | None = None
    initial: GRUState | None = None


class GRUGated(NamedTuple):
    """The state between the two stages of the reset-before form.

    h: previous state. rh: r * h. z: update gate. n_x: the candidate's pre-activation from the
    input. All (*batch, H).
    """

    h: Array
    rh: Array
    z: Array
    n_x: Array


def gru_initial_state(
    params: GRUParams, batch_shape: Sequence[int] = (), *, dtype: Any = None
) -> GRUState:
    """Returns the state before the first step: zeros, or `params.initial`, in at least float32."""
    dtype = dtype or params.w_h.dtype
    return zero_or_learned_state(GRUState, params, dtype, batch_shape, params.w_h.shape[0])


def gru_project(
    params: GRUParams, state: GRUState, x_t: Array, *, dtype: Any = None
) -> tuple[Array, Array]:
    """Returns pre-activations of r and z (*batch, 2H), and n's from the input (*batch, H).

    The products have operands in `dtype`; their sums and the results are at least float32.
    """
    check_last_axis("gru", "x_t", x_t, params.w_x.shape[0])
    dtype = dtype or params.w_x.dtype
    from_x = matmul(x_t, params.w_x, dtype=dtype)
    from_x = from_x + lift(params.b.astype(from_x.dtype), from_x)
    rz_x, n_x = jnp.split(from_x, [params.w_h.shape[1]], axis=-1)
    return rz_x + matmul(state.h, params.w_h, dtype=dtype), n_x


def gru_gates(params: GRUParams, state: GRUState, gates: tuple[Array, ...]) -> GateValues:
    """Returns the gates r and z, z being the share of h that is kept.

    `gates` begins with their pre-activations (*batch, 2H).
    """
    del params
    rz = gates[0].astype(state.h.dtype)
    r, z = jnp.split(jax.nn.sigmoid(rz), 2, axis=-1)
    inputs = dict(zip("rz", jnp.split(rz, 2, axis=-1), strict=True))
    return GateValues({"r": r, "z": z}, retention=z, pre_activations=inputs)


def gru_gate(params: GRUParams, state: GRUState, gates: tuple[Array, Array]) -> GRUGated:
    """Returns the state after the first stage of the reset-before form: applies r to h."""
    opened = gru_gates(params, state, gates).gates
    r, z, n_x = opened["r"], opened["z"], gates[1]
    return GRUGated(state.h, r * state.h, z, n_x)


def gru_project_candidate(
    params: GRUParams, state: GRUGated, x_t: Array, *, dtype: Any = None
) -> Array:
    """Returns (r * h_tm1) W_n, (*batch, H), as `gru_project` computes products."""
    del x_t
    return matmul(state.rh, params.w_n, dtype=dtype or params.w_n.dtype)


def gru_candidate(params: GRUParams, state: GRUGated, gates: Array) -> GateValues:
    """Returns the candidate n of the reset-before form."""
    del params
    n = (state.n_x + gates).astype(state.h.dtype)
    return GateValues(candidates={"n": jnp.tanh(n)}, pre_activations={"n": n})


def gru_update(
    params: GRUParams, state: GRUGated, gates: Array, *, dtype: Any = None
) -> tuple[GRUState, Array]:
    """Returns (state, y_t) of the reset-before form, y_t in `dtype`."""
    n = gru_candidate(params, state, gates).candidates["n"]
    h = (1 - state.z) * n + state.z * state.h
    return GRUState(h), h.astype(dtype or params.w_x.dtype)


def gru_after_project(
    params: GRUParams, state: GRUState, x_t: Array, *, dtype: Any = None
) -> tuple[Array, Array, Array]:
    """Returns `gru_project(...)` and n's from the state, h_tm1 W_n + b_n, (*batch, H)."""
    dtype = dtype or params.w_x.dtype
    n_h = matmul(state.h, params.w_n, dtype=dtype)
    if params.b_n is not None:
        n_h = n_h + lift(params.b_n.astype(n_h.dtype), n_h)
    return *gru_project(params, state, x_t, dtype=dtype), n_h


def gru_after_gates(
    params: GRUParams, state: GRUState, gates: tuple[Array, Array, Array]
) -> GateValues:
    """Returns the gates r and z, and the candidate n of the reset-after form."""
    values = gru_gates(params, state, gates)
    n_x, n_h = (gate.astype(state.h.dtype) for gate in gates[1:])
    n = n_x + values.gates["r"] * n_h
    return values._replace(
        candidates={"n": jnp.tanh(n)}, pre_activations=values.pre_activations | {"n": n}
    )


def gru_after_update(
    params: GRUParams, state: GRUState, gates: tuple[Array, Array, Array], *, dtype: Any = None
) -> tuple[GRUState, Array]:
    """Returns (state, y_t) of the reset-after form, y_t in `dtype`."""
    opened, candidates, *_ = gru_after_gates(params, state, gates)
    h = (1 - opened["z"]) * candidates["n"] + opened["z"] * state.h
    return GRUState(h), h.astype(dtype or params.w_x.dtype)


def gru_stages(*, reset_after: bool = False, dtype: Any = None) -> tuple[Stage, ...]:
    """Returns the stages: two of the reset-before form, one of the reset-after form."""
    if reset_after:
        project = functools.partial(gru_after_project, dtype=dtype)
        return ((project, functools.partial(gru_after_update, dtype=dtype)),)
    return (
        (functools.partial(gru_project, dtype=dtype), gru_gate),
        (
            functools.partial(gru_project_candidate, dtype=dtype),
            functools.partial(gru_update, dtype=dtype),
        ),
    )


def gru_step(
    params: GRUParams,
    state: GRUState,
    x_t: Array,
    *,
    reset_after: bool = False,
    dtype: Any = None,
) -> tuple[GRUState, Array]:
    """Takes one step of the equations at the top of this module.

    Args:
      params: `GRUParams`.
      state: `GRUState`, h (*batch, H).
      x_t: input (*batch, D).
      reset_after: whether the reset gate is applied after the matrix product.
      dtype: dtype of the matrix products; None for the dtype of the parameters.

    Returns:
      (state, y_t), y_t = h_t (*batch, H) in `dtype`.

    Raises:
      ValueError: if the last axis of `x_t` is not D.
    """
    stages = gru_stages(reset_after=reset_after, dtype=dtype)
    return fold_stages(stages, params, state, x_t)


def gru(
    input_size: int,
    hidden_size: int,
    *,
    reset_after: bool = False,
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
    update_bias: float = 0.0,
    chrono: float | None = None,
    learn_initial_state: bool = False,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """Returns the GRU as a `Cell`.

    Args:
      input_size: D.
      hidden_size: H.
      reset_after: whether the parameters are for the reset-after form, which has b_n.
      w_x_init: initializer of every gate's block of w_x.
      w_h_init: initializer of every gate's recurrent block, w_n included.
      update_bias: bias of z, the share of the state that is kept; the other biases are zero.
      chrono: the longest dependency expected, in steps. Then, instead of `update_bias`,
        b_z = log U[1, chrono - 1] (Tallec, Ollivier 2018, arXiv 1804.11188).
      learn_initial_state: whether the initial state is a parameter (it starts at zero).
      dtype: dtype of the matrix products; None for the dtype of the parameters.
      param_dtype: dtype of the parameters.

    Returns:
      A `Cell` whose parameters are `GRUParams`.

    Raises:
      ValueError: if a size is not a positive integer, `chrono` is not greater than 2, or a dtype is
        not a floating one.

    Examples:
      >>> cell = sm.gru(input_size=3, hidden_size=4)
      >>> params = cell.init(jax.random.key(0))
      >>> params.w_x.shape, params.w_h.shape, params.w_n.shape
      ((3, 12), (4, 8), (4, 4))
      >>> state, y_t = cell.step(params, cell.initial_state(params, (2,)), jnp.ones((2, 3)))
      >>> state.h.shape, y_t.shape
      ((2, 4), (2, 4))
    """
    check_size("gru", input_size=input_size, hidden_size=hidden_size)
    check_chrono(chrono)

    def init(key: Array) -> GRUParams:
        key_x, key_h, key_n, key_b = jax.random.split(key, 4)
        zeros = jnp.zeros(hidden_size, param_dtype)
        b_z = jnp.full(hidden_size, update_bias, param_dtype)
        if chrono is not None:
            b_z = chrono_bias(key_b, (hidden_size,), chrono, param_dtype)
        return GRUParams(
            w_x=packed(w_x_init, key_x, input_size, hidden_size, blocks=3, dtype=param_dtype),
            w_h=packed(w_h_init, key_h, hidden_size, hidden_size, blocks=2, dtype=param_dtype),
            w_n=packed(w_h_init, key_n, hidden_size, hidden_size, blocks=1, dtype=param_dtype),
            b=jnp.concatenate([zeros, b_z, zeros]),
            b_n=zeros if reset_after else None,
            initial=GRUState(zeros) if learn_initial_state else None,
        )

    return make_cell(
        init,
        functools.partial(gru_initial_state, dtype=dtype),
        *gru_stages(reset_after=reset_after, dtype=dtype),
        gates=(gru_after_gates,) if reset_after else (gru_gates, gru_candidate),
    )


gru_init = init_function(gru, GRUParams)
