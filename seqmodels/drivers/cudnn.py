"""The LSTM as one call of NVIDIA's cuDNN, by way of `jax.experimental.rnn`.

cuDNN's LSTM has the equations of `seqmodels.cells.lstm`, with two bias vectors of which only the
sum counts:

    i, f, g, o = split(W_ih x_t + b_ih + W_hh h_tm1 + b_hh)

It takes its weights as one vector: W_ih (4H, D), W_hh (4H, H), b_ih (4H,), b_hh (4H,), each by rows
and one after the other, gates in the order i, f, g, o.

Chetlur et al. 2014, "cuDNN: Efficient Primitives for Deep Learning" (arXiv 1410.0759).
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from seqmodels.cells.lstm import LSTMParams, LSTMState, lstm_project, lstm_update
from seqmodels.drivers.contract import zero_unless
from seqmodels.drivers.stage_analysis import serving
from seqmodels.types import Array, Cell, Contract, Driver, Info, Params, State, Unrolled

# (x (N, T, D), h (1, N, H), c (1, N, H), weights, lengths (N,)) -> (y (N, T, H), h, c)
Kernel = Callable[[Array, Array, Array, Array, Array], tuple[Array, Array, Array]]

PRECISIONS = {"float32": jax.lax.Precision.HIGHEST, "tf32": jax.lax.Precision.HIGH}


def cudnn(*, precision: str = "float32") -> Driver:
    """Returns the driver that runs `sm.lstm` as one call of cuDNN, on an NVIDIA GPU.

    Everything is float32: parameters, inputs, state. Lengths, `reverse` and any number of batch
    axes are served; resets, and the state after every step (`sm.unroll_full`), are not. A length of
    0, which cuDNN rejects, is run as 1 and its result dropped, so it needs no check and may be
    traced. Reverse mode works once; there is no forward mode, no second derivative, no `jax.vmap`.

    Args:
      precision: "float32" multiplies matrices in full float32. "tf32" lets the tensor cores round
        their factors to 10 bits of mantissa, which is faster and less exact.

    Returns:
      A `Driver`. Running it raises TypeError for another cell than `sm.lstm`, ValueError for what
      it does not serve, and RuntimeError where there is no NVIDIA GPU.

    Raises:
      ValueError: if `precision` is neither of the two.
    """
    if precision not in PRECISIONS:
        wanted = ", ".join(PRECISIONS)
        raise ValueError(f"cudnn: precision: got {precision!r}, expected one of {wanted}")
    return Driver("cudnn", _run, (("precision", precision),))


def pack_lstm(params: LSTMParams) -> Array:
    """Returns the weights as cuDNN takes them, float32 (4H (D + H + 2),); b_hh is zero.

    Args:
      params: `LSTMParams`; `initial` is left out.
    """
    parts = [params.w_x.T, params.w_h.T, params.b, jnp.zeros_like(params.b)]
    return jnp.concatenate([part.reshape(-1) for part in parts]).astype(jnp.float32)


def unpack_lstm(weights: Array, input_size: int, hidden_size: int) -> LSTMParams:
    """Returns the parameters of a vector of cuDNN weights, b as the sum of its two biases.

    Args:
      weights: (4H (D + H + 2),).
      input_size: D.
      hidden_size: H.

    Raises:
      ValueError: if the vector is not of that length.
    """
    D, H = input_size, hidden_size
    shapes = [(4 * H, D), (4 * H, H), (4 * H,), (4 * H,)]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes]).tolist()
    if weights.shape != (ends[-1],):
        raise ValueError(f"cudnn: weights: got shape {weights.shape}, expected ({ends[-1]},)")
    parts = jnp.split(weights, ends[:-1])
    w_ih, w_hh, b_ih, b_hh = (part.reshape(s) for part, s in zip(parts, shapes, strict=True))
    return LSTMParams(w_ih.T, w_hh.T, b_ih + b_hh)


def _run(
    cell: Cell,
    params: Params,
    xs: Array,
    state: State,
    contract: Contract,
    keep_states: bool,
    *,
    precision: str,
) -> Unrolled:
    if not _is_lstm(cell):
        raise TypeError(f"cudnn: got another cell, expected sm.lstm; for this cell {serving(cell)}")
    if contract.resets is not None:
        raise ValueError(f"cudnn: resets: not served; use {serving(cell)}")
    if keep_states:
        raise ValueError(
            "cudnn: states: cuDNN does not return the cell state of every step; use states=False, "
            f"or {serving(cell)}"
        )
    _check_float32(cell, params, xs, state)
    kernel = _kernel(cell, params, precision)
    final_state, ys = through(kernel, params, xs, state, contract)
    return Unrolled(final_state, ys, None, Info("cudnn", plan=precision))


def _is_lstm(cell: Cell) -> bool:
    if len(cell.stages) != 1:
        return False
    project, update = cell.stages[0]
    return update is lstm_update and getattr(project, "func", None) is lstm_project


def _check_float32(cell: Cell, params: Params, xs: Array, state: State) -> None:
    """Raises ValueError if anything is in another dtype."""
    given = {a.dtype for a in jax.tree.leaves((params, xs, state))}
    y_t = jax.eval_shape(cell.step, params, state, jax.ShapeDtypeStruct(xs.shape[1:], xs.dtype))[1]
    wrong = sorted(jnp.dtype(dtype).name for dtype in (given | {y_t.dtype}) - {jnp.dtype("f4")})
    if wrong:
        raise ValueError(f"cudnn: got {', '.join(wrong)}, expected float32; use {serving(cell)}")


def _kernel(cell: Cell, params: LSTMParams, precision: str) -> Kernel:
    """Returns the LSTM of cuDNN; RuntimeError where there is none."""
    device = jax.local_devices()[0]
    version = " ".join(device.client.platform_version.split())
    if device.platform != "gpu" or "cuda" not in version.lower():
        raise RuntimeError(
            f"cudnn: found {device.device_kind} ({version}), expected an NVIDIA GPU; "
            f"use {serving(cell)}"
        )
    from jax.experimental import rnn  # here, because it may lack on other platforms

    input_size, hidden_size = params.w_x.shape[0], params.w_h.shape[0]
    settings = input_size, hidden_size, 1, 0.0, False, PRECISIONS[precision]
    return lambda *arrays: rnn.lstm(*arrays, *settings)


def through(
    kernel: Kernel, params: LSTMParams, xs: Array, state: LSTMState, contract: Contract
) -> tuple[LSTMState, Array]:
    """Returns (final_state, ys): what the contract makes of a kernel that reads forwards.

    Args:
      kernel: `(x, h, c, weights, lengths) -> (y, h, c)` with the batch first, any length >= 1.
      params: `LSTMParams`.
      xs: inputs (T, *batch, D), zero in the padding.
      state: `LSTMState`, leaves (*batch, H).
      contract: the contract of the call, without resets.
    """
    num_steps, *batch_shape, input_size = xs.shape
    hidden_size, rows = state.h.shape[-1], int(np.prod(batch_shape))
    if num_steps == 0 or rows == 0:
        return state, jnp.zeros((*xs.shape[:-1], hidden_size), jnp.float32)
    lengths = jnp.full(rows, num_steps, jnp.int32)
    if contract.valid is not None:
        lengths = jnp.sum(contract.valid, axis=0, dtype=jnp.int32).reshape(rows)
    turn = functools.partial(_reversed, lengths) if contract.reverse else lambda a: a
    x = turn(xs.reshape(num_steps, rows, input_size)).swapaxes(0, 1)
    h, c = (a.reshape(1, rows, hidden_size) for a in state)
    y, *final = kernel(x, h, c, pack_lstm(params), jnp.maximum(lengths, 1))
    ys = turn(y.swapaxes(0, 1)).reshape(*xs.shape[:-1], hidden_size)
    empty = lengths.reshape(*batch_shape, 1) == 0
    new = (jnp.where(empty, a, b.reshape(a.shape)) for a, b in zip(state, final, strict=True))
    return LSTMState(*new), zero_unless(contract.valid, ys)


def _reversed(lengths: Array, a: Array) -> Array:
    """Returns `a` (T, N, ...) with the valid steps of each row in reverse, the padding in place."""
    t = jnp.arange(a.shape[0])[:, None]
    t = jnp.where(t < lengths[None], lengths[None] - 1 - t, t)
    return jnp.take_along_axis(a, t[..., None], axis=0)
