"""Steps, initializers and factories of the cells."""

import math

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from jax.test_util import check_grads

import seqmodels as sm
from seqmodels.cells import (
    GRUParams,
    GRUState,
    LSTMParams,
    LSTMState,
    RNNParams,
    RNNState,
    gru_init,
    gru_step,
    lru_init,
    lru_step,
    lstm_init,
    lstm_step,
    min_gru_init,
    min_gru_step,
    min_lstm_init,
    min_lstm_step,
    rnn_init,
    rnn_step,
)

D, H = cases.D, cases.H
KEY = 0


@pytest.mark.parametrize("shape", [(), (2,), (5, 2)])
@pytest.mark.parametrize("name", cases.CELLS)
def test_step_on_any_leading_axes(name, shape):
    cell, step = cases.CELLS[name]
    params = cases.params_of(cell)
    x = jax.random.normal(jax.random.key(3), (*shape, D))
    state = cases.state_of(cell, params, shape)
    new, y = cell.step(params, state, x)
    final, ys = oracle.unroll(
        step, params, x[None], cases.as_dict(state), cases.fresh_of(cell, params)
    )
    cases.assert_close(y, ys[0])
    cases.assert_close(cases.as_dict(new), final)


def test_worked_by_hand():
    """One unit, weights of 1, no bias, x = 1, state h = .5 (and c = 2)."""
    one = jnp.ones((1, 1))
    x, h, sigmoid = jnp.ones(1), jnp.full(1, 0.5), 1 / (1 + math.exp(-1.5))

    _, y = rnn_step(RNNParams(one, one, jnp.zeros(1)), RNNState(h), x)
    assert y[0] == pytest.approx(math.tanh(1.5), rel=1e-6)

    four = jnp.ones((1, 4))
    state, y = lstm_step(LSTMParams(four, four, jnp.zeros(4)), LSTMState(h, jnp.full(1, 2.0)), x)
    c = sigmoid * 2 + sigmoid * math.tanh(1.5)
    assert state.c[0] == pytest.approx(c, rel=1e-6)
    assert y[0] == pytest.approx(sigmoid * math.tanh(c), rel=1e-6)

    params = GRUParams(jnp.ones((1, 3)), jnp.ones((1, 2)), one, jnp.zeros(3))
    _, y = gru_step(params, GRUState(h), x)
    n = math.tanh(1 + sigmoid * 0.5)
    assert y[0] == pytest.approx((1 - sigmoid) * n + sigmoid * 0.5, rel=1e-6)

    _, y = gru_step(params._replace(b_n=jnp.ones(1)), GRUState(h), x, reset_after=True)
    n = math.tanh(1 + sigmoid * (0.5 + 1))
    assert y[0] == pytest.approx((1 - sigmoid) * n + sigmoid * 0.5, rel=1e-6)


@pytest.mark.parametrize("name", cases.CELLS)
def test_step_gradients_by_finite_differences(name):
    with jax.enable_x64(True):
        cell, _ = cases.CELLS[name]
        params = cases.to64(cases.params_of(cell))
        x = jax.random.normal(jax.random.key(3), (2, D), jnp.float64)
        state = cases.to64(cases.state_of(cell, params, (2,)))
        check_grads(jax.jit(cell.step), (params, state, x), order=2, modes=["fwd", "rev"])


@pytest.mark.parametrize("name", [name for name, (cell, _) in cases.CELLS.items() if cell.stages])
def test_stages_are_the_step(name):
    """Every project is affine in state and x, and the fold of the stages is the step."""
    cell, _ = cases.CELLS[name]
    params = cases.params_of(cell)
    x, state = cases.inputs()[0], cases.state_of(cell, params)
    carried = state
    for project, update in cell.stages:
        gates = project(params, carried, x)
        scaled = jax.tree.map(lambda a: 3 * a, carried)
        zero = project(params, jax.tree.map(jnp.zeros_like, carried), 0 * x)
        tripled = jax.tree.map(lambda g, z: 3 * g - 2 * z, gates, zero)
        cases.assert_close(project(params, scaled, 3 * x), tripled, 1e-5)
        carried = update(params, carried, gates)
    cases.assert_close(carried, cell.step(params, state, x))


def test_factory_step_is_the_bare_step():
    key, x = jax.random.key(0), cases.inputs()[0]
    for cell, init, step, options in [
        (sm.rnn(D, H), rnn_init, rnn_step, {}),
        (sm.rnn(D, H, activation="relu"), rnn_init, rnn_step, {"activation": "relu"}),
        (sm.lstm(D, H), lstm_init, lstm_step, {}),
        (sm.gru(D, H), gru_init, gru_step, {}),
        (sm.min_gru(D, H, positive=True), min_gru_init, min_gru_step, {"positive": True}),
        (sm.min_lstm(D, H, positive=True), min_lstm_init, min_lstm_step, {"positive": True}),
        (sm.lru(D, H), lru_init, lru_step, {}),
    ]:
        params = init(key, D, H)
        cases.assert_close(cell.init(key), params, 0)
        state = cases.state_of(cell, params)
        cases.assert_close(cell.step(params, state, x), step(params, state, x, **options), 0)


def test_learned_initial_state_gets_a_gradient():
    cell = sm.lstm(D, H, learn_initial_state=True)
    params = cell.init(jax.random.key(0))
    gradient = jax.grad(lambda p: jnp.sum(sm.unroll(cell, p, cases.inputs())[1]))(params)
    assert all(np.abs(leaf).min() > 0 for leaf in gradient.initial)
    assert sm.lstm(D, H).init(jax.random.key(0)).initial is None


@pytest.mark.parametrize("make", [sm.rnn, sm.gru, sm.lstm, sm.min_gru, sm.min_lstm, sm.lru])
def test_sizes_are_checked(make):
    for sizes in [(0, 3), (3, 0), (-1, 3), (2.0, 3), (True, 3), ("3", 3)]:
        with pytest.raises(ValueError, match=f"{make.__name__}: .*expected a positive integer"):
            make(*sizes)


def test_other_mistakes():
    with pytest.raises(ValueError, match="activation: got 'tan', expected one of tanh, relu"):
        sm.rnn(D, H, activation="tan")
    with pytest.raises(ValueError, match="chrono: got 2, expected a number of steps greater"):
        sm.lstm(D, H, chrono=2)
    with pytest.raises(ValueError, match="chrono: got 1, expected a number of steps greater"):
        lstm_init(jax.random.key(0), D, H, chrono=1)
    with pytest.raises(ValueError, match="param_dtype: got int32, expected a floating dtype"):
        sm.gru(D, H, param_dtype=jnp.int32).init(jax.random.key(0))
    cell = sm.lstm(D, H, dtype=jnp.int32)
    with pytest.raises(ValueError, match="dtype: got int32, expected a floating dtype"):
        cell.initial_state(cell.init(jax.random.key(0)))
    with pytest.raises(TypeError, match="make_cell: init, initial_state and reset: expected func"):
        sm.make_cell(None, len, (len, len))
    with pytest.raises(ValueError, match="make_cell: x_ndim: got -1, expected a positive"):
        sm.make_cell(len, len, (len, len), x_ndim=-1)
    for stages in [(), (len,), ((len,),), ((len, 3),)]:
        with pytest.raises(TypeError, match=r"expected one or more pairs of functions"):
            sm.make_cell(len, len, *stages)


def test_recurrent_blocks_are_orthogonal_and_input_blocks_have_their_own_fan():
    size = 64
    params = sm.lstm(size, size).init(jax.random.key(0))
    for block in np.split(np.asarray(params.w_h), 4, axis=1):
        np.testing.assert_allclose(block @ block.T, np.eye(size), atol=1e-5)
    limit = math.sqrt(6 / (2 * size))  # Glorot, Bengio 2010, for (64, 64) and not (64, 256)
    assert 0.98 * limit < np.abs(params.w_x).max() <= limit
    gru = sm.gru(size, size).init(jax.random.key(0))
    for block in [*np.split(np.asarray(gru.w_h), 2, axis=1), np.asarray(gru.w_n)]:
        np.testing.assert_allclose(block @ block.T, np.eye(size), atol=1e-5)


def test_biases():
    def bias_of(cell):
        return np.asarray(cell.init(jax.random.key(0)).b)

    # Recurrent weights that cost nothing: nine orthogonal blocks of this size take 25 s.
    quick = {"w_h_init": sm.initializers.identity()}
    b_i, b_f, b_g, b_o = np.split(bias_of(sm.lstm(D, 1000, **quick)), 4)
    assert set(b_f) == {1.0}
    assert not np.any([b_i, b_g, b_o])
    b_i, b_f, *rest = np.split(bias_of(sm.lstm(D, 1000, chrono=50, **quick)), 4)
    np.testing.assert_array_equal(b_i, -b_f)
    assert not np.any(rest)
    # exp(b_f) is uniform on [1, 49]
    np.testing.assert_allclose(np.quantile(np.exp(b_f), [0, 0.5, 1]), [1, 25, 49], atol=2)
    _, b_z, _ = np.split(bias_of(sm.gru(D, 1000, chrono=50, **quick)), 3)
    np.testing.assert_allclose(np.quantile(np.exp(b_z), [0, 0.5, 1]), [1, 25, 49], atol=2)
    _, b_z, _ = np.split(bias_of(sm.gru(D, 9, update_bias=2)), 3)
    assert set(b_z) == {2.0}


def test_initializers_by_argument():
    identity = sm.initializers.identity(0.5)
    params = sm.rnn(H, H, w_h_init=identity, w_x_init=sm.initializers.lecun_normal).init(
        jax.random.key(0)
    )
    np.testing.assert_array_equal(params.w_h, 0.5 * np.eye(H))
    low = sm.gru(D, H, param_dtype=jnp.bfloat16, learn_initial_state=True).init(jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(low)} == {jnp.dtype("bfloat16")}


def test_keys_decide():
    cell = sm.gru(D, H)
    first, again, other = (cell.init(jax.random.key(n)) for n in (0, 0, 1))
    cases.assert_close(first, again, 0)
    assert np.abs(first.w_x - other.w_x).max() > 0.1
    assert np.abs(first.w_h[:, :H] - first.w_n).max() > 0.1
