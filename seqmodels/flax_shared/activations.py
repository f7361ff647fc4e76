"""Which activation functions of a Flax cell a driver may apply."""

from collections.abc import Callable
from typing import Any

from seqmodels.flax_shared.elementwise import is_elementwise
from seqmodels.flax_shared.pure_functions import is_pure


def is_plain(function: Callable[..., Any]) -> bool:
    """Returns whether a function acts on single entries and depends on its argument alone.

    A driver traces an activation once and applies it to other batches than the caller. So it has to
    be certain that neither the shape of the batch nor anything mutable decides the result.

    Args:
      function: a function of one array.
    """
    return is_pure(function) and is_elementwise(function)
