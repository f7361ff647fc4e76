"""The driver that runs the LSTM as one call of NVIDIA's cuDNN, through `jax.experimental.rnn`.

cuDNN's LSTM has the equations of `seqmodels.cells.lstm`, with two bias vectors of which only the
sum matters:

    i, f, g, o = split(W_ih x_t + b_ih + W_hh h_tm1 + b_hh)

Its weights are one vector: W_ih (4H, D), W_hh (4H, H), b_ih (4H,), b_hh (4H,), flattened row by row
and concatenated, gates in the order i, f, g, o.

Chetlur et al. 2014, "cuDNN: Efficient Primitives for Deep Learning" (arXiv 1410.0759).
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from seqmodels.cells.lstm import LSTMParams, LSTMState, lstm_project, lstm_update
from seqmodels.drivers.contract import zero_unless
from seqmodels.drivers.stage_analysis import supported_methods
from seqmodels.types import Array, Cell, Contract, Driver, DriverCall, Info, Unrolled
from seqmodels.weights.layouts import LAYOUTS, convert, shape_of

# (x (N, T, D), h (1, N, H), c (1, N, H), weights, lengths (N,)) -> (y (N, T, H), h, c)
Kernel = Callable[[Array, Array, Array, Array, Array], tuple[Array, Array, Array]]

# The layouts of this library and of torch, whose tensors cuDNN concatenates.
_LAYOUTS = LAYOUTS["seqmodels", "lstm"], LAYOUTS["torch", "lstm"]
PRECISIONS = {"float32": jax.lax.Precision.HIGHEST, "tf32": jax.lax.Precision.HIGH}


def cudnn(*, precision: str = "float32") -> Driver:
    """Returns the driver that runs `sm.lstm` as one call of cuDNN, on an NVIDIA GPU.

    Parameters, inputs and state are float32. Lengths, `reverse` and any number of batch axes are
    supported. A mask, resets and the state after every step (`sm.unroll_full`) are not. cuDNN
    rejects a length of 0, so such a row is run with length 1 and its result is dropped; lengths may
    be traced. First derivatives in reverse mode work. Forward mode, second derivatives and
    `jax.vmap` do not.

    Args:
      precision: "float32" multiplies matrices in full float32. "tf32" lets the tensor cores round
        their factors to 10 bits of mantissa, which is faster and less exact.

    Returns:
      A `Driver`. Running it raises TypeError for a cell other than `sm.lstm`, ValueError for an
      unsupported argument, and RuntimeError without an NVIDIA GPU.

    Raises:
      ValueError: if `precision` is not one of the two.

    Examples:
      >>> sm.cudnn(precision="tf32").settings  # as in sm.unroll(..., method=sm.cudnn())
      (('precision', 'tf32'),)
    """
    if precision not in PRECISIONS:
        names = ", ".join(PRECISIONS)
        raise ValueError(f"cudnn: precision: got {precision!r}, expected one of {names}")
    return Driver("cudnn", _run, (("precision", precision),))


def pack_lstm(params: LSTMParams) -> Array:
    """Returns the weights in the layout of cuDNN, float32 (4H (D + H + 2),); b_hh is zero.

    Args:
      params: `LSTMParams`; `initial` is not part of the vector.
    """
    tensors = convert(params._asdict(), *_LAYOUTS, jnp)
    return jnp.concatenate([a.reshape(-1) for a in tensors.values()]).astype(jnp.float32)


def unpack_lstm(weights: Array, input_size: int, hidden_size: int) -> LSTMParams:
    """Returns the parameters from a vector of cuDNN weights; b is the sum of its two biases.

    Args:
      weights: (4H (D + H + 2),).
      input_size: D.
      hidden_size: H.

    Raises:
      ValueError: if the vector is not of that length.
    """
    ours, theirs = _LAYOUTS
    shapes = [shape_of(tensor, input_size, hidden_size) for tensor in theirs]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes]).tolist()
    if weights.shape != (ends[-1],):
        raise ValueError(f"cudnn: weights: got shape {weights.shape}, expected ({ends[-1]},)")
    parts = jnp.split(weights, ends[:-1])
    arrays = {t.name: a.reshape(s) for t, a, s in zip(theirs, parts, shapes, strict=True)}
    return LSTMParams(**convert(arrays, theirs, ours, jnp))


def _run(call: DriverCall, *, precision: str) -> Unrolled:
    cell, params, xs, state, contract, keep_states = call
    if not _is_lstm(cell):
        raise TypeError(
            f"cudnn: got another cell, expected sm.lstm; for this cell {supported_methods(cell)}"
        )
    if contract.resets is not None:
        raise ValueError(f"cudnn: resets: not served; use {supported_methods(cell)}")
    if contract.masked:
        raise ValueError(f"cudnn: mask: not served; use lengths, or {supported_methods(cell)}")
    if keep_states:
        raise ValueError(
            "cudnn: states: cuDNN does not return the cell state of every step; use states=False, "
            f"or {supported_methods(cell)}"
        )
    _check_float32(call)
    kernel = _kernel(cell, params, precision)
    final_state, ys = apply_contract(kernel, params, xs, state, contract)
    return Unrolled(final_state, ys, None, Info("cudnn", plan=precision))


def _is_lstm(cell: Cell) -> bool:
    if len(cell.stages) != 1:
        return False
    functions = tuple(getattr(function, "func", None) for function in cell.stages[0])
    return functions == (lstm_project, lstm_update)


def _check_float32(call: DriverCall) -> None:
    """Raises ValueError if an array of the call or the output is not float32."""
    given = {a.dtype for a in jax.tree.leaves((call.params, call.xs, call.state))}
    y_t = jax.eval_shape(call.cell.step, call.params, call.state, call.x_t)[1]
    wrong = sorted(jnp.dtype(dtype).name for dtype in (given | {y_t.dtype}) - {jnp.dtype("f4")})
    if wrong:
        raise ValueError(
            f"cudnn: got {', '.join(wrong)}, expected float32; use {supported_methods(call.cell)}"
        )


def _kernel(cell: Cell, params: LSTMParams, precision: str) -> Kernel:
    """Returns the LSTM of cuDNN; raises RuntimeError without an NVIDIA GPU."""
    device = jax.local_devices()[0]
    version = " ".join(device.client.platform_version.split())
    if device.platform != "gpu" or "cuda" not in version.lower():
        raise RuntimeError(
            f"cudnn: found {device.device_kind} ({version}), expected an NVIDIA GPU; "
            f"use {supported_methods(cell)}"
        )
    from jax.experimental import rnn  # here, because other platforms may lack it

    input_size, hidden_size = params.w_x.shape[0], params.w_h.shape[0]
    settings = input_size, hidden_size, 1, 0.0, False, PRECISIONS[precision]
    return lambda *arrays: rnn.lstm(*arrays, *settings)


def apply_contract(
    kernel: Kernel, params: LSTMParams, xs: Array, state: LSTMState, contract: Contract
) -> tuple[LSTMState, Array]:
    """Returns (final_state, ys): runs a kernel that reads forwards under a contract.

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
    order = functools.partial(_reverse_valid_steps, lengths) if contract.reverse else lambda a: a
    x = order(xs.reshape(num_steps, rows, input_size)).swapaxes(0, 1)
    h, c = (a.reshape(1, rows, hidden_size) for a in state)
    y, *final = kernel(x, h, c, pack_lstm(params), jnp.maximum(lengths, 1))
    ys = order(y.swapaxes(0, 1)).reshape(*xs.shape[:-1], hidden_size)
    empty = lengths.reshape(*batch_shape, 1) == 0
    new = (jnp.where(empty, a, b.reshape(a.shape)) for a, b in zip(state, final, strict=True))
    return LSTMState(*new), zero_unless(contract.valid, ys)


def _reverse_valid_steps(lengths: Array, a: Array) -> Array:
    """Returns `a` (T, N, ...) with the valid steps of each row reversed, padding in place."""
    t = jnp.arange(a.shape[0])[:, None]
    t = jnp.where(t < lengths[None], lengths[None] - 1 - t, t)
    return jnp.take_along_axis(a, t[..., None], axis=0)
