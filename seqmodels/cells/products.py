"""Matrix products in low precision: rounded operands, sums and results in float32.

A product of bfloat16 matrices with a float32 result is the one kind for which XLA has fast kernels
on all backends: AMX on CPUs, tensor cores on GPUs, matrix units on TPUs. JAX differentiates it into
products of a float32 cotangent and a bfloat16 matrix, which run as float32 products. Here the
product is a separate bilinear primitive. Its transposes are the same primitive, so each product of
the backward pass, of any order, has rounded operands and a float32 sum too.

The primitive lowers to one `dot_general` with `preferred_element_type=float32` on every backend; on
a CPU its operands are brought into forms that XLA can run. Operands are rounded inside of it, so
their gradients are float32 and are not rounded again.
"""

import functools
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from seqmodels.pytrees import match_varying_axes
from seqmodels.types import Array

# ((contracted axes of x, of w), (batch axes of x, of w)), as in `lax.dot_general`.
DimensionNumbers = tuple[
    tuple[tuple[int, ...], tuple[int, ...]], tuple[tuple[int, ...], tuple[int, ...]]
]


def matmul(x: Any, w: Any, *, dtype: Any = None) -> Array:
    """Returns x @ w, in low precision with sums in float32 if `dtype` asks for it.

    In float32 and float64 it is `x @ w`. In bfloat16 and float16 both operands are rounded to
    `dtype`, and the sums and the result are float32. Derivatives round the cotangents or tangents
    to `dtype` in the same way, and their sums and results have the dtype of the operand.

    bfloat16 is faster than float32 where the hardware multiplies it: CPUs with AMX, GPUs, TPUs.
    Other low products on a CPU run in float32, and their operands are not rounded. These are small
    products, products of one row, float16, and all of them on a CPU without AMX. float16 has 5 bits
    of exponent, so small cotangents become zero elsewhere: scale the loss.

    Args:
      x: (..., K), real.
      w: (K, N), real.
      dtype: dtype to which the operands are cast; None for their common dtype.

    Returns:
      Array (..., N), in `dtype` but at least float32.

    Raises:
      ValueError: if `dtype` is not a floating dtype, if an operand is complex, or if the shapes do
        not fit.

    Examples:
      >>> x, w = jnp.full((5, 3), 1.001, jnp.bfloat16), jnp.ones((3, 2))
      >>> matmul(x, w, dtype=jnp.bfloat16).dtype, matmul(x, w).shape
      (dtype('float32'), (5, 2))
    """
    x, w = jnp.asarray(x), jnp.asarray(w)
    dtype = jnp.dtype(dtype or jnp.result_type(x, w))
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"matmul: dtype: got {dtype.name}, expected a floating dtype")
    for name, operand in (("x", x), ("w", w)):
        if jnp.iscomplexobj(operand):
            raise ValueError(f"matmul: {name}: got {operand.dtype}, expected real numbers")
    if w.ndim != 2 or x.shape[-1:] != w.shape[:1]:
        raise ValueError(f"matmul: got shapes {x.shape}, {w.shape}, expected (..., K), (K, N)")
    if not is_low(dtype):
        return x.astype(dtype) @ w.astype(dtype)
    x, w = (a if jnp.issubdtype(a.dtype, jnp.floating) else a.astype(dtype) for a in (x, w))
    # Both vary over the same axes of a mesh, so that the transpose of the cast sums over them.
    x, w = match_varying_axes((x, w), x, w)
    return _low_dot.bind(x, w, numbers=(((x.ndim - 1,), (0,)), ((), ())), dtype=dtype)


def is_low(dtype: Any) -> bool:
    """Returns whether products in a floating dtype are summed in float32 instead."""
    return jnp.finfo(dtype).bits < 32


# The number of multiplications from which a CPU product runs in low precision.
MIN_PRODUCTS = 2**18

_low_dot = Primitive("seqmodels_low_dot")


@functools.partial(jax.jit, static_argnames=("numbers", "dtype"))
def _jitted(x: Array, w: Array, *, numbers: DimensionNumbers, dtype: Any) -> Array:
    """Returns the product outside of jit; it is compiled as inside, by the backend's rule."""
    return _low_dot.bind(x, w, numbers=numbers, dtype=dtype)


def _evaluate(x: Array, w: Array, *, numbers: DimensionNumbers, dtype: Any) -> Array:
    x, w = x.astype(dtype), w.astype(dtype)
    return lax.dot_general(x, w, numbers, preferred_element_type=jnp.float32)


def _evaluate_on_cpu(x: Array, w: Array, *, numbers: DimensionNumbers, dtype: Any) -> Array:
    """Returns the product in the form for which XLA's CPU compiler has fast kernels.

    The form is rows of contiguous numbers times a matrix, or a stack of such products. A weight
    gradient contracts the first axis of x. For that XLA (JAX 0.10 and 0.12) converts both operands
    to float32, or compiles a call that its runtime refuses. A barrier on the transpose of x as one
    row of numbers, which has only one layout, makes XLA transpose x first. That takes a fraction of
    the product's time. (A layout constraint would too, but `jax.export` refuses it.)

    A product of one row reads each number of w once, which is fastest in float32. The same holds
    for few multiplications, where rounding takes longer than it saves. Without AMX, XLA's bfloat16
    kernels take 1.2 to 3 times the time of float32, with AVX512-BF16 too. float16 has no kernels.
    """
    (x_contracted, w_contracted), (x_batch, w_batch) = numbers
    x_free = _others(x.ndim, x_contracted, x_batch)
    w_free = _others(w.ndim, w_contracted, w_batch)
    rows, columns = _size(x, x_free), _size(w, w_free)
    is_small = 1 in (rows, columns) or rows * columns * _size(x, x_contracted) < MIN_PRODUCTS
    if is_small or not is_fast_on_cpu(dtype):
        return lax.dot_general(x.astype(jnp.float32), w.astype(jnp.float32), numbers)
    if w.ndim == 2 and x_contracted == (x.ndim - 1,):
        return _evaluate(x, w, numbers=numbers, dtype=dtype)
    x_rows = _matrices(x.astype(dtype), x_batch, x_free, x_contracted)
    if (*x_batch, *x_free, *x_contracted) != tuple(range(x.ndim)):
        x_rows = lax.optimization_barrier(x_rows.reshape(-1)).reshape(x_rows.shape)
    w_columns = _matrices(w, w_batch, w_contracted, w_free)
    stacked = (((2,), (1,)), ((0,), (0,))) if x_batch else (((1,), (0,)), ((), ()))
    out = _evaluate(x_rows, w_columns, numbers=stacked, dtype=dtype)
    return out.reshape([x.shape[n] for n in (*x_batch, *x_free)] + [w.shape[n] for n in w_free])


def is_fast_on_cpu(dtype: Any) -> bool:
    """Returns whether this CPU multiplies a low dtype faster than float32."""
    return dtype == jnp.bfloat16 and _has_amx()


@functools.cache
def _has_amx() -> bool:
    """Returns whether the CPU has AMX for bfloat16, according to Linux.

    XLA's kernels ask the CPU itself; a limit on XLA's instruction set does not concern them.
    """
    try:
        return "amx_bf16" in pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:  # another system
        return False


def _size(a: Array, axes: Sequence[int]) -> int:
    return math.prod(a.shape[n] for n in axes)


def _matrices(a: Array, batch: Sequence[int], rows: Sequence[int], columns: Sequence[int]) -> Array:
    """Returns `a` as a matrix, or as a stack of matrices if there are batch axes."""
    groups = (batch, rows, columns) if batch else (rows, columns)
    return lax.transpose(a, (*batch, *rows, *columns)).reshape([_size(a, g) for g in groups])


def _abstract(x: Any, w: Any, *, numbers: DimensionNumbers, dtype: Any) -> Any:
    """Returns the type of the result as `lax.dot_general` infers it, axes of a mesh included."""
    return lax.dot_general_p.abstract_eval(
        x.update(dtype=dtype, weak_type=False),
        w.update(dtype=dtype, weak_type=False),
        dimension_numbers=numbers,
        precision=None,
        preferred_element_type=jnp.dtype(jnp.float32),
        out_sharding=None,
    )[0]


def _others(ndim: int, *used: Sequence[int]) -> tuple[int, ...]:
    """Returns the axes of an array that are neither contracted nor batch axes."""
    return tuple(axis for axis in range(ndim) if not any(axis in axes for axes in used))


def _transpose_x(g: Array, x: Any, w: Array, *, numbers: DimensionNumbers, dtype: Any) -> Array:
    """Returns the cotangent of x: the product of g and w over the free axes of w."""
    (x_contracted, w_contracted), (x_batch, w_batch) = numbers
    x_free = _others(x.aval.ndim, x_contracted, x_batch)
    w_free = _others(w.ndim, w_contracted, w_batch)
    g_batch = tuple(range(len(x_batch)))
    g_w = tuple(range(g.ndim - len(w_free), g.ndim))
    by_w = sorted(range(len(w_contracted)), key=w_contracted.__getitem__)
    return _product_like(
        x, ((g, g_w, g_batch), (w, w_free, w_batch)), dtype,
        (x_batch, x_free, tuple(x_contracted[n] for n in by_w)),
    )  # fmt: skip


def _transpose_w(g: Array, x: Array, w: Any, *, numbers: DimensionNumbers, dtype: Any) -> Array:
    """Returns the cotangent of w: the product of g and x over the free axes of x."""
    (x_contracted, w_contracted), (x_batch, w_batch) = numbers
    x_free = _others(x.ndim, x_contracted, x_batch)
    w_free = _others(w.aval.ndim, w_contracted, w_batch)
    g_batch = tuple(range(len(x_batch)))
    g_x = tuple(range(len(x_batch), len(x_batch) + len(x_free)))
    by_x = sorted(range(len(x_contracted)), key=x_contracted.__getitem__)
    return _product_like(
        w, ((g, g_x, g_batch), (x, x_free, x_batch)), dtype,
        (w_batch, w_free, tuple(w_contracted[n] for n in by_x)),
    )  # fmt: skip


def _product_like(like: Any, operands: Any, dtype: Any, places: Any) -> Array:
    """Returns the product of g and the other operand, with the axes in the order of `like`.

    Args:
      like: the operand whose cotangent it is.
      operands: (array, contracted axes, batch axes) of g and of the other operand.
      dtype: dtype of the product.
      places: the axes of `like` that the batch axes, the free axes of g and the free axes of the
        other operand are.
    """
    batch, of_g, of_other = places
    order = (*batch, *of_g, *of_other)
    swapped = (*batch, *of_other, *of_g)
    # The order of the operands that leaves the axes of the result in their places, if one does.
    if swapped == tuple(sorted(swapped)):
        operands, order = operands[::-1], swapped
    (a, a_contracted, a_batch), (b, b_contracted, b_batch) = operands
    dims = ((a_contracted, b_contracted), (a_batch, b_batch))
    out = _low_dot.bind(a, b, numbers=dims, dtype=dtype)
    if order != tuple(sorted(order)):
        out = lax.transpose(out, sorted(range(len(order)), key=order.__getitem__))
    return out.astype(like.aval.dtype)


def _batch(
    operands: Sequence[Array], axes: Sequence[int | None], *, numbers: DimensionNumbers, dtype: Any
) -> tuple[Array, int]:
    """Maps both operands over a batch axis, or one operand over a free axis."""
    (x, w), (x_axis, w_axis) = operands, axes
    contracted, batch = numbers
    num_batch = len(batch[0])

    def shift(places: Sequence[int], axis: int | None) -> tuple[int, ...]:
        return tuple(n if axis is None or n < axis else n + 1 for n in places)

    if x_axis is not None and w_axis is not None:
        x, w = jnp.moveaxis(x, x_axis, 0), jnp.moveaxis(w, w_axis, 0)
        new_contracted = shift(contracted[0], 0), shift(contracted[1], 0)
        new_batch = (0, *shift(batch[0], 0)), (0, *shift(batch[1], 0))
        out_axis = 0
    else:
        new_contracted = shift(contracted[0], x_axis), shift(contracted[1], w_axis)
        new_batch = shift(batch[0], x_axis), shift(batch[1], w_axis)
        x_free = _others(x.ndim, new_contracted[0], new_batch[0])
        if x_axis is not None:
            out_axis = num_batch + x_free.index(x_axis)
        else:
            w_free = _others(w.ndim, new_contracted[1], new_batch[1])
            out_axis = num_batch + len(x_free) + w_free.index(w_axis)
    return _low_dot.bind(x, w, numbers=(new_contracted, new_batch), dtype=dtype), out_axis


_low_dot.def_impl(_jitted)
_low_dot.def_abstract_eval(_abstract)
mlir.register_lowering(_low_dot, mlir.lower_fun(_evaluate, multiple_results=False))
mlir.register_lowering(
    _low_dot, mlir.lower_fun(_evaluate_on_cpu, multiple_results=False), platform="cpu"
)
ad.defbilinear(_low_dot, _transpose_x, _transpose_w)
batching.primitive_batchers[_low_dot] = _batch
