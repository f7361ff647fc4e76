"""The minimal gated unit: a GRU whose one gate both forgets and resets.

    f = sigmoid(x_t W_x[f] + h_tm1 W_h + b[f])
    n = tanh(x_t W_x[n] + (f * h_tm1) W_n + b[n])
    h_t = (1 - f) * h_tm1 + f * n,    y_t = h_t

Zhou, Wu, Zhang, Zhou 2016, "Minimal Gated Unit for Recurrent Neural Networks" (arXiv 1603.09420).
f is the share of the state that is replaced; in `sm.gru` the update gate is the share that is kept.
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


class MGUState(NamedTuple):
    """h: hidden state (*batch, H)."""

    h: Array


class MGUParams(NamedTuple):
    """Gates lie along the last axis in the order f, n.

    w_x: (D, 2H). w_h: (H, H), of f. w_n: (H, H), of the candidate. b: (2H,). initial: the learned
    initial state, leaves (H,), or None.
    """

    w_x: Array
    w_h: Array
    w_n: Array
    b: Array
    initial: MGUState | None = None


class MGUGated(NamedTuple):
    """The state between the two stages.

    h: previous state. fh: f * h. f: forget gate. n_x: the candidate's pre-activation from the
    input. All (*batch, H).
    """

    h: Array
    fh: Array
    f: Array
    n_x: Array


def mgu_initial_state(
    params: MGUParams, batch_shape: Sequence[int] = (), *, dtype: Any = None
) -> MGUState:
    """Returns the state before the first step: zeros, or `params.initial`, in at least float32."""
    dtype = dtype or params.w_h.dtype
    return zero_or_learned_state(MGUState, params, dtype, batch_shape, params.w_h.shape[0])


def mgu_project(
    params: MGUParams, state: MGUState, x_t: Array, *, dtype: Any = None
) -> tuple[Array, Array]:
    """Returns the pre-activation of f, and n's from the input, each (*batch, H).

    The products have operands in `dtype`; their sums and the results are at least float32.
    """
    check_last_axis("mgu", "x_t", x_t, params.w_x.shape[0])
    dtype = dtype or params.w_x.dtype
    from_x = matmul(x_t, params.w_x, dtype=dtype)
    from_x = from_x + lift(params.b.astype(from_x.dtype), from_x)
    f_x, n_x = jnp.split(from_x, 2, axis=-1)
    return f_x + matmul(state.h, params.w_h, dtype=dtype), n_x


def mgu_gates(params: MGUParams, state: MGUState, gates: tuple[Array, Array]) -> GateValues:
    """Returns the gate f; 1 - f is the share of h that is kept."""
    del params
    f_gates = gates[0].astype(state.h.dtype)
    f = jax.nn.sigmoid(f_gates)
    return GateValues({"f": f}, retention=1 - f, pre_activations={"f": f_gates})


def mgu_gate(params: MGUParams, state: MGUState, gates: tuple[Array, Array]) -> MGUGated:
    """Returns the state after the first stage: applies f to h."""
    f = mgu_gates(params, state, gates).gates["f"]
    return MGUGated(state.h, f * state.h, f, gates[1])


def mgu_project_candidate(
    params: MGUParams, state: MGUGated, x_t: Array, *, dtype: Any = None
) -> Array:
    """Returns (f * h_tm1) W_n, (*batch, H), as `mgu_project` computes products."""
    del x_t
    return matmul(state.fh, params.w_n, dtype=dtype or params.w_n.dtype)


def mgu_candidate(params: MGUParams, state: MGUGated, gates: Array) -> GateValues:
    """Returns the candidate n."""
    del params
    n = (state.n_x + gates).astype(state.h.dtype)
    return GateValues(candidates={"n": jnp.tanh(n)}, pre_activations={"n": n})


def mgu_update(
    params: MGUParams, state: MGUGated, gates: Array, *, dtype: Any = None
) -> tuple[MGUState, Array]:
    """Returns (state, y_t) from the candidate's pre-activations, y_t in `dtype`."""
    n = mgu_candidate(params, state, gates).candidates["n"]
    h = (1 - state.f) * state.h + state.f * n
    return MGUState(h), h.astype(dtype or params.w_x.dtype)


def mgu_stages(*, dtype: Any = None) -> tuple[Stage, ...]:
    """Returns the two stages: the gate, then the candidate."""
    return (
        (functools.partial(mgu_project, dtype=dtype), mgu_gate),
        (
            functools.partial(mgu_project_candidate, dtype=dtype),
            functools.partial(mgu_update, dtype=dtype),
        ),
    )


def mgu_step(
    params: MGUParams, state: MGUState, x_t: Array, *, dtype: Any = None
) -> tuple[MGUState, Array]:
    """Takes one step of the equations at the top of this module.

    Args:
      params: `MGUParams`.
      state: `MGUState`, h (*batch, H).
      x_t: input (*batch, D).
      dtype: dtype of the matrix products; None for the dtype of the parameters.

    Returns:
      (state, y_t), y_t = h_t (*batch, H) in `dtype`.

    Raises:
      ValueError: if the last axis of `x_t` is not D.
    """
    return fold_stages(mgu_stages(dtype=dtype), params, state, x_t)


def mgu(
    input_size: int,
    hidden_size: int,
    *,
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
    forget_bias: float = 0.0,
    chrono: float | None = None,
    learn_initial_state: bool = False,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """Returns the minimal gated unit as a `Cell`.

    Args:
      input_size: D.
      hidden_size: H.
      w_x_init: initializer of both gates' blocks of w_x.
      w_h_init: initializer of w_h and of w_n.
      forget_bias: bias of f, the share of the state that is replaced; the bias of n is zero.
      chrono: the longest dependency expected, in steps. Then, instead of `forget_bias`,
        b_f = -log U[1, chrono - 1] (Tallec, Ollivier 2018, arXiv 1804.11188).
      learn_initial_state: whether the initial state is a parameter (it starts at zero).
      dtype: dtype of the matrix products; None for the dtype of the parameters.
      param_dtype: dtype of the parameters.

    Returns:
      A `Cell` whose parameters are `MGUParams`.

    Raises:
      ValueError: if a size is not a positive integer, `chrono` is not greater than 2, or a dtype is
        not a floating one.

    Examples:
      >>> cell = sm.mgu(input_size=3, hidden_size=4)
      >>> params = cell.init(jax.random.key(0))
      >>> params.w_x.shape, params.w_h.shape, params.w_n.shape
      ((3, 8), (4, 4), (4, 4))
      >>> state, y_t = cell.step(params, cell.initial_state(params, (2,)), jnp.ones((2, 3)))
      >>> state.h.shape, y_t.shape
      ((2, 4), (2, 4))
    """
    check_size("mgu", input_size=input_size, hidden_size=hidden_size)
    check_chrono(chrono)

    def init(key: Array) -> MGUParams:
        key_x, key_h, key_n, key_b = jax.random.split(key, 4)
        zeros = jnp.zeros(hidden_size, param_dtype)
        b_f = jnp.full(hidden_size, forget_bias, param_dtype)
        if chrono is not None:
            b_f = -chrono_bias(key_b, (hidden_size,), chrono, param_dtype)
        return MGUParams(
            w_x=packed(w_x_init, key_x, input_size, hidden_size, blocks=2, dtype=param_dtype),
            w_h=packed(w_h_init, key_h, hidden_size, hidden_size, blocks=1, dtype=param_dtype),
            w_n=packed(w_h_init, key_n, hidden_size, hidden_size, blocks=1, dtype=param_dtype),
            b=jnp.concatenate([b_f, zeros]),
            initial=MGUState(zeros) if learn_initial_state else None,
        )

    initial_state = functools.partial(mgu_initial_state, dtype=dtype)
    gates = (mgu_gates, mgu_candidate)
    return make_cell(init, initial_state, *mgu_stages(dtype=dtype), gates=gates)


mgu_init = init_function(mgu, MGUParams)
