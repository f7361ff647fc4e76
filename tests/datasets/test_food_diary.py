"""What there is to eat follows from what there was, and not from the day."""

import jax
import numpy as np
import pytest

from seqmodels.datasets import food_diary as d


def test_transitions_and_the_best_rule():
    given = d.transitions()
    np.testing.assert_allclose(given.sum(axis=2), 1)
    # After soup (0) and pasta (1): rice (2) follows pasta, salad (3) is the third after soup.
    assert given[0, 1, 2] == pytest.approx(0.55 + 0.15 / 6)
    assert given[0, 1, 3] == pytest.approx(0.3 + 0.15 / 6)
    # Both rules agree where the last is two after the one before.
    assert given[0, 2, 3] == pytest.approx(0.85 + 0.15 / 6)
    # The sum over how often both agree, counted in a long chain by NumPy.
    rng = np.random.default_rng(0)
    meals = [0, 1]
    for u, noise in zip(rng.random(100_000), rng.integers(0, 6, 100_000), strict=True):
        before, last = meals[-2:]
        meals.append((last + 1) % 6 if u < 0.55 else (before + 3) % 6 if u < 0.85 else int(noise))
    meals = np.array(meals)
    right = np.mean(d.bayes_rule(meals)[2:] == meals[2:])
    assert d.bayes_rate() == pytest.approx(right, abs=0.005)


def test_a_diary():
    found = d.diary(jax.random.key(0), 20_000)
    again = d.diary(jax.random.key(0), 20_000)
    np.testing.assert_array_equal(found.meals, again.meals)
    assert np.mean(d.bayes_rule(found.meals) == found.meals) == pytest.approx(
        d.bayes_rate(), abs=0.015
    )
    assert (str(found.dates[0]), found.weekdays[8]) == ("2018-01-01", 1)
    counts = np.zeros((7, 6))
    np.add.at(counts, (found.weekdays, found.meals), 1)
    assert np.abs(counts / counts.sum(axis=1, keepdims=True) - 1 / 6).max() < 0.03
    for days in (1, 2, 3):
        assert len(d.diary(jax.random.key(1), days).meals) == days
    with pytest.raises(ValueError, match="days: got 0"):
        d.diary(jax.random.key(0), 0)
