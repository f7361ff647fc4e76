import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import seqmodels as sm
from seqmodels.models.forecaster import HEADS, LEVELS, forecaster, pooled_quantiles

T, B, D, H, C = 7, 3, 4, 5, 2


def params_of(model, key=0):
    """Parameters whose readout is not 0, as it is at the start."""
    params = model.init(jax.random.key(key))
    w_out = jax.random.normal(jax.random.key(key + 1), params.w_out.shape)
    return params._replace(w_out=w_out)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("cell", [sm.rnn, sm.gru, sm.lstm])
def test_outputs_are_causal_and_of_the_right_shape(cell, head):
    model = forecaster(cell(D, H), hidden_size=H, steps=6, targets=C, head=head)
    params = params_of(model)
    xs = jax.random.normal(jax.random.key(2), (T, B, D))
    outputs = model.apply(params, xs)
    assert outputs.shape == (T, B, 6, C, HEADS[head].size)
    later = model.apply(params, xs.at[4:].set(jnp.nan))
    np.testing.assert_array_equal(outputs[:4], later[:4])


def test_a_fresh_forecaster_tells_zero():
    model = forecaster(sm.lstm(D, H), hidden_size=H, steps=2)
    outputs = model.apply(model.init(jax.random.key(0)), jnp.ones((T, D)))
    np.testing.assert_array_equal(outputs, 0)


def test_running_on_is_reading_what_was_told():
    """Every path of rollout equals a loop that appends its own forecasts to the inputs."""
    model = forecaster(sm.gru(3, H), hidden_size=H, targets=2)
    params = params_of(model)
    xs = jax.random.normal(jax.random.key(3), (T, B, 3))
    clock = jnp.broadcast_to(jnp.arange(T)[:, None], (T, B)).astype(jnp.float32)

    def feed(clock, value, k):
        return clock + 1, jnp.concatenate([value, clock[..., None]], axis=-1)

    paths = model.rollout(params, xs, feed, clock, 4)
    assert paths.shape == (1, T, B, 4, 2)
    for t in (0, 3, T - 1):
        read, values = xs[: t + 1], []
        for k in range(4):
            value = model.apply(params, read)[-1, :, 0, :, 0]
            values.append(value)
            x = jnp.concatenate([value, jnp.full((B, 1), t + k, jnp.float32)], axis=-1)
            read = jnp.concatenate([read, x[None]])
        np.testing.assert_allclose(paths[0, t], jnp.stack(values, axis=1), rtol=2e-5, atol=2e-5)


def test_paths_have_the_distribution_of_the_head():
    model = forecaster(sm.rnn(1, H), hidden_size=H, head="gaussian")
    params = model.init(jax.random.key(0))._replace(b_out=jnp.array([2.0, 0.0]))
    keys = jax.random.split(jax.random.key(1), 20_000)
    paths = model.rollout(params, jnp.zeros((1, 1)), lambda s, v, k: (s, v), (), 2, keys=keys)
    # A readout of 0 for the scale is a standard deviation of 1, and the floor.
    np.testing.assert_allclose(paths.mean(axis=0).ravel(), 2.0, atol=0.03)
    np.testing.assert_allclose(paths.std(axis=0).ravel(), 1.001, atol=0.03)
    found = np.asarray(pooled_quantiles(paths))[0, 0, 0]
    np.testing.assert_allclose(found, 2 + scipy.stats.norm.ppf(LEVELS), atol=0.06)


def test_gaussian_loss_is_the_likelihood():
    outputs = jnp.array([[0.5, 0.3], [-1.0, -2.0]])
    targets = jnp.array([0.1, 0.2])
    scale = np.log1p(np.exp(np.array([0.3, -2.0]) + np.log(np.e - 1))) + 1e-3
    expected = -scipy.stats.norm.logpdf(targets, [0.5, -1.0], scale) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(HEADS["gaussian"].loss(outputs, targets), expected, rtol=1e-5)


def test_quantiles_ascend_and_their_loss_is_least_at_the_true_ones():
    head = HEADS["quantile"]
    outputs = 3 * jax.random.normal(jax.random.key(0), (100, 5))
    assert np.all(np.diff(head.quantiles(outputs), axis=-1) > 0)
    np.testing.assert_allclose(head.mean(outputs), head.quantiles(outputs)[:, 2])
    data = np.random.default_rng(0).exponential(size=4_000)

    def cost(outputs):
        return jnp.mean(head.loss(jnp.broadcast_to(outputs, (len(data), 5)), jnp.asarray(data)))

    outputs = jnp.zeros(5)
    step = jax.jit(lambda o, rate: o - rate * jax.grad(cost)(o))
    for n in range(3_000):
        outputs = step(outputs, 1.0 if n < 2_000 else 0.1)
    found = head.quantiles(outputs)
    np.testing.assert_allclose(found, scipy.stats.expon.ppf(LEVELS), atol=0.12)


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="head: got 'normal', expected one of"):
        forecaster(sm.rnn(1, 2), hidden_size=2, head="normal")
    direct = forecaster(sm.rnn(1, 2), hidden_size=2, steps=3)
    params, xs = direct.init(jax.random.key(0)), jnp.zeros((2, 1))
    with pytest.raises(ValueError, match="got a forecaster of 3 steps"):
        direct.rollout(params, xs, lambda s, v, k: (s, v), (), 2)
    one = forecaster(sm.rnn(1, 2), hidden_size=2)
    params, keys = one.init(jax.random.key(0)), jax.random.split(jax.random.key(0), 2)
    with pytest.raises(ValueError, match="got keys with head point"):
        one.rollout(params, xs, lambda s, v, k: (s, v), (), 2, keys=keys)
