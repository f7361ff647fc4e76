"""Diary of days and meals, in which a meal depends on earlier meals and not on the day."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqmodels.types import Array

MEALS = ("soup", "pasta", "rice", "salad", "fish", "pizza")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
FIRST = np.datetime64("2018-01-01")  # a Monday
# Probabilities that a meal follows from the last meal or from the one before it.
AFTER_LAST, AFTER_BEFORE = 0.55, 0.3


class Diary(NamedTuple):
    """A diary of N days.

    Attributes:
      meals: int32 (N,), an index of `MEALS`.
      weekdays: int32 (N,), an index of `WEEKDAYS`.
      dates: datetime64[D] (N,).
    """

    meals: np.ndarray
    weekdays: np.ndarray
    dates: np.ndarray


def transitions() -> np.ndarray:
    """Returns P(meal | the day before, the last day), float64 (6, 6, 6), the meal last.

    With probability 0.55 the meal is m_{t-1} + 1, the next on the list after the last one. With
    probability 0.3 it is m_{t-2} + 3, both modulo 6. Otherwise it is any of the six.
    """
    size = len(MEALS)
    probabilities = np.full((size, size, size), (1 - AFTER_LAST - AFTER_BEFORE) / size)
    before, last = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    np.add.at(probabilities, (before, last, (last + 1) % size), AFTER_LAST)
    np.add.at(probabilities, (before, last, (before + 3) % size), AFTER_BEFORE)
    return probabilities


def bayes_rate() -> float:
    """Returns the accuracy of the best rule: the mean over pairs of days of max P.

    A pair (m_{t-2}, m_{t-1}) occurs as often as the stationary distribution of the chain of pairs
    says.
    """
    given = transitions()
    size = len(MEALS)
    pairs = np.full((size, size), 1 / size**2)
    for _ in range(1_000):
        pairs = np.einsum("ij,ijk->jk", pairs, given)
    return float(np.sum(pairs * given.max(axis=2)))


def bayes_rule(meals: np.ndarray) -> np.ndarray:
    """Returns the best prediction (N,) of each meal from those before; 0 for the first two."""
    best = transitions().argmax(axis=2)
    guesses = np.zeros(len(meals), np.int32)
    guesses[2:] = best[meals[:-2], meals[1:-1]]
    return guesses


def diary(key: Array, days: int) -> Diary:
    """Draws a diary.

    Args:
      key: PRNG key of the meals.
      days: N, at least 1.

    Raises:
      ValueError: if there is no day.
    """
    if days < 1:
        raise ValueError(f"days: got {days}, expected at least 1")
    logits = jnp.log(jnp.asarray(transitions(), jnp.float32))
    key_first, key_rest = jax.random.split(key)
    first = jax.random.randint(key_first, (2,), 0, len(MEALS))

    def step(pair: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], Array]:
        before, last = pair
        meal = jax.random.categorical(key, logits[before, last])
        return (last, meal), meal

    keys = jax.random.split(key_rest, max(days - 2, 0))
    _, rest = jax.lax.scan(step, (first[0], first[1]), keys)
    meals = np.concatenate([np.asarray(first), np.asarray(rest)])[:days].astype(np.int32)
    weekdays = (np.arange(days) % len(WEEKDAYS)).astype(np.int32)
    return Diary(meals, weekdays, FIRST + np.arange(days))
