"""The dense layer and dropout of all models."""

import doctest

import jax
import jax.numpy as jnp
import numpy as np

from seqmodels.models import layers

KEY = jax.random.key(0)


def test_dense_is_an_affine_map():
    params = layers.dense_init(KEY, 3, 2, jax.nn.initializers.normal())
    params = params._replace(b=jnp.array([0.5, -2.0]))
    inputs = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    want = np.einsum("tbi,io->tbo", inputs, params.w) + np.asarray(params.b)
    np.testing.assert_allclose(layers.dense(params, inputs), want, rtol=1e-6, atol=1e-6)
    assert not layers.dense_init(KEY, 3, 2).b.any()


def test_a_mask_is_shared_along_axes_of_size_1():
    values = layers.dropout(KEY, jnp.ones((50, 30, 4)), 0.25, (1, 30, 4))
    np.testing.assert_array_equal(values, jnp.broadcast_to(values[:1], values.shape))
    assert 0 < int((values[0] == 0).sum()) < 120


def test_the_examples():
    failed, tried = doctest.testmod(layers)
    assert tried
    assert not failed
