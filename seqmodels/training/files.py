"""Values as JSON, and failures to write a file as one line."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np


def json_value(value: Any) -> Any:
    """Returns `value` as JSON can hold it.

    Args:
      value: numbers, text, and arrays, alone or in dictionaries, lists and tuples.

    Returns:
      The same value in JSON types. Tuples and arrays become lists, numbers of NumPy and JAX become
      Python's, keys of dictionaries become text, and non-finite numbers become None.
    """
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, float) and not -float("inf") < value < float("inf"):
        return None
    return value


@contextlib.contextmanager
def cannot_be_written(name: str) -> Iterator[None]:
    """Makes an OSError inside one line, such as "NAME cannot be written: Permission denied"."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        failure = OSError(f"{name} cannot be written: {reason}")
        failure.errno = error.errno
        raise failure from None
