"""Every cell under every driver keeps the sequence contract.

`scan` against a NumPy loop over single sequences and a differentiated Python loop over steps; the
other drivers against `scan`, in values and gradients, and on the edges against the loops again.
"""

import functools

import chex
import contract_cases as cases
import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

import seqmodels as sm

every_cell = pytest.mark.parametrize("name", cases.CELLS)
OTHERS = [method for method in cases.METHODS if method != "scan"]
every_pair = pytest.mark.parametrize(("name", "method"), cases.pairs(few=["newton"]))
every_other = pytest.mark.parametrize(("name", "method"), cases.pairs(*OTHERS, few=["newton"]))
few_others = pytest.mark.parametrize(("name", "method"), cases.pairs(few=OTHERS))


def wanted(name, params, xs, state=None, **contract):
    cell, step = cases.CELLS[name]
    fresh = cases.fresh_of(cell, params)
    if state is None:
        state = cell.initial_state(params, xs.shape[1:-1])
    final, ys = oracle.unroll(step, params, xs, cases.as_dict(state), fresh, **contract)
    return final, ys


@every_cell
@pytest.mark.parametrize("case", cases.CASES)
def test_values(name, case):
    cell, _ = cases.CELLS[name]
    contract = cases.CASES[case]
    params, xs = cases.params_of(cell), cases.inputs()
    state = cases.state_of(cell, params)
    final, ys = wanted(name, params, xs, state, **contract)
    if "lengths" in contract:
        xs = cases.padded_with_nan(xs, contract["lengths"])
    got_final, got_ys = sm.unroll(cell, params, xs, state, method="scan", **contract)
    cases.assert_close(got_ys, ys)
    cases.assert_close(cases.as_dict(got_final), final)


@few_others
@pytest.mark.parametrize("batch_shape", [(), (1,), (2, 3)])
def test_batch_axes(name, method, batch_shape):
    cell, _ = cases.CELLS[name]
    params, xs = cases.params_of(cell), cases.inputs(batch_shape)
    rng = np.random.default_rng(0)
    contract = {
        "lengths": rng.integers(0, cases.T + 1, batch_shape),
        "resets": rng.random((cases.T, *batch_shape)) < 0.3,
    }
    final, ys = wanted(name, params, xs, **contract)
    got_final, got_ys = sm.unroll(cell, params, xs, method=cases.METHODS[method], **contract)
    cases.assert_close(got_ys, ys)
    cases.assert_close(cases.as_dict(got_final), final)


@every_pair
@pytest.mark.parametrize("num_steps", [0, 1])
def test_short(name, method, num_steps):
    cell, _ = cases.CELLS[name]
    params, xs = cases.params_of(cell), cases.inputs((2,), num_steps)
    state = cases.state_of(cell, params, (2,))
    resets = np.ones((num_steps, 2), bool)
    final, ys = wanted(name, params, xs, state, resets=resets)
    full = sm.unroll_full(cell, params, xs, state, resets=resets, method=cases.METHODS[method])
    chex.assert_shape(full.ys, (num_steps, 2, cases.H))
    cases.assert_close(full.ys, ys)
    cases.assert_close(cases.as_dict(full.final_state), final)
    assert jax.tree.leaves(full.states)[0].shape == (num_steps, 2, cases.H)


@pytest.mark.parametrize("method", ["chunked", sm.chunked(memory_budget="1GiB")])
@pytest.mark.parametrize("num_steps", [0, 1, 2])
def test_a_plan_for_hardly_any_steps(num_steps, method):
    cell, params = sm.lstm(cases.D, cases.H), cases.params_of(sm.lstm(cases.D, cases.H))
    xs = cases.inputs((2,), num_steps)
    want = sm.unroll(cell, params, xs, method="scan")
    cases.assert_close(sm.unroll(cell, params, xs, method=method), want)


def loop(cell, params, xs, state, fresh, lengths, resets, reverse):
    """The contract for one sequence as a Python loop over steps, differentiable, float64."""
    order = range(lengths)[:: -1 if reverse else 1]
    ys = [jnp.zeros(cases.H)] * xs.shape[0]
    for t in order:
        if resets[t]:
            state = fresh(params)
        state, ys[t] = cell.step(params, state, xs[t])
    return state, jnp.stack(ys)


@every_cell
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("case", ["plain", "both"])
def test_gradients(name, case, reverse):
    """Of parameters, inputs and state, for cotangents of every output, in float64."""
    with jax.enable_x64(True):
        cell, _ = cases.CELLS[name]
        params = cases.to64(cases.params_of(cell))
        xs, state = cases.to64(cases.inputs()), cases.to64(cases.state_of(cell, params))
        lengths, resets = np.full(4, cases.T), np.zeros((cases.T, 4), bool)
        contract = {"reverse": reverse}
        if case == "both":
            lengths, resets = cases.LENGTHS, cases.RESETS
            contract |= {"lengths": lengths, "resets": resets}

        def score(final, ys):
            weights = jnp.arange(1.0, ys.size + 1).reshape(ys.shape)
            return jnp.sum(jnp.sin(ys) * weights) + sum(
                jnp.sum(a**3 * (n + 1)) for n, a in enumerate(cases.reals(final))
            )

        def by_driver(params, xs, state):
            padded = cases.padded_with_nan(xs, lengths)
            return score(*sm.unroll(cell, params, padded, state, method="scan", **contract))

        def by_loop(params, xs, state):
            def fresh(params):
                return cell.initial_state(params, ())

            one = [
                loop(
                    cell,
                    params,
                    xs[:, n],
                    jax.tree.map(lambda a, n=n: a[n], state),
                    fresh,
                    int(lengths[n]),
                    resets[:, n],
                    reverse,
                )
                for n in range(4)
            ]
            final = jax.tree.map(lambda *a: jnp.stack(a), *[final for final, _ in one])
            return score(final, jnp.stack([ys for _, ys in one], axis=1))

        got = jax.jit(jax.grad(by_driver, (0, 1, 2)))(params, xs, state)
        want = jax.grad(by_loop, (0, 1, 2))(params, xs, state)
        cases.assert_close(got, want, 1e-11)
        for n, length in enumerate(lengths):
            assert not np.any(np.asarray(got[1])[length:, n])


def weighted(tree):
    """A number on which every entry of a result has an influence of its own."""
    return sum(
        jnp.sum(jnp.sin(a) * jnp.arange(1.0, a.size + 1).reshape(a.shape) / a.size)
        for leaf in jax.tree.leaves(tree)
        for a in cases.reals(leaf)
    )


@functools.cache
def compiled(name, method, reverse):
    """Outputs, and the gradients of parameters, inputs and state from cotangents of all of them.

    Compiled once for all cases that differ in their arrays alone.
    """

    def run(params, xs, state, contract):
        full = sm.unroll_full(
            cases.CELLS[name][0],
            params,
            xs,
            state,
            method=cases.METHODS[method],
            reverse=reverse,
            **contract,
        )
        assert full.info.method == method
        return weighted(full[:3]), full[:3]

    return jax.jit(jax.value_and_grad(run, (0, 1, 2), has_aux=True))


@functools.cache
def results(name, method, case):
    with jax.enable_x64(True):
        cell, _ = cases.CELLS[name]
        contract = dict(cases.CASES[case])
        params = cases.to64(cases.params_of(cell))
        xs, state = cases.to64(cases.inputs()), cases.to64(cases.state_of(cell, params))
        if "lengths" in contract:
            xs = cases.padded_with_nan(xs, contract["lengths"])
        run = compiled(name, method, contract.pop("reverse", False))
        return run(params, xs, state, contract)


@every_other
@pytest.mark.parametrize("case", cases.CASES)
def test_values_and_gradients_are_those_of_scan(name, method, case):
    """In float64; of parameters, inputs and state, for cotangents of everything returned."""
    (_, out), gradients = results(name, method, case)
    (_, wanted_out), wanted_gradients = results(name, "scan", case)
    cases.assert_close(out, wanted_out, 1e-11)
    cases.assert_close(gradients, wanted_gradients, 1e-11)


@every_pair
def test_nan_state_does_not_survive_a_reset(name, method):
    cell, _ = cases.CELLS[name]
    params, xs = cases.params_of(cell), cases.inputs((2,))
    nan = jax.tree.map(lambda a: jnp.full_like(a, jnp.nan), cases.state_of(cell, params, (2,)))
    resets = np.zeros((cases.T, 2), bool)
    resets[3] = True
    final, ys = sm.unroll(cell, params, xs, nan, resets=resets, method=cases.METHODS[method])
    want_final, want_ys = sm.unroll(cell, params, xs[3:], method=cases.METHODS[method])
    cases.assert_close(ys[3:], want_ys)
    cases.assert_close(final, want_final)


@every_cell
def test_states_are_all_visited_states(name):
    cell, _ = cases.CELLS[name]
    params, xs = cases.params_of(cell), cases.inputs()
    lengths = cases.LENGTHS
    full = sm.unroll_full(cell, params, xs, lengths=lengths, method="scan")
    for t in range(cases.T):
        state, _ = sm.unroll(
            cell, params, xs[: t + 1], lengths=np.minimum(lengths, t + 1), method="scan"
        )
        cases.assert_close(jax.tree.map(lambda a, t=t: a[t], full.states), state)
    assert full.info.method == "scan"


@every_pair
def test_pieces_equal_the_whole(name, method):
    cell, _ = cases.CELLS[name]
    params, xs = cases.params_of(cell), cases.inputs()
    state, ys = sm.unroll(cell, params, xs, method=cases.METHODS[method])
    middle, first = sm.unroll(cell, params, xs[:3], method=cases.METHODS[method])
    last, second = sm.unroll(cell, params, xs[3:], middle, method=cases.METHODS[method])
    cases.assert_close((last, jnp.concatenate([first, second])), (state, ys))


@pytest.mark.parametrize(("name", "method"), cases.pairs(few=tuple(cases.METHODS)))
@hypothesis.settings(max_examples=15, deadline=None, derandomize=True)
@hypothesis.given(data=st.data())
def test_any_lengths_and_resets(name, method, data):
    """A padded, packed batch is its pieces run apart; shapes are few, so that they compile once."""
    cell, _ = cases.CELLS[name]
    num_steps, batch_shape = data.draw(st.sampled_from([(5, (3,)), (6, (1, 2))]))
    lengths = data.draw(hnp.arrays(np.int32, batch_shape, elements=st.integers(0, num_steps)))
    resets = data.draw(hnp.arrays(bool, (num_steps, *batch_shape)))
    reverse = data.draw(st.booleans())
    params, xs = cases.params_of(cell), cases.inputs(batch_shape, num_steps)
    contract = {"lengths": lengths, "resets": resets, "reverse": reverse}
    final, ys = wanted(name, params, xs, **contract)
    padded = cases.padded_with_nan(xs, lengths)
    got_final, got_ys = sm.unroll(cell, params, padded, method=cases.METHODS[method], **contract)
    cases.assert_close(got_ys, ys)
    cases.assert_close(cases.as_dict(got_final), final)
