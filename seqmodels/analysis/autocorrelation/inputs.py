"""Validation of arguments, with one-line errors."""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from seqmodels.types import Array


class SeriesChecks(NamedTuple):
    """Checks of the values of one series; scalars.

    Attributes:
      number: the number of valid values.
      constant: all values are the same.
      unusable: a value is infinite, or NaN and not declared missing.
    """

    number: Array
    constant: Array
    unusable: Array


def as_array(given: ArrayLike) -> Any:
    """Returns a NumPy array (of the same dtype) unless it is a JAX array; see also `own_mask`.

    Examples:
      >>> as_array([1.0, 2.0]).dtype
      dtype('float64')
    """
    return given if isinstance(given, jax.Array) else np.asarray(given)


def own_mask(given: Any, mask: Any) -> Any:
    """Returns the mask, false also where `given` is a NumPy masked array that is masked there.

    Examples:
      >>> own_mask(np.ma.masked_equal([1.0, 0.0], 0.0), None)
      array([ True, False])
    """
    if not np.ma.isMaskedArray(given) or not np.any(np.ma.getmaskarray(given)):
        return mask
    own = ~np.ma.getmaskarray(given)
    return own if mask is None else own & mask


def is_traced(*arrays: Any) -> bool:
    """Returns whether any input is traced.

    Examples:
      >>> is_traced(np.ones(3)), jax.eval_shape(lambda x: is_traced(x) * x, jnp.ones(3)).shape
      (False, (3,))
    """
    return any(isinstance(array, jax.core.Tracer) for array in arrays)


def float64_context() -> Any:
    """Returns a context with computations in float64, except on TPUs, whose FFT lacks it.

    Examples:
      >>> with float64_context():
      ...     jnp.ones(3).dtype
      dtype('float64')
    """
    narrow = jax.default_backend() == "tpu"
    return contextlib.nullcontext() if narrow else jax.enable_x64(True)


def result_dtype(*arrays: Any) -> Any:
    """Returns the dtype of a statistic: the dtype of the arrays, at least float32.

    Examples:
      >>> result_dtype(np.ones(3, np.int8)), result_dtype(jnp.ones(3, jnp.bfloat16))
      (dtype('float32'), dtype('float32'))
    """
    dtypes = [jax.dtypes.canonicalize_dtype(array.dtype) for array in arrays]
    if not all(jnp.issubdtype(dtype, jnp.floating) for dtype in dtypes):
        return jnp.zeros((), float).dtype
    return jnp.zeros((), jnp.result_type(jnp.float32, *dtypes)).dtype


def num_steps(arrays: dict[str, ArrayLike], axis: int, least: int = 2) -> int:
    """Returns the length n of the time axis; ValueError if shapes or dtypes do not fit.

    Examples:
      >>> num_steps({"x": np.ones((2, 100))}, axis=-1)
      100
    """
    first, shape = "", ()
    for name, array in arrays.items():
        here, dtype = np.shape(array), as_array(array).dtype
        real = jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)
        if not (real or jnp.issubdtype(dtype, jnp.bool_)):
            raise ValueError(f"{name}: got {dtype}, expected real numbers")
        if not here:
            raise ValueError(f"{name}: got a number, expected a series (at least one axis)")
        if not -len(here) <= axis < len(here):
            raise ValueError(f"axis: got {axis}, expected one of the axes of {name} {list(here)}")
        if here[axis] < least or 0 in here:
            raise ValueError(
                f"{name}: got {list(here)}, expected at least {least} values along axis {axis}"
            )
        if first and here != shape:
            raise ValueError(
                f"{name}: got {list(here)}, expected the shape of {first} {list(shape)}"
            )
        first, shape = first or name, here
    return shape[axis]


def whole_number(name: str, given: Any, least: int, most: int, why: str = "") -> int:
    """Returns a setting as an int; ValueError unless it is a whole number within the bounds.

    Examples:
      >>> whole_number("nlags", np.int64(5), 1, 10)
      5
    """
    try:
        number = int(given)
        whole = number == given
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole or not least <= number <= most:
        raise ValueError(f"{name}: got {given}, expected a whole number {least} to {most}{why}")
    return number


def checked_alpha(alpha: float | None) -> float | None:
    """Returns `alpha` as a float; ValueError unless it lies between 0 and 1.

    Examples:
      >>> checked_alpha(0.05)
      0.05
    """
    if alpha is None:
        return None
    if not 0 < float(alpha) < 1:
        raise ValueError(f"alpha: got {alpha}, expected a level between 0 and 1, e.g. 0.05")
    return float(alpha)


def checked_mask(mask: Any, shape: Sequence[int]) -> Any:
    """Returns `mask` as an array; ValueError unless it is bool of that shape, or None.

    Examples:
      >>> checked_mask([True, False], (2,)).dtype
      dtype('bool')
    """
    if mask is None:
        return None
    mask = as_array(mask)
    if mask.shape != tuple(shape) or mask.dtype != bool:
        raise ValueError(
            f"mask: got {mask.dtype}{list(mask.shape)}, expected bool{list(shape)}, true where a "
            "value is there"
        )
    return mask


def checked_lengths(lengths: Any, n: int, batch_shape: tuple[int, ...]) -> Any:
    """Returns `lengths` as an array; ValueError unless they fit the batch, or None.

    Examples:
      >>> checked_lengths([3, 5], n=5, batch_shape=(2,)).shape
      (2,)
    """
    if lengths is None:
        return None
    lengths = as_array(lengths)
    if lengths.shape != batch_shape or not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise ValueError(
            f"lengths: got {lengths.dtype}{list(lengths.shape)}, "
            f"expected integers{list(batch_shape)}, one a series"
        )
    if not is_traced(lengths) and (np.any(lengths < 0) or np.any(lengths > n)):
        wrong = np.asarray(lengths)[(lengths < 0) | (lengths > n)]
        raise ValueError(f"lengths: got {wrong[0]}, expected 0 to {n}")
    return lengths


def check_series(
    name: str, facts: Any, num_lags: tuple[str, int] | None, may_be_constant: bool
) -> None:
    """Raises ValueError for the first series with invalid values."""
    facts = jax.device_get(facts)

    def where(wrong: np.ndarray) -> str:
        index = np.argwhere(wrong)[0]
        return f" in series {index.tolist()}" if index.size else ""

    if np.any(wrong := facts.unusable):
        raise ValueError(
            f"{name}: got NaN or infinity{where(wrong)}, expected finite values; "
            "for gaps missing='conservative' or a mask"
        )
    if np.any(wrong := facts.number == 0):
        raise ValueError(f"{name}: got only missing values{where(wrong)}, expected some there")
    if num_lags is not None and np.any(wrong := facts.number <= num_lags[1]):
        raise ValueError(
            f"{num_lags[0]}: got {num_lags[1]}, expected less than the "
            f"{facts.number[wrong].flat[0]} values there are{where(wrong)}"
        )
    if not may_be_constant and np.any(wrong := facts.constant):
        raise ValueError(
            f"{name}: got a constant{where(wrong)}, expected values that vary: "
            "without variance there is no correlation"
        )
