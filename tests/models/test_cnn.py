"""Convolution and pooling against loops, the network against its parts."""

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqmodels.models.cnn import cnn, conv, max_pool
from seqmodels.models.layers import DenseParams, dropout

KEY = jax.random.key(0)


def convolved(w, b, maps):
    """The same by its definition, in float64."""
    rows, columns, _, outputs = w.shape
    batch, height, width, _ = maps.shape
    above, left = (rows - 1) // 2, (columns - 1) // 2
    out = np.zeros((batch, height, width, outputs)) + b
    for y in range(height):
        for x in range(width):
            for dy in range(rows):
                for dx in range(columns):
                    v, u = y + dy - above, x + dx - left
                    if 0 <= v < height and 0 <= u < width:
                        out[:, y, x] += maps[:, v, u] @ w[dy, dx]
    return out


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (3, 2), (5, 5)])
@pytest.mark.parametrize("size", [(4, 5), (1, 1), (2, 7)])
def test_conv(kernel, size):
    random = np.random.default_rng(0)
    w, b = random.normal(size=(*kernel, 2, 3)), random.normal(size=3)
    maps = random.normal(size=(2, *size, 2))
    params = DenseParams(jnp.asarray(w, jnp.float32), jnp.asarray(b, jnp.float32))
    got = conv(params, jnp.asarray(maps, jnp.float32))
    np.testing.assert_allclose(got, convolved(w, b, maps), atol=1e-5)


@pytest.mark.parametrize(("height", "width", "size"), [(4, 6, 2), (5, 7, 2), (6, 6, 3), (3, 3, 1)])
def test_max_pool(height, width, size):
    maps = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)
    want = np.empty((2, height // size, width // size, 3), np.float32)
    for y in range(height // size):
        for x in range(width // size):
            square = maps[:, y * size : (y + 1) * size, x * size : (x + 1) * size]
            want[:, y, x] = square.reshape(2, -1, 3).max(axis=1)
    np.testing.assert_array_equal(max_pool(jnp.asarray(maps), size), want)


def test_the_network_is_its_parts():
    model = cases.compiled(cnn((6, 4, 2), output_size=3, channels=(5,), hidden_size=7))
    params = model.init(KEY)
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)  # biases that are not zero
    images = jax.random.normal(jax.random.key(1), (4, 6, 4, 2))
    w, b = (np.asarray(leaf, np.float64) for leaf in params.convs[0])
    maps = np.maximum(convolved(w, b, np.asarray(images, np.float64)), 0)
    maps = maps.reshape(4, 3, 2, 2, 2, 5).max(axis=(2, 4))
    np.testing.assert_allclose(model.features(params, images), maps, atol=1e-5)
    last = jax.tree.map(np.asarray, (params.hidden, params.out))
    hidden = np.maximum(maps.reshape(4, -1) @ last[0].w + last[0].b, 0)
    want = hidden @ last[1].w + last[1].b
    np.testing.assert_allclose(model.apply(params, images), want, rtol=1e-4, atol=1e-4)


def test_dropout_needs_a_key_and_keeps_the_mean():
    model = cases.compiled(cnn((4, 4, 1), output_size=2, channels=(2,), dropout=0.5))
    params = model.init(KEY)
    images = jnp.ones((3, 4, 4, 1))
    np.testing.assert_array_equal(model.apply(params, images), model.apply(params, images))
    one, two = (model.apply(params, images, key=jax.random.key(seed)) for seed in (1, 2))
    assert not np.allclose(one, two)
    values = np.asarray(dropout(KEY, jnp.ones(20_000), 0.3))
    assert set(np.unique(values)) == {np.float32(0), np.float32(1 / 0.7)}
    assert values.mean() == pytest.approx(1, abs=0.02)
    np.testing.assert_array_equal(dropout(KEY, values, 0.0), values)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_dtypes(dtype):
    model = cases.compiled(cnn((4, 4, 1), output_size=2, channels=(2, 3)))
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), model.init(KEY))
    assert model.apply(params, jnp.ones((1, 4, 4, 1))).dtype == dtype


def test_it_is_transformed_as_functions_are():
    model = cases.compiled(cnn((4, 4, 1), output_size=2, channels=(2,), hidden_size=3))
    keys = jax.random.split(KEY, 2)
    both = jax.jit(jax.vmap(model.init))(keys)
    images = jax.random.normal(KEY, (3, 4, 4, 1))
    got = jax.jit(jax.vmap(model.apply, in_axes=(0, None)))(both, images)
    for n in range(2):
        want = model.apply(jax.tree.map(lambda leaf, n=n: leaf[n], both), images)
        np.testing.assert_allclose(got[n], want, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda params: jnp.sum(model.apply(params, images))))
    gradient = gradient(model.init(KEY))
    np.testing.assert_allclose(gradient.out.b, [3, 3], rtol=1e-6)


def test_mistakes():
    with pytest.raises(ValueError, match="image_shape: got 3x9, expected at least 4x4"):
        cnn((3, 9, 1), output_size=2)
    with pytest.raises(ValueError, match="dropout: got 1"):
        cnn((8, 8, 1), output_size=2, dropout=1.0)
    model = cnn((8, 8, 1), output_size=2)
    params = jax.jit(model.init)(KEY)
    with pytest.raises(ValueError, match=r"images: got shape \(8, 8, 1\), expected \(B, 8, 8, 1\)"):
        model.apply(params, jnp.zeros((8, 8, 1)))
