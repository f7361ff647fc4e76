"""The contract where shapes or absent arguments make a program of their own: a cell a driver.

And every cell under `scan`, in float32.
"""

import chex
import contract_cases as cases
import jax
import numpy as np
import oracle
import pytest

import seqmodels as sm

T = cases.T
every_driver = pytest.mark.parametrize("method", cases.METHODS)


def check_shapes(method, batch_shape=(4,), num_steps=T, state="given", reverse=False, **contract):
    """Asserts that a program of its own is what the oracles say, for the driver's one cell."""
    name = cases.ONE_CELL[method]
    cell, _ = cases.ALL[name]
    with jax.enable_x64(True):
        params, xs, given = cases.arguments(name, batch_shape, num_steps)
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
        expected = cases.loops(name, params, xs, given, reverse=reverse, **contract)
        cases.assert_close(out, expected, 1e-11)

        rows = int(np.prod(batch_shape))  # the textbook has one batch axis

        def flat(tree, axis):
            before, after = (slice(axis), slice(axis + len(batch_shape), None))
            return jax.tree.map(
                lambda a: np.reshape(a, (*a.shape[before], rows, *a.shape[after])), tree
            )

        final, ys, states = cases.cotangents(expected)
        wanted_gradients = oracle.backpropagate(
            cell,
            params,
            flat(np.asarray(xs), 1),
            flat(given, 0),
            (flat(final, 0), flat(ys, 1), flat(states, 1)),
            lengths=flat(contract["lengths"], 0) if "lengths" in contract else None,
            resets=flat(contract["resets"], 1) if "resets" in contract else None,
            mask=flat(contract["mask"], 1) if "mask" in contract else None,
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
        mask=rng.random((T, *batch_shape)) < 0.7,
    )


@every_driver
@pytest.mark.parametrize("num_steps", [0, 1])
def test_short(method, num_steps):
    check_shapes(method, (2,), num_steps, resets=np.ones((num_steps, 2), bool))


@every_driver
@pytest.mark.parametrize(
    ("given", "reverse"),
    [((), False), ((), True), (("lengths",), True), (("resets",), False), (("mask",), True)],
    ids=["none", "none reverse", "lengths reverse", "resets", "mask reverse"],
)
def test_without_lengths_or_resets(method, given, reverse):
    """Other code runs where one is None."""
    contract = {"lengths": cases.LENGTHS, "resets": cases.RESETS, "mask": cases.MASK}
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
        final, ys, _ = cases.loops(name, params, xs, state, **arrays)
        padded = cases.padded_with_nan(xs, arrays["lengths"], arrays["mask"])
        got = sm.unroll(cell, params, padded, state, method="scan", **arrays)
        try:
            cases.assert_close(got, (final, ys))
        except AssertionError as error:
            raise AssertionError(f"case {case}: {error}") from None
