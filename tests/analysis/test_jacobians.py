"""Products of Jacobians and Lyapunov exponents, against Jacobians worked out in NumPy."""

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

import seqmodels as sm
from seqmodels.analysis import jacobian_product, lyapunov_exponents, spectral_radius


def jacobians(step, params, xs, state):
    """d s_t / d s_tm1 of every step (T, n, n), by central differences in float64."""
    p, xs = oracle.as_numpy((params, xs))
    names, sizes = list(state), np.cumsum([len(v) for v in state.values()])[:-1]

    def flat_step(flat, x):
        new, _ = step(p, dict(zip(names, np.split(flat, sizes), strict=True)), x)
        return np.concatenate([new[name] for name in names])

    flat, found = np.concatenate([np.asarray(v, np.float64) for v in state.values()]), []
    for x in xs:
        moved = [flat_step(flat + e, x) - flat_step(flat - e, x) for e in 1e-6 * np.eye(len(flat))]
        found.append(np.stack(moved, axis=1) / 2e-6)
        flat = flat_step(flat, x)
    return np.stack(found)


def test_product_of_an_lstm():
    """With lengths and a mask; its states h and c are one vector."""
    cell = sm.lstm(cases.D, cases.H)
    params, xs = cases.params_of(cell), cases.inputs()
    state = cases.state_of(cell, params)
    got = jacobian_product(cell, params, xs, state, lengths=cases.LENGTHS, mask=cases.MASK)
    for n in range(4):
        steps = [t for t in range(cases.LENGTHS[n]) if cases.MASK[t, n]]
        first = {"h": state.h[n], "c": state.c[n]}
        want = np.eye(2 * cases.H)
        if steps:
            for factor in jacobians(oracle.lstm_step, params, xs[np.array(steps), n], first):
                want = factor @ want
        matrix = np.exp(got.log_scale[n]) * got.matrix[n]
        np.testing.assert_allclose(matrix, want, rtol=1e-4, atol=1e-5 * np.abs(want).max())
        values = np.linalg.svd(want, compute_uv=False)[:3]
        np.testing.assert_allclose(np.exp(got.log_singular_values[n, :3]), values, rtol=1e-3)


def test_a_batch_without_sequences():
    cell = sm.rnn(1, 3)
    params, xs = cases.init(cell), jnp.zeros((2, 0, 1))
    assert jacobian_product(cell, params, xs).matrix.shape == (0, 3, 3)
    assert lyapunov_exponents(cell, params, xs).shape == (0, 3)


def test_product_below_the_smallest_float():
    cell = sm.rnn(1, 3, w_h_init=sm.initializers.identity(0.01))
    product = jacobian_product(cell, cases.init(cell), jnp.zeros((100, 1)))
    np.testing.assert_allclose(product.log_singular_values, 100 * np.log(0.01), rtol=1e-5)
    zero = sm.rnn(1, 3, w_h_init=sm.initializers.identity(0.0))
    assert jacobian_product(zero, cases.init(zero), jnp.zeros((5, 1))).log_scale == -np.inf


@pytest.mark.parametrize("seed", [0, 1])
def test_linear_network_has_the_logarithm_of_its_spectral_radius(seed):
    matrix = np.random.default_rng(seed).normal(size=(6, 6)) / np.sqrt(6)
    cell = LINEAR
    params = cases.init(cell)._replace(w_h=jnp.asarray(matrix.T, jnp.float32))
    found = lyapunov_exponents(cell, params, jnp.zeros((30_000, 1)), num_exponents=1, warmup=1000)
    radius = np.abs(np.linalg.eigvals(matrix)).max()
    assert found[0] == pytest.approx(np.log(radius), abs=1e-4)


LINEAR = sm.rnn(1, 6, activation=lambda a: a)


def test_all_exponents_and_their_sum():
    """The sum is the mean of log |det J|; each equals QR factors in NumPy; padding counts not."""
    cell = sm.rnn(cases.D, cases.H)
    params, xs = cases.params_of(cell), cases.inputs((3,), 40)
    lengths = np.array([40, 25, 0])
    found = lyapunov_exponents(cell, params, xs, lengths=lengths)
    for n in (0, 1):
        factors = jacobians(oracle.rnn_step, params, xs[: lengths[n], n], {"h": np.zeros(cases.H)})
        logs = [np.linalg.slogdet(factor)[1] for factor in factors]
        assert np.sum(found[n]) == pytest.approx(np.mean(logs), rel=1e-3)
        q = np.linalg.qr(np.asarray(jax.random.normal(jax.random.key(0), (cases.H, cases.H))))[0]
        total = 0
        for factor in factors:
            q, r = np.linalg.qr(factor @ q)
            total = total + np.log(np.abs(np.diag(r)))
        np.testing.assert_allclose(found[n], total / len(factors), rtol=1e-3, atol=1e-4)
    assert np.isnan(found[2]).all()


def test_random_networks_turn_chaotic_near_gain_one():
    """Sompolinsky, Crisanti, Sommers 1988."""
    size = 200
    cell = sm.rnn(1, size)
    draw = jax.random.normal(jax.random.key(1), (size, size)) / jnp.sqrt(size)
    state = sm.cells.RNNState(jax.random.normal(jax.random.key(2), (2, size)))
    params = cases.init(cell)
    exponents = [
        lyapunov_exponents(
            cell, params._replace(w_h=gain * draw), jnp.zeros((300, 2, 1)), state,
            num_exponents=1, warmup=100,
        ).mean()
        for gain in (0.9, 1.5)
    ]  # fmt: skip
    assert -0.3 < exponents[0] < -0.03
    assert 0.03 < exponents[1] < 0.3


def test_complex_states_and_stacks():
    """An LRU forgets at the rate of its largest |lambda|, twice, being complex."""
    cell = sm.stack([sm.lru(cases.D, 2, r_min=0.4, r_max=0.9), sm.rnn(2, 2)])
    params, xs = cases.params_of(cell), cases.inputs((), 60)
    found = lyapunov_exponents(cell, params, xs)
    want = -np.exp(np.asarray(params[0].nu_log))
    assert found.shape == (6,)
    for rate in want:
        assert np.sum(np.abs(found - rate) < 0.1) >= 1
    assert np.sum(found) == pytest.approx(
        2 * want.sum() + np.sum(_rnn_exponents(cell, params, xs)), rel=1e-3
    )


def _rnn_exponents(cell, params, xs):
    ys = sm.unroll(sm.lru(cases.D, 2), params[0], xs)[1]
    factors = jacobians(oracle.rnn_step, params[1], ys, {"h": np.zeros(2)})
    return np.mean([np.linalg.slogdet(factor)[1] for factor in factors])


@pytest.mark.parametrize("size", [1, 7])
def test_spectral_radius(size):
    matrices = np.random.default_rng(size).normal(size=(5, size, size)).astype(np.float32)
    want = np.abs(np.linalg.eigvals(matrices)).max(-1)
    np.testing.assert_allclose(spectral_radius(matrices), want, rtol=1e-4)
    assert spectral_radius(np.triu(np.ones((size, size), np.float32), 1)) == 0


def test_mistakes():
    cell = sm.rnn(1, 2)
    with pytest.raises(ValueError, match="num_exponents: got 3, expected an integer, 1 to 2"):
        lyapunov_exponents(cell, cases.init(cell), jnp.ones((2, 1)), num_exponents=3)
    with pytest.raises(ValueError, match="warmup: got -1, expected an integer, 0 or more"):
        lyapunov_exponents(cell, cases.init(cell), jnp.ones((2, 1)), warmup=-1)
    pair = sm.bidirectional(cell, cell)
    with pytest.raises(TypeError, match="cannot take one step"):
        jacobian_product(pair, cases.init(pair), jnp.ones((2, 1)))
