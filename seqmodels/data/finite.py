"""What to say of data that are not finite."""

from typing import Any

import jax
import numpy as np


def find_non_finite(tree: Any) -> str | None:
    """Returns where a pytree first holds a NaN or an infinity, for an error message.

    Args:
      tree: a pytree of arrays or numbers; those that are not floating or complex are passed over.

    Returns:
      Such as "xs[3, 7, 0] is nan" for the field `xs` of a NamedTuple, "batch['x'][2] is inf" for a
      dictionary; None if all numbers are finite.
    """
    for path, leaf in jax.tree.leaves_with_path(tree):
        if not jax.dtypes.issubdtype(getattr(leaf, "dtype", type(leaf)), np.inexact):
            continue
        array = np.asarray(leaf)
        finite = np.isfinite(array)
        if finite.all():
            continue
        # The first in the order of memory; argmin of booleans stops at the first False.
        index = np.unravel_index(np.argmin(finite), array.shape)
        name = jax.tree_util.keystr(path)
        name = name[1:] if name.startswith(".") else f"batch{name}"
        where = ", ".join(str(int(each)) for each in index)
        return f"{name}{f'[{where}]' if where else ''} is {array[index]}"
    return None
