"""Every structure of a cell under every driver keeps the sequence contract.

One compiled program for a structure, a driver and a direction serves all cases, because lengths
and resets are arrays in each of them; it returns values, visited states and gradients. The oracles
are a NumPy loop over single sequences and backpropagation through time by the textbook.
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

T = cases.T
every_pair = pytest.mark.parametrize(("name", "method"), cases.pairs())
every_driver = pytest.mark.parametrize("method", cases.METHODS)
directions = pytest.mark.parametrize("reverse", [False, True])


@functools.cache
def program(name, method, reverse):
    """(params, xs, state, lengths, resets) -> ((value, (outputs, converged)), gradients)."""
    cell, _ = cases.ALL[name]

    def run(params, xs, state, lengths, resets):
        contract = {"lengths": lengths, "resets": resets, "reverse": reverse}
        full = sm.unroll_full(cell, params, xs, state, method=cases.METHODS[method], **contract)
        assert full.info.method == method
        return cases.weighted(full[:3]), (full[:3], full.info.converged)

    run.__name__ = f"{name}, {method}, {reverse}"  # by which chex tells functions apart
    once = chex.assert_max_traces(run, n=1)  # all cases are one program
    return jax.jit(jax.value_and_grad(once, (0, 1, 2), has_aux=True))


@functools.cache
def arguments(name, batch_shape=(4,), num_steps=T):
    """(params, xs, state) in float64, state not the cell's own."""
    cell, _ = cases.ALL[name]
    params = cases.to64(cases.params_of(cell))
    xs = cases.to64(cases.inputs(batch_shape, num_steps))
    return params, xs, cases.to64(cases.state_of(cell, params, batch_shape))


def loops(name, params, xs, state, **contract):
    """(final_state, ys, states) by the loop in NumPy, states as the cell has them."""
    cell, step = cases.ALL[name]
    if state is None:
        state = cell.initial_state(params, xs.shape[1:-1])
    fresh = cases.fresh_of(cell, params)
    final, ys, states = oracle.visit(step, params, xs, cases.as_dict(state), fresh, **contract)
    remade = (lambda d: type(state)(**d)) if hasattr(state, "_asdict") else dict
    return remade(final), ys, remade(states)


def check(name, method, reverse, xs=None, state=None, **contract):
    """Asserts that one call of the program is what the oracles say, in float64."""
    with jax.enable_x64(True):
        params, default_xs, default_state = arguments(name)
        xs = default_xs if xs is None else xs
        state = default_state if state is None else state
        lengths, resets = contract["lengths"], contract["resets"]
        padded = cases.padded_with_nan(xs, lengths)
        (_, (out, converged)), gradients = program(name, method, reverse)(
            params, padded, state, lengths, resets
        )
        wanted = loops(name, params, xs, state, reverse=reverse, **contract)
        cases.assert_close(out, wanted, 1e-11)
        wanted_gradients = oracle.backpropagate(
            cases.ALL[name][0],
            params,
            np.asarray(xs),
            state,
            cases.cotangents(wanted),
            reverse=reverse,
            **contract,
        )
        cases.assert_close(gradients, wanted_gradients, 1e-11)
        assert not np.any(np.where(np.isnan(padded), gradients[1], 0))  # zero, and not nearly
        assert converged is None or converged  # or it would be the loop it falls back to
    return out


@every_pair
@pytest.mark.parametrize("case", cases.CASES)
def test_values_states_and_gradients(name, method, case):
    """Of parameters, inputs and state, for cotangents of everything returned."""
    contract = dict(cases.CASES[case])
    reverse = contract.pop("reverse", False)
    check(name, method, reverse, **cases.as_arrays(**contract))


@every_pair
@hypothesis.settings(max_examples=15, deadline=None, derandomize=True)
@hypothesis.given(
    lengths=hnp.arrays(np.int32, 4, elements=st.integers(0, T)),
    resets=hnp.arrays(bool, (T, 4)),
    reverse=st.booleans(),
)
def test_any_lengths_and_resets(name, method, lengths, resets, reverse):
    """A padded, packed batch is its pieces run apart."""
    check(name, method, reverse, lengths=lengths, resets=resets)


@every_pair
@directions
def test_nan_state_does_not_survive_a_reset(name, method, reverse):
    with jax.enable_x64(True):
        params, xs, state = arguments(name)
        nan = jax.tree.map(lambda a: jnp.full_like(a, jnp.nan), state)
        contract = cases.as_arrays()
        contract["resets"][3] = True
        (_, (out, _)), _ = program(name, method, reverse)(params, xs, nan, *contract.values())
        after = slice(0, 4) if reverse else slice(3, None)
        final, ys, _ = loops(name, params, xs[after], None, reverse=reverse)
        cases.assert_close((out[0], out[1][after]), (final, ys), 1e-11)
        assert np.isnan(out[1]).sum() == np.size(out[1]) - ys.size


@every_pair
def test_pieces_equal_the_whole(name, method):
    """The first three steps, and the others from the state that these leave."""
    with jax.enable_x64(True):
        params, xs, state = arguments(name)
        run = program(name, method, False)
        contract = cases.as_arrays()
        (_, ((final, ys, _), _)), _ = run(params, xs, state, *contract.values())
        first_three, others = (
            cases.as_arrays(np.full(4, length)).values() for length in (3, T - 3)
        )
        (_, ((middle, first, _), _)), _ = run(params, xs, state, *first_three)
        (_, ((last, second, _), _)), _ = run(params, jnp.roll(xs, -3, 0), middle, *others)
        pieces = jnp.concatenate([first[:3], second[: T - 3]])
        cases.assert_close((last, pieces), (final, ys), 1e-11)


def check_shapes(method, batch_shape=(4,), num_steps=T, state="given", reverse=False, **contract):
    """Asserts that a program of its own is what the oracles say, for the driver's one cell."""
    name = cases.ONE_CELL[method]
    cell, _ = cases.ALL[name]
    with jax.enable_x64(True):
        params, xs, given = arguments(name, batch_shape, num_steps)
        given = None if state is None else given

        def run(params, xs, state):
            full = sm.unroll_full(
                cell, params, xs, state, method=cases.METHODS[method], reverse=reverse, **contract
            )
            assert full.info.method == method
            chex.assert_shape(full.ys, (num_steps, *batch_shape, cases.H))
            return cases.weighted(full[:3]), full[:3]

        argnums = (0, 1) if given is None else (0, 1, 2)
        gradients, out = jax.jit(jax.grad(run, argnums, has_aux=True))(params, xs, given)
        wanted = loops(name, params, xs, given, reverse=reverse, **contract)
        cases.assert_close(out, wanted, 1e-11)

        rows = int(np.prod(batch_shape))  # the textbook has one batch axis

        def flat(tree, axis):
            before, after = (slice(axis), slice(axis + len(batch_shape), None))
            return jax.tree.map(
                lambda a: np.reshape(a, (*a.shape[before], rows, *a.shape[after])), tree
            )

        final, ys, states = cases.cotangents(wanted)
        wanted_gradients = oracle.backpropagate(
            cell,
            params,
            flat(np.asarray(xs), 1),
            flat(given, 0),
            (flat(final, 0), flat(ys, 1), flat(states, 1)),
            lengths=flat(contract["lengths"], 0) if "lengths" in contract else None,
            resets=flat(contract["resets"], 1) if "resets" in contract else None,
            reverse=reverse,
        )
        cases.assert_close(gradients[0], wanted_gradients[0], 1e-11)
        cases.assert_close(flat(gradients[1], 1), wanted_gradients[1], 1e-11)
        if given is not None:
            cases.assert_close(flat(gradients[2], 0), wanted_gradients[2], 1e-11)


@every_driver
@pytest.mark.parametrize("batch_shape", [(), (1,), (2, 3)])
def test_batch_axes_and_the_state_of_the_cell_itself(method, batch_shape):
    rng = np.random.default_rng(0)
    check_shapes(
        method,
        batch_shape,
        state=None,
        lengths=rng.integers(0, T + 1, batch_shape) if batch_shape else np.array(5),
        resets=rng.random((T, *batch_shape)) < 0.3,
    )


@every_driver
@pytest.mark.parametrize("num_steps", [0, 1])
def test_short(method, num_steps):
    check_shapes(method, (2,), num_steps, resets=np.ones((num_steps, 2), bool))


@every_driver
@pytest.mark.parametrize(
    ("given", "reverse"),
    [((), False), ((), True), (("lengths",), True), (("resets",), False)],
    ids=["none", "none reverse", "lengths reverse", "resets"],
)
def test_without_lengths_or_resets(method, given, reverse):
    """Other code runs where one is None."""
    contract = {"lengths": cases.LENGTHS, "resets": cases.RESETS}
    check_shapes(method, reverse=reverse, **{name: contract[name] for name in given})


@pytest.mark.parametrize("method", ["chunked", sm.chunked(memory_budget="1GiB")])
@pytest.mark.parametrize("num_steps", [0, 1, 2])
def test_a_plan_for_hardly_any_steps(num_steps, method):
    cell, params = sm.lstm(cases.D, cases.H), cases.params_of(sm.lstm(cases.D, cases.H))
    xs = cases.inputs((2,), num_steps)
    want = sm.unroll(cell, params, xs, method="scan")
    cases.assert_close(sm.unroll(cell, params, xs, method=method), want)


@pytest.mark.parametrize("name", cases.CELLS)
def test_scan_of_every_cell_in_float32(name):
    """All cases by one program."""
    cell, _ = cases.ALL[name]
    params, xs = cases.params_of(cell), cases.inputs()
    state = cases.state_of(cell, params)
    for case, contract in cases.CASES.items():
        if "reverse" in contract:
            continue
        arrays = cases.as_arrays(**contract)
        final, ys, _ = loops(name, params, xs, state, **arrays)
        padded = cases.padded_with_nan(xs, arrays["lengths"])
        got = sm.unroll(cell, params, padded, state, method="scan", **arrays)
        try:
            cases.assert_close(got, (final, ys))
        except AssertionError as error:
            raise AssertionError(f"case {case}: {error}") from None
