"""Gradient norms through time, against products of Jacobians worked out in NumPy."""

import functools

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

import seqmodels as sm
from seqmodels.analysis.gradient_flow import state_gradient_norms
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
