"""Newton's method: it agrees with the loop, and it claims no convergence that it does not have."""

import functools

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm

D, H = cases.D, cases.H
LONG = 300
CELLS = {"lstm": sm.lstm(D, H), "gru": sm.gru(D, H), "rnn": sm.rnn(D, H)}


@functools.cache
def chaotic(num_steps=200, scale=5.0):
    """A tanh RNN whose state forgets nothing: two of them that differ by 1e-7 soon differ by 1."""
    cell = sm.rnn(D, 8)
    params = cases.init(cell)
    return cell, params._replace(w_h=scale * params.w_h), cases.inputs((2,), num_steps)


def residual_by_loop(cell, params, xs, state, states):
    """The documented residual in NumPy: one step at a time, from the states returned."""
    before = [state, *(jax.tree.map(lambda a, t=t: a[t], states) for t in range(len(xs) - 1))]
    step = jax.jit(cell.step)
    after = [step(params, s, x_t)[0] for s, x_t in zip(before, xs, strict=True)]
    after = jax.tree.map(lambda *a: np.stack(a), *after)
    worst = []
    for a, s in zip(jax.tree.leaves(after), jax.tree.leaves(states), strict=True):
        error, size = np.abs(np.asarray(a) - np.asarray(s)), np.abs(np.asarray(s))
        worst.append(np.max(error.max((0, -1)) / size.max((0, -1))))
    return max(worst)


@pytest.mark.parametrize(
    ("name", "jacobian"),
    [
        ("lstm", "dense"),
        ("lstm", "diagonal"),
        ("gru", "diagonal"),
        ("rnn", "dense"),
        pytest.param("gru", "dense", marks=pytest.mark.slow),
        pytest.param("rnn", "diagonal", marks=pytest.mark.slow),
    ],
)
def test_agrees_with_scan_over_a_long_sequence(name, jacobian):
    cell = CELLS[name]
    params, xs = cases.init(cell), cases.inputs((2,), LONG)

    def loss(params, xs, method):
        full = sm.unroll_full(cell, params, xs, method=method)
        info = (full.info.converged, full.info.iterations)
        return jnp.mean(full.ys**2), (full[:3], info)

    def run(method):
        gradient = jax.grad(functools.partial(loss, method=method), (0, 1), has_aux=True)
        return jax.jit(gradient)(params, xs)

    got, (out, (converged, iterations)) = run(sm.newton(jacobian=jacobian, on_failure="return"))
    want, (wanted_out, _) = run("scan")
    cases.assert_close(out, wanted_out, 5e-6)
    cases.assert_close(got, want, 5e-6)
    assert converged
    assert 2 <= iterations <= 60


@pytest.mark.parametrize("max_iterations", [1, 3, 100])
def test_residual_is_that_of_the_states_returned(max_iterations):
    cell, xs = CELLS["lstm"], cases.inputs((2,), 30)
    params = cases.params_of(cell)
    state = cases.state_of(cell, params, (2,))
    method = sm.newton(max_iterations=max_iterations, on_failure="return", tolerance=1e-5)
    full = sm.unroll_full(cell, params, xs, state, method=method)
    want = residual_by_loop(cell, params, xs, state, full.states)
    np.testing.assert_allclose(full.info.residual, want, rtol=1e-2, atol=2e-7)
    assert full.info.converged == (max_iterations == 100)
    assert full.info.iterations == max_iterations or max_iterations == 100
    assert (want > 1e-3) == (max_iterations < 100)


def test_the_first_k_steps_are_exact_after_k_iterations():
    cell, params, xs = chaotic(40)
    want = sm.unroll(cell, params, xs, method="scan")[1]
    for damping in (0.0, 0.7, 1.0):
        method = sm.newton(max_iterations=5, damping=damping, on_failure="return")
        got = sm.unroll(cell, params, xs, method=method)[1]
        cases.assert_close(got[:6], want[:6], 1e-4)
        assert np.abs(got - want).max() > 0.1


def test_falling_back_is_scan():
    cell, params, xs = chaotic()
    contract = {"lengths": [200, 120], "reverse": True}
    method = sm.newton(max_iterations=1)
    got = sm.unroll_full(cell, params, xs, method=method, **contract)
    # Chaos would magnify the difference between one matrix product and another one like it.
    want = sm.unroll_full(cell, params, xs, method="scan", **contract)
    assert not got.info.converged
    assert got.info.residual > 0.1
    cases.assert_close(got.ys[-5:, :1], want.ys[-5:, :1], 1e-4)
    assert (
        residual_by_loop(
            cell,
            params,
            xs[::-1, :1],
            cell.initial_state(params, (1,)),
            jax.tree.map(lambda a: a[::-1, :1], got.states),
        )
        < 1e-6
    )


@pytest.mark.slow
def test_gradient_after_falling_back_is_that_of_scan():
    cell, xs = CELLS["gru"], cases.inputs((2,), 20)
    params = cases.params_of(cell)
    state = cases.state_of(cell, params, (2,))

    def loss(params, xs, state, method):
        final, ys = sm.unroll(cell, params, xs, state, method=method, lengths=[20, 11])
        return jnp.mean(ys**2) + jnp.sum(jnp.sin(final.h))

    gradient = jax.grad(loss, (0, 1, 2))
    want = gradient(params, xs, state, "scan")
    for jacobian in ("dense", "diagonal"):
        fallback = sm.newton(max_iterations=1, jacobian=jacobian)
        cases.assert_close(gradient(params, xs, state, fallback), want)
        returned = sm.newton(max_iterations=1, jacobian=jacobian, on_failure="return")
        with pytest.raises(AssertionError):
            cases.assert_close(gradient(params, xs, state, returned), want)


def test_raising():
    cell, params, xs = chaotic()
    method = sm.newton(max_iterations=2, on_failure="raise")
    line = r"^newton: a residual of \S+ is left after 2 iterations: raise tolerance, [^\n]*'scan'$"
    with pytest.raises(FloatingPointError, match=line):
        sm.unroll(cell, params, xs, method=method)
    with pytest.raises(FloatingPointError, match=line):
        sm.unroll(sm.stack([cell]), (params,), xs, method=method)
    calm = params._replace(w_h=0.1 * params.w_h)
    sm.unroll(cell, calm, xs, method=sm.newton(on_failure="raise"))


def test_raising_inside_of_jit():
    cell, params, xs = chaotic()
    run = jax.jit(lambda p: sm.unroll(cell, p, xs, method=sm.newton(on_failure="raise"))[1])
    jax.block_until_ready(run(params._replace(w_h=0.1 * params.w_h)))
    jax.effects_barrier()
    with pytest.raises(jax.errors.JaxRuntimeError, match="newton: a residual of nan is left"):
        jax.block_until_ready(run(params._replace(b=params.b.at[0].set(jnp.nan))))


@pytest.mark.parametrize("jacobian", ["dense", "diagonal"])
@pytest.mark.parametrize("on_failure", ["return", "fallback"])
def test_nan_stays(jacobian, on_failure):
    """From the step on where it comes in, in its own row, and never as convergence."""
    cell = CELLS["lstm"]
    params = cases.params_of(cell)
    clean = cases.inputs((2,), 80)
    method = sm.newton(jacobian=jacobian, on_failure=on_failure)
    full = sm.unroll_full(cell, params, clean.at[12, 0, 1].set(jnp.nan), method=method)
    want = sm.unroll_full(cell, params, clean, method="scan")
    assert np.isnan(full.ys[12:, 0]).all()
    assert np.isnan(full.states.c[12:, 0]).all()
    cases.assert_close(full.ys[:12], want.ys[:12], 5e-6)
    cases.assert_close(full.ys[:, 1], want.ys[:, 1], 5e-6)
    assert np.isnan(full.info.residual)
    assert not full.info.converged
    assert full.info.iterations <= 50  # and not one for every step that is NaN


@pytest.mark.parametrize("jacobian", ["dense", "diagonal"])
def test_nan_ends_at_a_reset(jacobian):
    """And costs no iterations behind it."""
    cell, xs = CELLS["lstm"], cases.inputs((2,), 80).at[3].set(jnp.nan)
    params, resets = cases.params_of(cell), np.zeros((80, 2), bool)
    resets[10] = True
    method = sm.newton(jacobian=jacobian, on_failure="return")
    full = sm.unroll_full(cell, params, xs, resets=resets, method=method)
    cases.assert_close(full.ys[10:], sm.unroll(cell, params, xs[10:], method="scan")[1], 5e-6)
    assert np.isnan(full.ys[3:10]).all()
    assert not full.info.converged
    assert full.info.iterations <= 50


@pytest.mark.slow
def test_a_chaotic_cell():
    """Here it may fail or succeed; what it says of itself must be true."""
    cell, params, xs = chaotic()
    start = cell.initial_state(params, (2,))
    said = []
    for settings in (
        {"max_iterations": 100},
        {"max_iterations": 1000},
        {"max_iterations": 1000, "jacobian": "diagonal"},
        {"max_iterations": 1000, "damping": 0.5},
    ):
        method = sm.newton(on_failure="return", **settings)
        full = sm.unroll_full(cell, params, xs, method=method)
        residual = residual_by_loop(cell, params, xs, start, full.states)
        np.testing.assert_allclose(full.info.residual, residual, rtol=1e-2, atol=1e-6)
        assert full.info.converged == (full.info.residual <= 8 * np.finfo(np.float32).eps)
        said.append((bool(full.info.converged), int(full.info.iterations)))
        assert np.isfinite(full.ys).all()
    assert said[0] == (False, 100)
    assert all(converged for converged, _ in said[1:])


def test_damping():
    """1 is the iteration without a derivative: one step is put right by each."""
    cell, params = CELLS["rnn"], cases.params_of(CELLS["rnn"])
    xs = cases.inputs((2,), 50)
    counts = []
    for damping in (0.0, 0.3, 1.0):
        method = sm.newton(damping=damping, on_failure="return")
        full = sm.unroll_full(cell, params, xs, method=method, lengths=[50, 20])
        want = sm.unroll_full(cell, params, xs, method="scan", lengths=[50, 20])
        cases.assert_close((full.ys, full.final_state), (want.ys, want.final_state), 5e-6)
        counts.append(int(full.info.iterations))
    assert counts[0] < counts[1] < counts[2] <= 51


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"tolerance": -1.0}, "newton: tolerance: got -1.0, expected None or a number >= 0"),
        ({"tolerance": float("nan")}, "newton: tolerance: got nan"),
        ({"tolerance": "low"}, "newton: tolerance: got 'low'"),
        ({"max_iterations": 0}, "newton: max_iterations: got 0, expected 1 or more"),
        ({"max_iterations": 2.5}, "newton: max_iterations: got 2.5, expected an integer"),
        ({"jacobian": "full"}, "newton: jacobian: got 'full', expected one of dense, diagonal"),
        ({"damping": 1.5}, "newton: damping: got 1.5, expected 0 <= damping <= 1"),
        ({"damping": float("nan")}, "newton: damping: got nan"),
        ({"on_failure": "ignore"}, "on_failure: got 'ignore', expected one of fallback, raise, re"),
    ],
)
def test_one_line_for_each_setting_out_of_range(settings, line):
    with pytest.raises(ValueError, match=line) as error:
        sm.newton(**settings)
    assert "\n" not in str(error.value)


def counting_cell(step_count):
    """A cell whose output is multiplied by how many steps there were, as `step_count` counts."""

    def step(params, state, x_t):
        count = step_count(state)
        h = jnp.tanh(x_t * params + state["h"])
        return {"count": count, "h": h}, h * count[..., None]

    return sm.Cell(
        init=lambda key: jnp.ones((1, D)) / 2,
        initial_state=lambda params, batch_shape: {
            "count": jnp.zeros(batch_shape, jnp.int32),
            "h": jnp.zeros((*batch_shape, D)),
        },
        step=step,
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_integer_leaves_that_change(reverse):
    cell = counting_cell(lambda state: state["count"] + 1)
    params, contract = cell.init(None), {"lengths": cases.LENGTHS, "resets": cases.RESETS}

    def run(params, method):
        return sm.unroll_full(
            cell, params, cases.inputs(), method=method, reverse=reverse, **contract
        )

    got, want = run(params, "newton"), run(params, "scan")
    cases.assert_close(tuple(got)[:3], tuple(want)[:3])
    assert got.final_state["count"].dtype == jnp.int32
    loss = lambda method, params: jnp.sum(run(params, method).ys ** 2)  # noqa: E731
    got, want = (
        jax.jit(jax.grad(functools.partial(loss, method)))(params) for method in ("newton", "scan")
    )
    cases.assert_close(got, want, 1e-5)


def test_leaves_that_cannot_be_solved_for_are_refused():
    cell = counting_cell(lambda s: s["count"] + jnp.any(s["h"] > 0, axis=-1).astype(jnp.int32))
    with pytest.raises(TypeError, match=r"that depends on a floating one.*method='scan'"):
        sm.unroll(cell, cell.init(None), cases.inputs(), method="newton")
    turning = sm.Cell(
        init=lambda key: (),
        initial_state=lambda params, batch_shape: {"z": jnp.zeros(batch_shape, jnp.complex64)},
        step=lambda params, state, x_t: (state, x_t),
    )
    with pytest.raises(TypeError, match=r"newton: state\['z'\]: got complex64"):
        sm.unroll(turning, (), cases.inputs(), method="newton")


@pytest.mark.slow
@pytest.mark.parametrize("recurrent", [False, True])
def test_dropout_and_stacks(recurrent):
    cell = sm.stack([sm.lstm(D, H), sm.dropout(sm.gru(H, H), 0.5, recurrent=recurrent)])
    params, key = cases.init(cell), jax.random.key(1)
    contract = {"lengths": cases.LENGTHS, "resets": cases.RESETS, "key": key}

    def loss(params, method):
        ys = sm.unroll(cell, params, cases.inputs(), method=method, **contract)[1]
        return jnp.sum(ys**2)

    got, want = (jax.value_and_grad(loss)(params, method) for method in ("newton", "scan"))
    cases.assert_close(got, want, 1e-5)


@pytest.mark.parametrize("jacobian", ["dense", "diagonal"])
def test_cotangents_of_every_state(jacobian):
    with jax.enable_x64(True):
        cell = sm.lstm(D, H, learn_initial_state=True, param_dtype=jnp.float64)
        params, xs = cases.params_of(cell), cases.inputs().astype(jnp.float64)
        method = sm.newton(jacobian=jacobian, on_failure="return", tolerance=1e-15)

        def loss(params, xs, method):
            full = sm.unroll_full(
                cell, params, xs, method=method, lengths=cases.LENGTHS, resets=cases.RESETS
            )
            return sum(jnp.sum(jnp.sin(a) * (n + 1)) for n, a in enumerate(full.states)) + jnp.sum(
                full.final_state.c**2
            )

        def gradient(method):
            return jax.jit(jax.grad(functools.partial(loss, method=method), (0, 1)))(params, xs)

        cases.assert_close(gradient(method), gradient("scan"), 1e-11)
