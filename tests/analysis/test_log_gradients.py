"""Logarithms of gradient norms, against the norms themselves and a case known in closed form."""

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm
from seqmodels.analysis.gradients import state_gradient_norms
from seqmodels.analysis.log_gradients import log_state_gradient_norms


def test_they_are_the_logarithms_of_the_norms():
    cell = sm.lstm(cases.D, cases.H)
    params, xs = cases.params_of(cell), cases.inputs((2,))

    def score(ys):
        return jnp.sum(jnp.sin(ys) * jnp.arange(len(ys))[:, None, None])  # reads every output

    found = jax.jit(lambda xs: log_state_gradient_norms(cell, params, xs, score))(xs)
    norms = state_gradient_norms(cell, params, xs, score)
    np.testing.assert_allclose(found, np.log(norms), rtol=1e-5, atol=1e-5)


def test_they_do_not_underflow():
    """W_h = I / 2 and no input: the norm is 2 * 2^-n, which leaves float32 after 150 steps."""
    cell = sm.rnn(1, 4, w_h_init=sm.initializers.identity(0.5))
    params = cell.init(jax.random.key(0))
    found = log_state_gradient_norms(
        cell, params, jnp.zeros((900, 1, 1)), lambda ys: jnp.sum(ys[-1])
    )
    expected = np.log(2) - np.log(2) * np.arange(1, 901)[::-1]
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5)


def test_a_gradient_of_zero():
    cell = sm.rnn(1, 4)
    params = cell.init(jax.random.key(0))
    found = log_state_gradient_norms(cell, params, jnp.zeros((9, 2, 1)), lambda ys: jnp.sum(ys[4]))
    assert np.isneginf(found[5:]).all()
    assert np.isfinite(found[:5]).all()


def test_products_in_low_precision():
    """The norms of a cell with products in bfloat16 are those of float32 to bfloat16's 8 bits."""
    cells = [sm.lstm(cases.D, 32, dtype=dtype) for dtype in (None, jnp.bfloat16)]
    params, xs = cells[0].init(jax.random.key(0)), cases.inputs((2,))
    expected, found = (
        log_state_gradient_norms(cell, params, xs, lambda ys: jnp.sum(jnp.sin(ys[-1])))
        for cell in cells
    )
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=0.03)


@pytest.mark.parametrize("batch_shape", [(), (0,), (2, 3)])
def test_any_batch_axes(batch_shape):
    cell = sm.lru(cases.D, cases.H)  # complex states
    params, xs = cases.params_of(cell), cases.inputs(batch_shape)

    def score(ys):
        return jnp.sum(jnp.sin(ys[-1]))

    found = log_state_gradient_norms(cell, params, xs, score)
    norms = state_gradient_norms(cell, params, xs, score)
    np.testing.assert_allclose(found, np.log(norms), rtol=1e-5, atol=1e-5)


def test_states_and_outputs_of_other_kinds():
    """s_t = s_tm1 / 2 + x_t and a counter; outputs are a dict with the counter."""

    def step(params, state, x_t):
        s, n = params * state[0] + x_t, state[1] + 1
        return (s, n), {"s": s, "n": n}

    def initial_state(params, batch_shape=()):
        return jnp.zeros((*batch_shape, 1)), jnp.zeros(batch_shape, jnp.int32)

    cell = sm.Cell(lambda key: jnp.float32(0.5), initial_state, step)
    found = log_state_gradient_norms(
        cell,
        cases.init(cell),
        jnp.ones((4, 2, 1)),
        lambda ys: jnp.sum(ys["s"][-1] * ys["n"][-1, 0]),
    )
    want = np.log(4 * 0.5 ** np.arange(4, 0, -1))
    np.testing.assert_allclose(found, np.broadcast_to(want[:, None], (4, 2)), rtol=1e-6)
