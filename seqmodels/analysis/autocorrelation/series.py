"""Series with gaps: validity, checks, and lagged products."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from scipy.fft import next_fast_len

from seqmodels.analysis.autocorrelation.inputs import (
    SeriesChecks,
    as_array,
    check_series,
    checked_lengths,
    checked_mask,
    float64_context,
    is_traced,
    own_mask,
    result_dtype,
)
from seqmodels.types import Array

MISSING = ("none", "raise", "conservative", "drop")
TINY = 2.0**-900  # smaller numbers are scaled before XLA may flush them to zero


class Series(NamedTuple):
    """One series in the precision it is computed in.

    Attributes:
      values: (n,), 0 where missing.
      valid: bool (n,), false where missing; None: all valid.
      number: the number of valid values, a scalar of the dtype of `values`.
    """

    values: Array
    valid: Array | None
    number: Array


def compute(
    function: Callable[..., Any],
    arrays: dict[str, ArrayLike],
    *,
    axis: int,
    mask: ArrayLike | None,
    lengths: ArrayLike | None,
    missing: str = "none",
    num_lags: tuple[str, int] | None = None,
    may_be_constant: bool = False,
    **options: Any,
) -> Any:
    """Applies a function of one series to each series of a batch, jitted, and checks the values.

    Args:
      function: `function(series, ..., **options) -> pytree of arrays`, with one `Series` per array.
      arrays: by the caller's argument name, all of one shape (checked by `num_steps`).
      axis: of time.
      mask: bool of that shape, or None.
      lengths: integers of the batch's shape, or None.
      missing: one of `MISSING`.
      num_lags: name and largest lag, which must be less than the number of valid values.
      may_be_constant: whether a constant series is allowed.
      **options: hashable; each value compiles another program.

    Returns:
      The result of `function`, batch axes first, in the dtype of the input. If a series is invalid
      (`SeriesChecks`), it is NaN inside a transformation; otherwise ValueError is raised.

    Examples:
      >>> def mean(series):
      ...     return jnp.sum(series.values) / series.number
      >>> x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
      >>> compute(mean, {"x": x}, axis=-1, mask=None, lengths=None).shape
      (2,)
    """
    if missing not in MISSING:
        raise ValueError(f"missing: got {missing!r}, expected one of {', '.join(MISSING)}")
    ready = tuple(_ready(given) for given in arrays.values())
    shape = ready[0].shape
    axis = axis % len(shape)
    batch_shape = shape[:axis] + shape[axis + 1 :]
    mask = checked_mask(mask, shape)
    masks = tuple(own_mask(given, mask) for given in arrays.values())
    lengths = checked_lengths(lengths, shape[axis], batch_shape)
    call = functools.partial(
        _over_series, function, ready, masks, lengths, axis=axis, missing=missing,
        may_be_constant=may_be_constant, dtype=result_dtype(*ready), options=tuple(options.items()),
    )  # fmt: skip
    if is_traced(*ready, *masks, lengths):
        return call()[0]
    # Also if the caller is being traced: these values are constants of its trace.
    with jax.ensure_compile_time_eval(), float64_context():
        result, facts = call()
    for name, fact in zip(arrays, facts, strict=True):
        check_series(name, fact, num_lags, may_be_constant)
    return result


def _ready(given: ArrayLike) -> Any:
    """Returns an array; subnormal NumPy numbers, which XLA may flush to zero, are scaled up."""
    array = as_array(given)
    if not isinstance(array, jax.Array) and array.dtype == np.float64 and array.size:
        largest = np.max(np.abs(array), initial=0, where=np.isfinite(array))
        if 0 < largest < TINY:
            return np.ldexp(array, 512)
    return array


def centered(series: Series) -> Array:
    """Returns the values minus their mean, 0 where missing.

    A mean that is large relative to the spread is rounded, so that one subtraction leaves a small
    mean. Hence it is subtracted three times. The subtraction itself is exact if values and mean
    agree within a factor of 2 (Sterbenz 1974).

    Examples:
      >>> centered(Series(jnp.array([1.0, 3.0]), None, jnp.float32(2))).tolist()
      [-1.0, 1.0]
    """
    values = series.values
    for _ in range(3):
        values = values - jnp.sum(values) / series.number
        values = values if series.valid is None else jnp.where(series.valid, values, 0)
    return values


def lagged_products(a: Array, b: Array, nlags: int, fft: bool = True) -> Array:
    """Returns sum_t a[t + k] b[t] for k = 0, ..., nlags, as (nlags + 1,).

    With the FFT, O(n log n), a correlation is the product of one transform and the conjugate of the
    other. nlags zeros after the series prevent circular overlap. Without it, O(n nlags), it is one
    matrix product: the series are cut into blocks of L > nlags steps, and each pair lies in one
    block or in two consecutive ones. The sums are on the diagonals of the product of a block with
    itself and the next.

    Examples:
      >>> a = jnp.array([1.0, 2.0, 3.0])
      >>> lagged_products(a, a, nlags=1, fft=False).tolist()  # 1 + 4 + 9, 2 + 6
      [14.0, 8.0]
    """
    n = a.shape[0]
    if fft:
        size = next_fast_len(n + nlags, real=True)
        left = jnp.fft.rfft(a, size)
        right = left if b is a else jnp.fft.rfft(b, size)
        return jnp.fft.irfft(left * jnp.conj(right), size)[: nlags + 1]
    block = nlags + 1
    num_blocks = -(-n // block)
    first = jnp.pad(b, (0, num_blocks * block - n)).reshape(num_blocks, block)
    behind = jnp.pad(a, (0, (num_blocks + 1) * block - n)).reshape(num_blocks + 1, block)
    both = jnp.concatenate([behind[:-1], behind[1:]], axis=1)
    products = jnp.matmul(first.T, both, precision="highest")
    # In rows with one more entry a diagonal is a column.
    skewed = jnp.pad(products.reshape(-1), (0, block)).reshape(block, 2 * block + 1)
    return jnp.sum(skewed, axis=0)[: nlags + 1]


def pair_counts(a: Series, b: Series, nlags: int) -> Array:
    """Returns the number of valid pairs (a[t + k], b[t]), for k = 0, ..., nlags.

    Examples:
      >>> a = Series(jnp.array([1.0, 0.0, 3.0]), jnp.array([True, False, True]), jnp.float32(2))
      >>> [round(count) for count in pair_counts(a, a, nlags=2).tolist()]
      [2, 0, 1]
    """
    dtype = a.values.dtype
    if a.valid is None or b.valid is None:
        return (a.values.shape[0] - jnp.arange(nlags + 1)).astype(dtype)
    left = a.valid.astype(dtype)
    right = left if b.valid is a.valid else b.valid.astype(dtype)
    return jnp.round(lagged_products(left, right, nlags))


@functools.partial(
    jax.jit,
    static_argnums=0,
    static_argnames=("axis", "missing", "may_be_constant", "dtype", "options"),
)
def _over_series(
    function: Callable[..., Any],
    arrays: tuple[Array, ...],
    masks: tuple[Array | None, ...],
    lengths: Array | None,
    *,
    axis: int,
    missing: str,
    may_be_constant: bool,
    dtype: Any,
    options: tuple[tuple[str, Any], ...],
) -> tuple[Any, list[SeriesChecks]]:
    """Returns the results and one `SeriesChecks` per array, both with the batch axes first."""
    arrays, masks = jax.tree.map(lambda array: jnp.moveaxis(array, axis, -1), (arrays, masks))
    *batch_shape, _ = arrays[0].shape

    def one(
        arrays: tuple[Array, ...], masks: tuple[Array | None, ...], length: Array | None
    ) -> tuple[Any, list[SeriesChecks]]:
        looked = [
            _look(array.astype(float), mask, length, missing)
            for array, mask in zip(arrays, masks, strict=True)
        ]
        result = function(*(series for series, _ in looked), **dict(options))
        fit = jnp.array(True)
        for _, fact in looked:
            fit &= ~fact.unusable & (fact.number > 0) & (may_be_constant | ~fact.constant)
        cast = [_spoiled(leaf, fit, dtype) for leaf in jax.tree.leaves(result)]
        return jax.tree.unflatten(jax.tree.structure(result), cast), [fact for _, fact in looked]

    flat = jax.tree.map(
        lambda leaf: leaf.reshape((math.prod(batch_shape), *leaf.shape[len(batch_shape) :])),
        (arrays, masks, lengths),
    )
    results = jax.vmap(one)(*flat)
    return jax.tree.map(lambda leaf: leaf.reshape((*batch_shape, *leaf.shape[1:])), results)


def _spoiled(leaf: Array, fit: Array, dtype: Any) -> Array:
    """Returns a result in a given dtype, NaN (0 for integers) if the series is invalid."""
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return jnp.where(fit, leaf, 0).astype(jnp.int32)
    return jnp.where(fit, leaf, jnp.nan).astype(dtype)


def _look(
    values: Array, mask: Array | None, length: Array | None, missing: str
) -> tuple[Series, SeriesChecks]:
    """Returns a series, scaled by a power of two, and its checks."""
    n = values.shape[0]
    valid = jnp.ones(n, bool) if mask is None else mask
    if length is not None:
        valid &= jnp.arange(n) < length
    if missing in ("conservative", "drop"):
        valid &= ~jnp.isnan(values)
    values = jnp.where(valid, values, 0)
    count = jnp.sum(valid)
    high = jnp.max(values, where=valid, initial=-jnp.inf)
    low = jnp.min(values, where=valid, initial=jnp.inf)
    facts = SeriesChecks(count, high == low, ~jnp.all(jnp.isfinite(values)))
    if missing == "drop":
        values = values[jnp.argsort(~valid, stable=True)]
        valid = jnp.arange(n) < count
    # Every statistic here is the same for a multiple of the series, and squares leave the range of
    # float32 early. A power of two changes no digit.
    largest = jax.lax.stop_gradient(jnp.maximum(jnp.abs(high), jnp.abs(low)))
    _, exponent = jnp.frexp(jnp.where(jnp.isfinite(largest), largest, 1))
    # In two factors, because the inverse of the smallest number exceeds the largest number.
    one, half = jnp.ones((), values.dtype), -(exponent // 2)
    values = values * jnp.ldexp(one, half) * jnp.ldexp(one, -exponent - half)
    everywhere = mask is None and length is None and missing in ("none", "raise")
    series = Series(
        values,
        None if everywhere else valid,
        # At least 1: the gradient of a division by 0 is NaN even if it is not selected.
        jnp.maximum(count, 1).astype(values.dtype),
    )
    return series, facts
