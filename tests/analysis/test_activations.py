"""Figures of activation functions against values worked out by hand."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from seqmodels.analysis import activations


def test_derivatives_of_tanh_and_sigmoid():
    x = np.linspace(-4, 4, 9)
    value, first, second = activations.derivatives(jnp.tanh, jnp.asarray(x, jnp.float32))
    tanh = np.tanh(x)
    np.testing.assert_allclose(value, tanh, atol=1e-6)
    np.testing.assert_allclose(first, 1 - tanh**2, atol=1e-6)
    np.testing.assert_allclose(second, -2 * tanh * (1 - tanh**2), atol=1e-6)
    sigmoid = 1 / (1 + np.exp(-x))
    _, first, second = activations.derivatives(
        activations.FUNCTIONS["sigmoid"], jnp.asarray(x, jnp.float32).reshape(3, 3)
    )
    np.testing.assert_allclose(first.ravel(), sigmoid * (1 - sigmoid), atol=1e-6)
    np.testing.assert_allclose(
        second.ravel(), sigmoid * (1 - sigmoid) * (1 - 2 * sigmoid), atol=1e-6
    )


def test_profiles():
    found = {name: activations.profile(f) for name, f in activations.FUNCTIONS.items()}
    tanh, sigmoid = found["tanh"], found["sigmoid"]
    # Where (1 - tanh^2) = .01; largest second derivative 4 / (3 sqrt 3) at tanh^2 = 1/3.
    assert tanh.largest_first == pytest.approx(1)
    assert tanh.first_width == pytest.approx(math.atanh(math.sqrt(0.99)), abs=2e-3)
    assert tanh.largest_second == pytest.approx(4 / (3 * math.sqrt(3)), rel=1e-4)
    # sigmoid(x) = (1 + tanh(x / 2)) / 2, so its widths are twice those of tanh.
    assert sigmoid.first_width == pytest.approx(2 * tanh.first_width, abs=4e-3)
    assert sigmoid.second_width == pytest.approx(2 * tanh.second_width, abs=4e-3)
    assert sigmoid.largest_second == pytest.approx(tanh.largest_second / 8, rel=1e-4)
    assert tanh.gradient_after == pytest.approx((1 - math.tanh(1) ** 2) ** 100, rel=1e-3)
    relu = found["relu"]
    assert (relu.low, relu.high, relu.gradient_after) == (0, 10, 1)
    assert (relu.largest_second, relu.second_width) == (0, 0)
    assert found["hard sigmoid"].first_width == pytest.approx(3, abs=1e-3)
