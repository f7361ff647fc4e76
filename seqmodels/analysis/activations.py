"""Activation functions of recurrent cells: derivatives, ranges and widths.

    sigmoid(x) = 1 / (1 + exp(-x)),    tanh(x) = 2 sigmoid(2x) - 1,    relu(x) = max(x, 0)

The first derivative scales a gradient that passes through the function; the second one is how fast
that scale changes with the input.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqmodels.types import Array

FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": jax.nn.sigmoid,
    "hard sigmoid": jax.nn.hard_sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
}


class Profile(NamedTuple):
    """Properties of one function, measured on a grid of inputs.

    Attributes:
      low: smallest value on the grid.
      high: largest value on the grid.
      largest_first: largest size of the first derivative.
      first_width: largest |x| at which the first derivative has at least `share` of its largest
        size; the end of the grid if it never falls below.
      largest_second: largest size of the second derivative.
      second_width: the same width for the second derivative; 0 where it is zero everywhere.
      gradient_after: product of the first derivative at `steps` successive steps with the input
        `typical`: the share of a gradient that passes through the function alone.
    """

    low: float
    high: float
    largest_first: float
    first_width: float
    largest_second: float
    second_width: float
    gradient_after: float


def derivatives(function: Callable[[Array], Array], x: Array) -> tuple[Array, Array, Array]:
    """Returns (values, first derivatives, second derivatives) at every entry of `x`.

    Args:
      function: from a scalar to a scalar, differentiable twice by JAX.
      x: floating, any shape; the derivatives at a kink are those that JAX defines.

    Raises:
      ValueError: if `x` is not floating.

    Examples:
      >>> value, first, second = derivatives(jnp.tanh, jnp.zeros(3))
      >>> float(first[0])
      1.0
    """
    first = jax.grad(function)
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"x: got {x.dtype}, expected a floating dtype")
    flat = jnp.ravel(x)
    found = [jax.vmap(f)(flat).reshape(x.shape) for f in (function, first, jax.grad(first))]
    return found[0], found[1], found[2]


def profile(
    function: Callable[[Array], Array],
    *,
    reach: float = 10.0,
    share: float = 0.01,
    typical: float = 1.0,
    steps: int = 100,
) -> Profile:
    """Returns the properties of a function, measured at 20,001 inputs in [-reach, reach].

    Args:
      function: from a scalar to a scalar, differentiable twice by JAX.
      reach: end of the grid.
      share: share of the largest derivative that ends a width.
      typical: input of every step of `gradient_after`.
      steps: number of steps of `gradient_after`.

    Raises:
      ValueError: if `reach` is not positive, `share` is not in (0, 1], or `steps` is negative.

    Examples:
      >>> sigmoid = profile(jax.nn.sigmoid, steps=10)
      >>> round(sigmoid.largest_first, 3)  # so one step passes on at most a quarter of a gradient
      0.25
    """
    for name, got, is_right, expected in (
        ("reach", reach, 0 < reach < np.inf, "a positive number"),
        ("share", share, 0 < share <= 1, "0 < share <= 1"),
        ("steps", steps, steps >= 0, "at least 0"),
    ):
        if not is_right:
            raise ValueError(f"{name}: got {got}, expected {expected}")
    x = np.linspace(-reach, reach, 20_001)
    value, first, second = (
        np.asarray(a, np.float64) for a in derivatives(function, jnp.asarray(x))
    )
    slope = float(jax.grad(function)(jnp.asarray(typical)))
    return Profile(
        low=float(value.min()),
        high=float(value.max()),
        largest_first=float(np.abs(first).max()),
        first_width=_width(x, first, share),
        largest_second=float(np.abs(second).max()),
        second_width=_width(x, second, share),
        gradient_after=slope**steps,
    )


def _width(x: np.ndarray, values: np.ndarray, share: float) -> float:
    size = np.abs(values)
    if not size.max() > 0:
        return 0.0
    return float(np.abs(x[size >= share * size.max()]).max())
