"""Conversion of a caller's values and labels, so that their dtype never changes a result."""

from typing import Any

import numpy as np


def as_floats(name: str, values: Any) -> np.ndarray:
    """Returns values as an array of float32 or wider, NaN where a masked array is masked.

    Integers, bools and float16 become float64, so that no difference or square of them overflows.

    Args:
      name: the argument's name in an error.
      values: real numbers, an array or nested lists.

    Raises:
      ValueError: if they are not real numbers.

    Examples:
      >>> as_floats("values", np.array([200, 100], np.uint8)).dtype
      dtype('float64')
    """
    array = np.ma.getdata(values) if np.ma.isMaskedArray(values) else np.asarray(values)
    if array.dtype.kind not in "biufO" and not _is_extended(array):
        raise ValueError(f"{name}: got {array.dtype}, expected real numbers")
    if array.dtype not in (np.float32, np.float64, np.longdouble):
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"{name}: got {array.dtype}, expected real numbers") from None
    if np.ma.isMaskedArray(values):
        array = np.where(np.ma.getmaskarray(values), np.nan, array)
    return array


def as_labels(name: str, values: Any, num_classes: int | None = None) -> np.ndarray:
    """Returns labels as int64.

    Args:
      name: the argument's name in an error.
      values: integers or bools, an array or nested lists, not masked.
      num_classes: C, labels lie in [0, C); None: any integers.

    Raises:
      ValueError: if they are not integers, are masked, or lie outside [0, C).

    Examples:
      >>> as_labels("truth", np.array([25], np.uint8), 26) * 26
      array([650])
    """
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "biu":
        raise ValueError(f"{name}: got {array.dtype}, expected integer labels")
    if np.any(np.ma.getmaskarray(values)):
        raise ValueError(f"{name}: got masked labels, expected a label for every item")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name}: got label {array.max()}, expected labels that 63 bits hold")
    labels = array.astype(np.int64)
    if num_classes is not None and labels.size:
        wrong = labels[(labels < 0) | (labels >= num_classes)]
        if wrong.size:
            raise ValueError(f"{name}: got label {wrong[0]}, expected 0 to {num_classes - 1}")
    return labels


def _is_extended(array: np.ndarray) -> bool:
    """Returns whether the dtype is a float of few bits that NumPy knows from JAX (bfloat16)."""
    return array.dtype.kind == "V" and array.dtype.name.startswith(("bfloat", "float"))
