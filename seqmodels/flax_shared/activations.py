"""Check whether a driver may apply the activation functions of a Flax cell."""

from collections.abc import Callable
from typing import Any

from seqmodels.flax_shared.elementwise import is_elementwise
from seqmodels.flax_shared.pure_functions import is_pure


def is_plain(function: Callable[..., Any]) -> bool:
    """Returns whether a function acts on single entries and depends on its argument alone.

    A driver traces an activation once and applies it to other batches than the caller. So it must
    be certain that the result depends neither on the shape of the batch nor on mutable values.

    Args:
      function: a function of one array.
    """
    return is_pure(function) and is_elementwise(function)
