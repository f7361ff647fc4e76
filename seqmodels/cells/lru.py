"""The linear recurrent unit: a complex diagonal recurrence between two matrices.

    lambda = exp(-exp(nu_log) + i exp(theta_log))
    h_t = lambda * h_tm1 + exp(gamma_log) * (x_t B)
    y_t = Re(h_t C) + x_t W_y

Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu, De 2023, "Resurrecting Recurrent Neural Networks
for Long Sequences" (arXiv 2303.06349), section 3. |lambda| = exp(-exp(nu_log)) is less than one for
any nu_log, so the recurrence stays stable in training. The second exponential scales the steps of
training with the distance to the unit circle. gamma starts at sqrt(1 - |lambda|^2), which gives h_t
the variance of x_t B for any memory length, and is learned, as in the paper. All parameters are
real: complex ones are stored as a real and an imaginary part.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.cells.initializers import Initializer, lecun_normal, packed
from seqmodels.cells.linear import linear_step, make_linear_cell
from seqmodels.cells.products import matmul
from seqmodels.cells.stages import check_last_axis, check_size, init_function, lift, state_dtype
from seqmodels.types import Array, Cell


class LRUState(NamedTuple):
    """h: hidden state (*batch, H), complex."""

    h: Array


class LRUParams(NamedTuple):
    """O is the size of the output; all are real.

    nu_log, theta_log, gamma_log: (H,). b_re, b_im: (D, H), the parts of B. c_re, c_im: (H, O), the
    parts of C. w_y: (D, O), the matrix from the input to the output.
    """

    nu_log: Array
    theta_log: Array
    gamma_log: Array
    b_re: Array
    b_im: Array
    c_re: Array
    c_im: Array
    w_y: Array


def _check_ring(r_min: float, r_max: float, max_phase: float) -> None:
    if not 0 <= r_min < r_max <= 1:
        raise ValueError(f"lru: r_min, r_max: got {r_min!r}, {r_max!r}, expected 0 <= < <= 1")
    if not max_phase > 0:
        raise ValueError(f"lru: max_phase: got {max_phase!r}, expected a positive number")


def lru_initial_state(
    params: LRUParams, batch_shape: Sequence[int] = (), *, dtype: Any = None
) -> LRUState:
    """Returns the state before the first step: zeros, in at least complex64."""
    real = state_dtype(dtype or params.b_re.dtype)
    return LRUState(
        jnp.zeros((*batch_shape, params.nu_log.shape[0]), jnp.promote_types(real, jnp.complex64))
    )


def lru_elements(params: LRUParams, x_t: Array, *, dtype: Any = None) -> tuple[LRUState, LRUState]:
    """Returns (a_t, b_t) of h_t = a_t * h_tm1 + b_t, complex: lambda, (1, ..., H), (*batch, H)."""
    check_last_axis("lru", "x_t", x_t, params.b_re.shape[0])
    dtype = dtype or params.b_re.dtype
    real = state_dtype(dtype)
    parts = [matmul(x_t, b, dtype=dtype) for b in (params.b_re, params.b_im)]
    log_radius = -jnp.exp(params.nu_log.astype(real))
    theta = jnp.exp(params.theta_log.astype(real))
    decay = jnp.exp(jax.lax.complex(log_radius, theta))
    gamma = jnp.exp(params.gamma_log.astype(real))
    like = parts[0]
    b_t = jax.lax.complex(*(part * lift(gamma, like) for part in parts))
    return LRUState(lift(decay, like)), LRUState(b_t)


def lru_output(params: LRUParams, state: LRUState, x_t: Array, *, dtype: Any = None) -> Array:
    """Returns y_t = Re(h_t C) + x_t W_y, (*batch, O), in `dtype`."""
    dtype = dtype or params.b_re.dtype
    y_t = matmul(state.h.real, params.c_re, dtype=dtype)
    y_t = y_t - matmul(state.h.imag, params.c_im, dtype=dtype)
    return (y_t + matmul(x_t, params.w_y, dtype=dtype)).astype(dtype)


def lru_step(
    params: LRUParams, state: LRUState, x_t: Array, *, dtype: Any = None
) -> tuple[LRUState, Array]:
    """Takes one step of the equations at the top of this module.

    Args:
      params: `LRUParams`.
      state: `LRUState`, h (*batch, H), complex.
      x_t: input (*batch, D).
      dtype: dtype of the matrix products; None for the dtype of the parameters.

    Returns:
      (state, y_t), y_t (*batch, O) in `dtype`.

    Raises:
      ValueError: if the last axis of `x_t` is not D.
    """
    state = linear_step(*lru_elements(params, x_t, dtype=dtype), state)
    return state, lru_output(params, state, x_t, dtype=dtype)


def lru(
    input_size: int,
    hidden_size: int,
    *,
    output_size: int | None = None,
    r_min: float = 0.0,
    r_max: float = 1.0,
    max_phase: float = 2 * jnp.pi,
    b_init: Initializer = lecun_normal,
    c_init: Initializer = lecun_normal,
    w_y_init: Initializer = lecun_normal,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """Returns the linear recurrent unit as a `Cell`.

    lambda starts uniform over the ring r_min <= |lambda| <= r_max.

    Args:
      input_size: D.
      hidden_size: H, the number of complex units.
      output_size: O; None: H.
      r_min: least |lambda|.
      r_max: greatest |lambda|; a unit remembers for about 1 / (1 - |lambda|) steps.
      max_phase: greatest angle of lambda; less than 2 pi for long sequences, so that a unit does
        not rotate many times within its memory.
      b_init: initializer of b_re and of b_im, each divided by sqrt(2), so that B has its variance.
      c_init: initializer of c_re and of c_im.
      w_y_init: initializer of w_y.
      dtype: dtype of the matrix products; None for the dtype of the parameters.
      param_dtype: dtype of the parameters.

    Returns:
      A `Cell` whose parameters are `LRUParams`.

    Raises:
      ValueError: if a size is not a positive integer, or r_min, r_max or max_phase is out of range.

    Examples:
      >>> cell = sm.lru(input_size=3, hidden_size=4)
      >>> params = cell.init(jax.random.key(0))
      >>> state, ys = sm.unroll(cell, params, jnp.ones((5, 2, 3)), method="associative")
      >>> ys.shape
      (5, 2, 4)
    """
    output_size = hidden_size if output_size is None else output_size
    check_size("lru", input_size=input_size, hidden_size=hidden_size, output_size=output_size)
    _check_ring(r_min, r_max, max_phase)

    def init(key: Array) -> LRUParams:
        key_r, key_theta, key_b, key_c, key_y = jax.random.split(key, 5)
        b = packed(b_init, key_b, input_size, hidden_size, blocks=2, dtype=param_dtype)
        b = b / jnp.sqrt(2.0)
        c = packed(c_init, key_c, hidden_size, output_size, blocks=2, dtype=param_dtype)
        draw_dtype = state_dtype(param_dtype)
        limits = jnp.finfo(draw_dtype)
        uniform = functools.partial(jax.random.uniform, shape=(hidden_size,), dtype=draw_dtype)
        # The area of a ring grows with the square of its radius. nu_log is infinite at 0 and 1.
        squared = uniform(key_r, minval=r_min**2, maxval=r_max**2)
        nu = -jnp.log(jnp.clip(squared, limits.tiny, 1 - limits.eps)) / 2
        theta = jnp.maximum(uniform(key_theta, maxval=max_phase), limits.tiny)
        gamma_log = jnp.log(-jnp.expm1(-2 * nu)) / 2
        b_re, b_im = jnp.split(b.astype(param_dtype), 2, axis=-1)
        c_re, c_im = jnp.split(c, 2, axis=-1)
        return LRUParams(
            nu_log=jnp.log(nu).astype(param_dtype),
            theta_log=jnp.log(theta).astype(param_dtype),
            gamma_log=gamma_log.astype(param_dtype),
            b_re=b_re,
            b_im=b_im,
            c_re=c_re,
            c_im=c_im,
            w_y=packed(w_y_init, key_y, input_size, output_size, blocks=1, dtype=param_dtype),
        )

    return make_linear_cell(
        init,
        functools.partial(lru_initial_state, dtype=dtype),
        functools.partial(lru_elements, dtype=dtype),
        functools.partial(lru_output, dtype=dtype),
    )


lru_init = init_function(lru, LRUParams)
