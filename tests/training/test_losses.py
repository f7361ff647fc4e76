"""Losses by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from seqmodels.training.losses import cross_entropy, squared_error, weighted_cross_entropy


def test_losses():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]))
    want = -(np.log(0.25) + np.log(0.8)) / 2
    assert cross_entropy(logits, jnp.array([2, 1])) == pytest.approx(want, rel=1e-6)
    assert squared_error(jnp.array([1.0, 3.0]), jnp.array([1.0, 1.0])) == pytest.approx(2.0)


def test_weights_of_a_cross_entropy():
    logits = jnp.log(jnp.array([[0.5, 0.5], [0.1, 0.9], [0.3, 0.7]]))
    want = -(2 * np.log(0.5) + 0 * np.log(0.9) + 0.5 * np.log(0.3))
    got = weighted_cross_entropy(logits, jnp.array([0, 1, 0]), jnp.array([2.0, 0.0, 0.5]))
    assert got == pytest.approx(want, rel=1e-6)
