"""Gradient norms through time, against Jacobians and finite differences in NumPy."""

import functools

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seqmodels as sm
from seqmodels.analysis.gradients import (
    clipping,
    fit_decay,
    leaf_gradient_norms,
    state_gradient_norms,
)
from seqmodels.training.parallel.mesh import make_mesh
from seqmodels.training.steps import over_seeds


def test_tanh_rnn_is_the_product_of_its_jacobians():
    cell = sm.rnn(cases.D, cases.H)
    params, xs = cases.params_of(cell), cases.inputs((2,))
    direction = jnp.arange(1.0, cases.H + 1)
    norms = state_gradient_norms(cell, params, xs, lambda ys: jnp.sum(ys[-1] @ direction))
    p, x = oracle.as_numpy((params, xs))
    for n in range(2):
        h, hs = np.zeros(cases.H), []
        for t in range(cases.T):
            h = np.tanh(x[t, n] @ p.w_x + h @ p.w_h + p.b)
            hs.append(h)
        gradient = np.asarray(direction, np.float64)
        for t in reversed(range(cases.T)):
            gradient = p.w_h @ ((1 - hs[t] ** 2) * gradient)
            assert norms[t, n] == pytest.approx(np.linalg.norm(gradient), rel=1e-4)


def test_all_leaves_count_and_what_comes_before_a_latch_does_not():
    """An LSTM that ignores h and forgets nothing: d c_T / d c_t is 1, whatever the distance."""
    params = sm.lstm(1, 1).init(jax.random.key(0))
    params = jax.tree.map(jnp.zeros_like, params)
    params = params._replace(b=jnp.array([-100.0, 100.0, 0.0, 100.0]))
    xs = jnp.zeros((50, 3, 1))
    norms = state_gradient_norms(sm.lstm(1, 1), params, xs, lambda ys: jnp.sum(ys[-1]))
    np.testing.assert_allclose(norms, 1, rtol=1e-5)


def test_very_small_gradients_are_not_lost():
    """W_h = I / 2 and no input: the norm is 2^-n, far below the root of the smallest float32."""
    cell = sm.rnn(1, 4, w_h_init=sm.initializers.identity(0.5))
    norms = state_gradient_norms(
        cell, cell.init(jax.random.key(0)), jnp.zeros((110, 1)), lambda ys: jnp.sum(ys[-1])
    )
    for steps in (1, 50, 100, 110):
        assert norms[-steps] == pytest.approx(2 * 0.5**steps, rel=1e-5)


def test_a_state_without_numbers():
    cell = sm.Cell(lambda key: (), lambda params, batch: (), lambda p, s, x_t: (s, x_t))
    norms = state_gradient_norms(cell, (), jnp.ones((3, 2, 1)), lambda ys: jnp.sum(ys))
    assert norms.tolist() == [[0.0, 0.0]] * 3


def test_stacks_and_no_batch_axis():
    cell = sm.stack([sm.lstm(cases.D, cases.H), sm.gru(cases.H, cases.H)])
    params, xs = cases.params_of(cell), cases.inputs(())
    norms = state_gradient_norms(cell, params, xs, lambda ys: jnp.sum(ys[-1]))
    start = cell.initial_state(params)
    whole = jax.grad(lambda s: jnp.sum(sm.unroll(cell, params, xs, s)[1][-1]))(start)
    want = np.sqrt(sum(np.sum(np.square(a)) for a in jax.tree.leaves(whole)))
    assert norms.shape == (cases.T,)
    assert norms[0] == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("num_devices", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_seeds_on_several_devices_do_not_add_up(num_devices):
    cell, xs = sm.lstm(cases.D, cases.H), cases.inputs((2,))

    def norms(key):
        return state_gradient_norms(cell, cell.init(key), xs, lambda ys: jnp.sum(ys[-1]))

    keys = jax.vmap(jax.random.key)(jnp.arange(4))
    spread = over_seeds(norms, make_mesh(num_devices, "seeds"))(keys)
    cases.assert_close(spread, jnp.stack([norms(key) for key in keys]), 1e-5)


def complex_cell(decay):
    """s_t = decay s_tm1 + x_t, y_t = (Re s, Im s)."""

    def step(params, s, x_t):
        s = decay * s + jnp.asarray(x_t, jnp.float32)
        return s, jnp.concatenate([s.real, s.imag], axis=-1)

    return sm.Cell(
        lambda key: (), lambda params, batch: jnp.zeros((*batch, 2), jnp.complex64), step
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.int8])
def test_complex_states_count_with_both_parts(dtype):
    """d Im s_T / d s_t = Im(decay^n (a + ib)): of the size |decay|^n, whatever the angle."""
    cell = complex_cell(0.5 * np.exp(1j))
    xs = jnp.ones((30, 3, 2), dtype)
    norms = state_gradient_norms(cell, (), xs, lambda ys: jnp.sum(ys[-1, :, 2:]))
    assert norms.dtype == jnp.float32
    want = np.sqrt(2) * 0.5 ** np.arange(30.0, 0, -1)
    np.testing.assert_allclose(norms, np.repeat(want[:, None], 3, 1), rtol=1e-5)


def test_a_linear_recurrent_unit_agrees_with_its_own_gradient():
    cell = sm.lru(cases.D, cases.H)
    params, xs = cases.params_of(cell), cases.inputs(())
    norms = state_gradient_norms(cell, params, xs, lambda ys: jnp.sum(ys[-1]))
    start = cell.initial_state(params)
    whole = jax.grad(lambda s: jnp.sum(sm.unroll(cell, params, xs, s)[1][-1]))(start)
    want = np.sqrt(sum(np.sum(np.abs(a) ** 2) for a in jax.tree.leaves(whole)))
    assert want > 0
    assert norms[0] == pytest.approx(want, rel=1e-5)


def test_a_cell_compiles_once():
    counts = []
    cell = complex_cell(0.5)
    cell = cell._replace(step=lambda *a, step=cell.step: (counts.append(0), step(*a))[1])
    traced = []
    for scale in (1.0, 2.0, 3.0):
        score = functools.partial(lambda scale, ys: scale * jnp.sum(ys[-1]), scale)
        norms = state_gradient_norms(cell, (), jnp.ones((4, 1, 2)), score)
        assert norms[0, 0] == pytest.approx(scale * 2 * 0.5**4, rel=1e-5)
        traced.append(len(counts))
    assert traced[0] == traced[-1]


@pytest.mark.parametrize("score", [lambda ys: ys[-1], lambda ys: jnp.sum(ys).astype(complex)])
def test_the_score_is_one_real_number(score):
    with pytest.raises(ValueError, match=r"score: got .*, expected one real number"):
        state_gradient_norms(complex_cell(0.5), (), jnp.ones((2, 2)), score)


def test_each_leaf_equals_finite_differences_in_float64():
    """An LSTM below a GRU with lengths, a mask and resets, differentiated by NumPy's loop."""
    with jax.enable_x64(True):
        cell = sm.stack([sm.lstm(cases.D, 2), sm.gru(2, 3)])
        params, xs = cases.to64(cases.params_of(cell)), cases.to64(cases.inputs())
        contract = cases.as_arrays(cases.LENGTHS, cases.RESETS, cases.MASK)
        weights = jnp.cos(jnp.arange(cases.T * 4 * 3.0)).reshape(cases.T, 4, 3)
        got = leaf_gradient_norms(cell, params, xs, lambda ys: jnp.sum(ys * weights), **contract)
    steps = oracle.lstm_step, oracle.gru_step
    p, x = [oracle.as_numpy(a) for a in params], np.asarray(xs)
    for n in (0, 3):

        def score(nudge_t, layer, name, nudge, n=n):
            """The score of row n; `nudge` is added to a leaf of the state that enters a step."""
            fresh = [{"h": np.zeros(2), "c": np.zeros(2)}, {"h": np.zeros(3)}]
            states, total = list(fresh), 0.0
            for t in range(cases.LENGTHS[n]):
                if cases.RESETS[t, n]:
                    states = list(fresh)
                if t == nudge_t:
                    moved = states[layer][name] + nudge
                    states[layer] = states[layer] | {name: moved}
                if cases.MASK[t, n]:
                    y = x[t, n]
                    for k in range(2):
                        states[k], y = steps[k](p[k], states[k], y)
                    total += y @ np.asarray(weights)[t, n]
            return total

        for layer, name, size in ((0, "h", 2), (0, "c", 2), (1, "h", 3)):
            for t in range(cases.T):
                nudges = 1e-5 * np.eye(size)
                differences = [
                    (score(t, layer, name, e) - score(t, layer, name, -e)) / 2e-5 for e in nudges
                ]
                want = np.linalg.norm(differences)
                assert got[layer][name][t, n] == pytest.approx(want, rel=1e-6, abs=1e-9)


def test_both_directions_of_a_pair():
    pair = sm.bidirectional(sm.lstm(cases.D, cases.H), sm.gru(cases.D, cases.H))
    params, xs = cases.params_of(pair), cases.inputs((2,))
    got = leaf_gradient_norms(pair, params, xs, lambda ys: jnp.sum(ys[3]))
    forward = leaf_gradient_norms(
        sm.lstm(cases.D, cases.H), params.forward, xs, lambda ys: jnp.sum(ys[3])
    )
    backward = leaf_gradient_norms(
        sm.gru(cases.D, cases.H), params.backward, xs, lambda ys: jnp.sum(ys[3]), reverse=True
    )
    cases.assert_close(got.forward, forward, 1e-5)
    cases.assert_close(got.backward, backward, 1e-5)
    assert not np.asarray(got.forward["h"][4:]).any()
    assert not np.asarray(got.backward["h"][:3]).any()


@settings(max_examples=30, deadline=None)
@given(rate=st.floats(0.3, 1.5), scale=st.floats(0.01, 100), gap=st.integers(0, 6))
def test_decay_of_an_exact_line_with_gaps(rate, scale, gap):
    norms = np.float32(scale * rate ** np.arange(9.0, -1, -1))
    norms[gap] = 0
    norms[gap + 2] = np.nan
    found = fit_decay(norms)
    np.testing.assert_allclose([found.rate, found.scale], [rate, scale], rtol=1e-3)
    assert found.r_squared == pytest.approx(1, abs=1e-3)


def test_decay_equals_polyfit():
    norms = np.exp(np.random.default_rng(0).normal(size=(12, 3))).astype(np.float32)
    distances = np.arange(12) ** 1.5
    valid = np.arange(12)[:, None] < np.array([12, 5, 1])
    found = fit_decay(norms, distances, valid=valid)
    for n, count in enumerate((12, 5)):
        x, y = distances[:count], np.log(norms[:count, n])
        slope, start = np.polyfit(x, y, 1)
        left = np.sum((y - start - slope * x) ** 2) / np.sum((y - y.mean()) ** 2)
        want = [np.exp(slope), np.exp(start), 1 - left]
        np.testing.assert_allclose([leaf[n] for leaf in found], want, rtol=1e-4)
    assert np.isnan([leaf[2] for leaf in found]).all()


def test_clipping_is_that_of_the_optimizer():
    norms = np.array([0.5, 3.0, 1.0, 40.0], np.float32)
    found = clipping(norms, 1.5)
    for norm, factor in zip(norms, found.factor, strict=True):
        clipped, _ = optax.clip_by_global_norm(1.5).update(jnp.array([norm]), optax.EmptyState())
        assert factor * norm == pytest.approx(float(clipped[0]), rel=1e-6)
    assert (found.share, found.mean_factor) == (0.5, np.mean(found.factor))
    assert clipping(norms, np.inf).share == 0
    # As in the records of a training, a step without a finite norm does not count.
    more = clipping([*norms, np.nan, np.inf], 1.5)
    np.testing.assert_array_equal(more.factor, [*found.factor, np.nan, np.nan])
    assert (more.share, more.mean_factor) == (found.share, found.mean_factor)
    with pytest.raises(ValueError, match="clip_norm: got 0, expected a positive number"):
        clipping(norms, 0)
