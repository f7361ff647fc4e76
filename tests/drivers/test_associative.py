"""The associative driver: whom it serves, what passes a reset, states of several leaves."""

import functools

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm
from seqmodels.drivers.associative import linear_recurrence

T, D, H = cases.T, cases.D, cases.H
NAMES = ["min_gru", pytest.param("min_lstm", marks=pytest.mark.slow), "lru"]
every_cell = pytest.mark.parametrize("name", NAMES)


@pytest.mark.parametrize(
    ("cell", "others"),
    [
        (sm.lstm(D, H), "'scan', 'fused' or 'chunked'"),
        (sm.lstm(D, H)._replace(stages=()), "'scan'"),
        (sm.min_gru(D, H)._replace(output=None), "'scan'"),
    ],
)
def test_other_cells_are_told_where_to_go(cell, others):
    params = cases.init(cell)
    with pytest.raises(TypeError, match="associative: got a cell without elements") as error:
        sm.unroll(cell, params, cases.inputs(), method="associative")
    assert str(error.value).endswith(f"for this cell method={others}")
    assert "\n" not in str(error.value)


def test_recurrence_by_hand():
    a = jnp.array([[2.0], [3.0], [0.0], [-1.0]])
    b = jnp.array([[1.0, 1.0], [0.0, 2.0], [5.0, 5.0], [1.0, 1.0]])
    state = jnp.array([1.0, 10.0])
    run = lambda a=a, **rest: linear_recurrence(a, b, state, **rest).tolist()  # noqa: E731
    assert run() == [[3, 21], [9, 65], [5, 5], [-4, -4]]
    assert run(reverse=True) == [[31, 35], [15, 17], [5, 5], [0, -9]]
    resets = jnp.array([[False, True], [True, False], [False, False], [False, True]])
    fresh = jnp.array([100.0, 7.0])
    assert run(resets=resets, fresh=fresh) == [[3, 15], [300, 47], [5, 5], [-4, -6]]
    assert run(resets=resets, fresh=fresh, reverse=True) == [[601, 15], [300, 17], [5, 5], [0, -6]]
    assert run(a=jnp.full((1, 1), 2.0)) == [[3, 21], [6, 44], [17, 93], [35, 187]]


@every_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_nan_before_a_reset_stays_there(name, reverse):
    """In the values wherever it comes from, in gradients where no parameter meets it."""
    cell, _ = cases.CELLS[name]
    params, xs = cases.params_of(cell), cases.inputs((2,))
    resets = np.zeros((T, 2), bool)
    resets[3] = True
    bad = T - 1 if reverse else 0
    clean, dirty = (slice(0, 4), slice(4, T)) if reverse else (slice(3, T), slice(0, 3))
    contract = {"resets": resets, "reverse": reverse, "method": "associative"}
    want = sm.unroll_full(cell, params, xs, **contract)
    got = sm.unroll_full(cell, params, xs.at[bad].set(jnp.nan), **contract)
    assert np.isnan(got.ys[dirty]).all()
    cases.assert_close(got.ys[clean], want.ys[clean])
    kept = lambda states: jax.tree.map(lambda a: a[clean], states)  # noqa: E731
    cases.assert_close(kept(got.states), kept(want.states))

    def score(xs):  # of outputs after the reset, by inputs on both sides of it
        return jnp.sum(sm.unroll(cell, params, xs, **contract)[1][clean])

    @jax.jit
    def derivatives(xs):
        return jax.grad(score)(xs), jax.jvp(score, (xs,), (jnp.ones_like(xs),))[1]

    gradient, slope = derivatives(xs.at[bad].set(jnp.nan))
    wanted_gradient, _ = derivatives(xs)
    cases.assert_close(gradient[clean], wanted_gradient[clean])
    assert not np.any(wanted_gradient[dirty])
    cases.assert_close(slope, jnp.sum(gradient[clean]), 1e-5)

    first = np.zeros((T, 2), bool)
    first[bad] = True
    nan = jax.tree.map(lambda a: jnp.full_like(a, jnp.nan), cases.state_of(cell, params, (2,)))

    def loss(params, state):
        contract = {"resets": first, "reverse": reverse, "method": "associative"}
        return jnp.sum(sm.unroll(cell, params, xs, state, **contract)[1])

    gradient = jax.jit(jax.grad(loss))
    cases.assert_close(gradient(params, nan), gradient(params, None))


def test_a_state_of_matrices_and_elements_of_fewer_entries():
    cell = cases.linear_attention()
    contract = {"lengths": cases.LENGTHS.reshape(2, 2), "resets": cases.RESETS.reshape(T, 2, 2)}

    def loss(params, xs, state, method, options):
        final, ys = sm.unroll(cell, params, xs, state, method=method, **options)
        return jnp.sum(jnp.sin(ys)) + jnp.sum(final["memory"] ** 2), (final, ys)

    with jax.enable_x64(True):
        params, xs = cases.to64((cases.init(cell), cases.inputs((2, 2))))
        state = cases.to64(cases.state_of(cell, params, (2, 2)))
        for options in ({}, {**contract, "reverse": True}):
            got, want = (
                jax.jit(
                    jax.value_and_grad(
                        functools.partial(loss, method=method, options=options),
                        (0, 1, 2),
                        has_aux=True,
                    )
                )(params, xs, state)
                for method in ("associative", "scan")
            )
            cases.assert_close(got, want, 1e-11)


def test_elements_without_a_derivative_at_zero():
    """The padding is computed with something, and that must not reach the parameters."""
    cell = sm.make_linear_cell(
        lambda key: jnp.eye(D),
        lambda params, batch_shape: jnp.zeros((*batch_shape, D)),
        lambda params, x_t: (0.5, jnp.log(x_t) @ params),
        lambda params, state, x_t: state / jnp.linalg.norm(x_t @ params, axis=-1, keepdims=True),
    )
    xs = 1 + jnp.abs(cases.inputs())

    def loss(params, xs, method, **contract):
        return jnp.sum(sm.unroll(cell, params, xs, method=method, **contract)[1])

    def gradient(xs, method, **contract):
        run = jax.grad(functools.partial(loss, method=method, **contract))
        return jax.jit(run)(jnp.eye(D), xs)

    got = gradient(xs, "associative", lengths=cases.LENGTHS)
    want = sum(gradient(xs[:length, n], "scan") for n, length in enumerate(cases.LENGTHS))
    cases.assert_close(got, want, 1e-5)


def test_in_combinators():
    """Every layer runs under the driver, and gives what the steps give."""
    cell = sm.bidirectional(
        sm.stack([sm.min_gru(D, H), sm.residual(sm.lru(H, H))]), sm.dropout(sm.min_lstm(D, H), 0.5)
    )
    params, xs = cases.params_of(cell), cases.inputs()
    contract = {"lengths": cases.LENGTHS, "resets": cases.RESETS, "key": jax.random.key(3)}
    got, want = (
        sm.unroll_full(cell, params, xs, method=method, **contract)
        for method in ("associative", "scan")
    )
    cases.assert_close(got.ys, want.ys)
    cases.assert_close(got.states.forward, want.states.forward)
    cases.assert_close(got.states.backward.cell, want.states.backward.cell)
    infos = jax.tree.leaves(got.info, is_leaf=lambda info: isinstance(info, sm.Info))
    assert [info.method for info in infos] == ["associative"] * 3


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.int32])
def test_a_leaf_that_no_derivative_reaches(dtype):
    """A normalizer next to what it normalizes."""

    def initial_state(params, batch_shape):
        return {"h": jnp.zeros((*batch_shape, D)), "n": jnp.zeros(batch_shape, dtype)}

    def elements(params, x_t):
        return {"h": params, "n": 1}, {"h": x_t, "n": 1}

    cell = sm.make_linear_cell(
        lambda key: jnp.full(D, 0.5), initial_state, elements,
        lambda params, s, x_t: s["h"] / s["n"][..., None],
    )  # fmt: skip
    xs = cases.inputs()

    def loss(params, method):
        return jnp.sum(sm.unroll(cell, params, xs, method=method, lengths=cases.LENGTHS)[1] ** 2)

    for derivative in (jax.grad, jax.jacfwd, jax.hessian):
        got, want = (
            jax.jit(derivative(functools.partial(loss, method=method)))(jnp.full(D, 0.5))
            for method in ("associative", "scan")
        )
        cases.assert_close(got, want, 1e-5)
