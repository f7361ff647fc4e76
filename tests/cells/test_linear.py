"""Linear recurrences: worked by hand, what they start from, what extremes do to them."""

import math

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

import seqmodels as sm
from seqmodels.cells import (
    LRUParams,
    LRUState,
    MinGRUParams,
    MinGRUState,
    MinLSTMParams,
    MinLSTMState,
    lru_init,
    lru_step,
    min_gru_step,
    min_lstm_step,
)

D, H = cases.D, cases.H
METHODS = pytest.mark.parametrize("method", ["associative", "scan"])


def sigmoid(a):
    return 1 / (1 + math.exp(-a))


def test_worked_by_hand():
    """One unit, x = 1."""
    x, h, zero = jnp.ones(1), jnp.full(1, 0.5), jnp.zeros(1)

    params = MinGRUParams(jnp.array([[1.0, 2.0]]), jnp.array([0.0, -4.0]))  # z = 1, n = -2
    _, y = min_gru_step(params, MinGRUState(h), x)
    assert y[0] == pytest.approx((1 - sigmoid(1)) * 0.5 + sigmoid(1) * -2, rel=1e-6)
    _, y = min_gru_step(params, MinGRUState(h), x, positive=True)
    assert y[0] == pytest.approx((1 - sigmoid(1)) * 0.5 + sigmoid(1) * sigmoid(-2), rel=1e-6)
    _, y = min_gru_step(params._replace(b=jnp.zeros(2)), MinGRUState(h), x, positive=True)
    assert y[0] == pytest.approx((1 - sigmoid(1)) * 0.5 + sigmoid(1) * 2.5, rel=1e-6)

    params = MinLSTMParams(jnp.array([[1.0, 2.0, 3.0]]), jnp.zeros(3))
    _, y = min_lstm_step(params, MinLSTMState(h), x)
    total = sigmoid(1) + sigmoid(2)
    assert y[0] == pytest.approx((sigmoid(2) * 0.5 + sigmoid(1) * 3) / total, rel=1e-6)
    _, y = min_lstm_step(params, MinLSTMState(h), x, positive=True)
    assert y[0] == pytest.approx((sigmoid(2) * 0.5 + sigmoid(1) * 3.5) / total, rel=1e-6)

    one = jnp.ones((1, 1))
    params = LRUParams(  # lambda = i / 2, gamma = 3, B = 1 + 2i, C = 1 + i, W_y = 7
        nu_log=jnp.log(jnp.log(2 + zero)),
        theta_log=jnp.log(jnp.pi / 2 + zero),
        gamma_log=jnp.log(3 + zero),
        b_re=one,
        b_im=2 * one,
        c_re=one,
        c_im=one,
        w_y=7 * one,
    )
    state, y = lru_step(params, LRUState(jnp.full(1, 1 + 1j)), x)
    cases.assert_close(state.h, np.array([2.5 + 6.5j]))  # i / 2 * (1 + i) + 3 * (1 + 2i)
    assert y[0] == pytest.approx(2.5 - 6.5 + 7, rel=1e-6)


@METHODS
def test_a_cell_of_ones_own(method):
    """Elements that are numbers, or stand for several leaves; the output is the state."""
    zeros = lambda params, batch_shape: jnp.zeros((*batch_shape, 1))  # noqa: E731
    cell = sm.make_linear_cell(lambda key: 0.5, zeros, lambda params, x_t: (params, x_t))
    xs = jnp.ones((4, 1))
    state, ys = sm.unroll(cell, 0.5, xs, method=method)
    assert ys[:, 0].tolist() == [1, 1.5, 1.75, 1.875]
    assert state.tolist() == [1.875]
    resets = np.array([False, True, False, True])
    _, ys = sm.unroll(cell, 0.5, xs, 8 + state, resets=resets, reverse=True, method=method)
    assert ys[:, 0].tolist() == [1.5, 1, 1.5, 1]
    starting_at_4 = sm.make_linear_cell(
        cell.init, zeros, cell.elements, reset=lambda params, state: jnp.full_like(state, 4)
    )
    _, ys = sm.unroll(starting_at_4, 0.5, xs, resets=resets, method=method)
    assert ys[:, 0].tolist() == [1, 3, 2.5, 3]

    pair = sm.make_linear_cell(
        cell.init,
        lambda params, batch_shape: {"sum": zeros(params, batch_shape), "mean": jnp.zeros((1,))},
        lambda params, x_t: (
            {"sum": 1.0, "mean": params},
            x_t if method == "scan" else {"sum": x_t, "mean": x_t},
        ),
        lambda params, state, x_t: state["sum"] - state["mean"] + 0 * x_t,
    )
    _, ys = sm.unroll(pair, 0.5, xs, method=method)
    assert ys[:, 0].tolist() == [0, 0.5, 1.25, 2.125]


def test_one_line_for_each_mistake():
    for arguments in [(None, len, len), (len, len, None), (len, len, len, 3)]:
        with pytest.raises(TypeError, match="make_linear_cell: init, initial_state, elements, "):
            sm.make_linear_cell(*arguments)
    with pytest.raises(TypeError, match="gates and reset: expected functions"):
        sm.make_linear_cell(len, len, len, reset=3)
    with pytest.raises(ValueError, match="make_linear_cell: x_ndim: got 0, expected a positive"):
        sm.make_linear_cell(len, len, len, x_ndim=0)

    def run(elements, state=lambda p, batch_shape: jnp.zeros((*batch_shape, D))):
        cell = sm.make_linear_cell(lambda key: (), state, elements)
        with pytest.raises(ValueError) as error:  # noqa: PT011
            sm.unroll(cell, (), jnp.zeros((5, 2, D)), method="associative")
        assert "\n" not in str(error.value)
        return str(error.value)

    assert run(lambda p, x_t: x_t) == "elements: got shapes (2, 3), expected a pair (a_t, b_t)"
    wide = run(lambda p, x_t: (1.0, jnp.zeros((2, D + 1))))
    assert wide.endswith(
        "b_t: got shape (2, 4), expected one that can be broadcast to the state's (2, 3)"
    )
    assert "a_t: got shape (1, 2, 3)" in run(lambda p, x_t: (x_t[None], x_t))
    assert "elements: a_t: got PyTreeDef" in run(lambda p, x_t: ((x_t, x_t), x_t))
    assert "step: got the state complex64[2, 3]" in run(lambda p, x_t: (1j, x_t))

    with pytest.raises(ValueError, match=r"lru: r_min, r_max: got 0.9, 0.5, expected 0 <= < <= 1"):
        sm.lru(D, H, r_min=0.9, r_max=0.5)
    with pytest.raises(ValueError, match=r"lru: r_min, r_max: got 0.0, 1.5, expected"):
        lru_init(jax.random.key(0), D, H, r_max=1.5)
    with pytest.raises(ValueError, match="lru: max_phase: got 0, expected a positive number"):
        sm.lru(D, H, max_phase=0)
    with pytest.raises(ValueError, match="lru: output_size: got 0, expected a positive integer"):
        sm.lru(D, H, output_size=0)
    for make in (sm.min_gru, sm.min_lstm):
        with pytest.raises(ValueError, match="chrono: got 2, expected a number of steps greater"):
            make(D, H, chrono=2)


def test_eigenvalues_lie_in_the_ring():
    size, r_min, r_max, max_phase = 10_000, 0.8, 0.95, 0.3
    cell = sm.lru(D, size, output_size=1, r_min=r_min, r_max=r_max, max_phase=max_phase)
    params = cases.init(cell)
    a, _ = cell.elements(params, jnp.zeros(D))
    radius, phase = np.abs(a.h), np.angle(a.h)
    assert r_min - 1e-6 <= radius.min() <= radius.max() <= r_max + 1e-6
    assert 0 <= phase.min() <= phase.max() <= max_phase + 1e-6
    quantiles = np.linspace(0, 1, 5)
    by_area = r_min**2 + quantiles * (r_max**2 - r_min**2)
    np.testing.assert_allclose(np.quantile(radius**2, quantiles), by_area, atol=0.005)
    np.testing.assert_allclose(np.quantile(phase, quantiles), quantiles * max_phase, atol=0.008)
    np.testing.assert_allclose(np.exp(params.gamma_log), np.sqrt(1 - radius**2), rtol=1e-4)


def test_the_whole_disc_has_no_infinities():
    cell = sm.lru(1, 200_000, output_size=1)  # enough draws to hit a float next to 0 and to 1
    params = cases.init(cell)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    edge = sm.lru(1, 1000, r_min=1 - 1e-7, output_size=1).init(jax.random.key(0))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(edge))


def test_gamma_keeps_the_variance_of_the_state():
    """White noise in: E|h|^2 is that of x B, which is 1, for short memories and for long ones."""
    num_steps, size = 400, 512
    for ring in [(0.0, 0.3), (0.9, 0.95)]:
        cell = sm.lru(size, size, r_min=ring[0], r_max=ring[1], output_size=1)
        params = cases.init(cell)
        xs = jax.random.normal(jax.random.key(1), (num_steps, size))
        states = sm.unroll_full(cell, params, xs, method="associative").states.h
        assert np.mean(np.abs(states[100:]) ** 2) == pytest.approx(1, abs=0.05)


def test_biases_set_the_time_scales():
    """A share a of the state is kept for 1 / (1 - a) steps: from 2 to 50 of them."""
    for make in (sm.min_gru, sm.min_lstm):
        cell = make(D, 1000, chrono=50)
        a, _ = cell.elements(cases.init(cell), jnp.zeros(D))
        np.testing.assert_allclose(np.quantile(1 / (1 - a.h), [0, 0.5, 1]), [2, 26, 50], atol=2)
    kept = lambda cell: cell.elements(cases.init(cell), jnp.zeros(D))[0].h  # noqa: E731
    np.testing.assert_allclose(kept(sm.min_gru(D, H, update_bias=2)), sigmoid(-2), rtol=1e-6)
    share = sigmoid(1) / (sigmoid(0) + sigmoid(1))
    np.testing.assert_allclose(kept(sm.min_lstm(D, H)), share, rtol=1e-6)


def test_shut_gates_of_the_minimal_lstm_still_have_shares():
    """Where sigmoid(i) and sigmoid(f) are both zero in float32, and the quotients are 0 / 0."""
    i, f = (
        jnp.array([-1e4, -201.0, -300.0, 200.0, 0.0]),
        jnp.array([-1e4, -200.0, -200.0, 200.0, 2.0]),
    )
    params = MinLSTMParams(jnp.zeros((D, 15)), jnp.concatenate([i, f, jnp.ones(5)]))
    cell = sm.min_lstm(D, 5)
    a, b = cell.elements(params, jnp.zeros(D))
    want = [0.5, sigmoid(1), 1.0, 0.5, sigmoid(2) / (0.5 + sigmoid(2))]
    np.testing.assert_allclose(a.h, want, rtol=1e-6)
    np.testing.assert_allclose(a.h + b.h, 1, rtol=1e-6)
    slope = jax.jacobian(lambda b: cell.elements(params._replace(b=b), jnp.zeros(D))[0].h)(params.b)
    assert slope[0, 5] == pytest.approx(0.25)  # d f' / d f where both are shut: f' (1 - f')
    assert np.isfinite(slope).all()


@METHODS
@pytest.mark.parametrize("name", ["min_gru", "min_lstm", "lru"])
def test_ten_thousand_steps_with_extreme_gates(name, method):
    """Gates that are open or shut for good, or memories of a million steps, against float64."""
    cell, step = cases.CELLS[name]
    params, xs = cases.params_of(cell), cases.inputs((), 10_000)
    if name == "lru":
        radius_log = jnp.log(jnp.array([1e-6, 1e-3, 1.0, 100.0]))
        params = params._replace(nu_log=radius_log, gamma_log=radius_log / 2)
    else:
        xs = 60 * xs
        share = jnp.array([-100.0, -20.0, 20.0, 100.0])
        params = params._replace(b=params.b.at[:H].add(share))
    state = cases.state_of(cell, params, ())
    final, ys = oracle.unroll(step, params, xs, state._asdict(), cases.fresh_of(cell, params))
    got_final, got_ys = sm.unroll(cell, params, xs, state, method=method)
    scale = np.abs(ys).max()
    cases.assert_close(got_ys / scale, ys / scale, 3e-5)
    cases.assert_close(got_final.h / scale, final["h"] / scale, 3e-5)
    loss = lambda p: jnp.mean(sm.unroll(cell, p, xs, state, method=method)[1] ** 2)  # noqa: E731
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.grad(loss)(params)))


@pytest.mark.parametrize("make", [sm.min_gru, sm.min_lstm, sm.lru])
def test_dtypes(make):
    """States are at least float32 or complex64; matrices follow `dtype`."""
    kind = jnp.complex64 if make is sm.lru else jnp.float32
    xs = cases.inputs((2,))
    reference = make(D, H)
    params = cases.init(reference)
    for dtype in (jnp.bfloat16, jnp.float16, jnp.float32):
        state, ys = sm.unroll(make(D, H, dtype=dtype), params, xs, method="associative")
        assert (ys.dtype, state.h.dtype) == (dtype, kind)
        cases.assert_close(ys, sm.unroll(reference, params, xs)[1], 0.03)
    with jax.enable_x64(True):
        cell = make(D, H, param_dtype=jnp.float64)
        params = cases.init(cell)
        state, ys = sm.unroll(cell, params, jnp.ones((5, 2, D)), method="associative")
        assert {a.dtype for a in (*jax.tree.leaves(params), ys)} == {jnp.dtype("float64")}
        assert state.h.dtype == jnp.promote_types(kind, jnp.float64)
