"""Every structure of a cell under every driver keeps the sequence contract.

One compiled program for a structure, a driver and a direction serves all cases, because lengths,
resets and mask are arrays in each of them; it returns values, visited states and gradients. The
oracles are a NumPy loop over single sequences and backpropagation through time by the textbook.
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

pytestmark = pytest.mark.optimized

T = cases.T
every_pair = pytest.mark.parametrize(("name", "method"), cases.pairs())
directions = pytest.mark.parametrize("reverse", [False, True])


@functools.cache
def program(name, method, reverse):
    """(params, xs, state, lengths, resets, mask) -> ((value, (outputs, converged)), gradients)."""
    cell, _ = cases.ALL[name]

    def run(params, xs, state, lengths, resets, mask):
        contract = {"lengths": lengths, "resets": resets, "mask": mask, "reverse": reverse}
        full = sm.unroll_full(cell, params, xs, state, method=cases.METHODS[method], **contract)
        assert full.info.method == method
        return cases.weighted(full[:3]), (full[:3], full.info.converged)

    run.__name__ = f"{name}, {method}, {reverse}"  # chex distinguishes functions by it
    once = chex.assert_max_traces(run, n=1)  # all cases are one program
    return jax.jit(jax.value_and_grad(once, (0, 1, 2), has_aux=True))


def check(name, method, reverse, xs=None, state=None, **contract):
    """Asserts that one call of the program is what the oracles say, in float64."""
    with jax.enable_x64(True):
        params, default_xs, default_state = cases.arguments(name)
        xs = default_xs if xs is None else xs
        state = default_state if state is None else state
        padded = cases.padded_with_nan(xs, contract["lengths"], contract["mask"])
        (_, (out, converged)), gradients = program(name, method, reverse)(
            params, padded, state, *(contract[field] for field in ("lengths", "resets", "mask"))
        )
        expected = cases.loops(name, params, xs, state, reverse=reverse, **contract)
        cases.assert_close(out, expected, 1e-11)
        wanted_gradients = oracle.backpropagate(
            cases.ALL[name][0],
            params,
            np.asarray(xs),
            state,
            cases.cotangents(expected),
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
    mask=hnp.arrays(bool, (T, 4)),
    reverse=st.booleans(),
)
def test_any_lengths_resets_and_mask(name, method, lengths, resets, mask, reverse):
    """A padded, packed batch with gaps is its pieces run apart, without the gaps."""
    check(name, method, reverse, lengths=lengths, resets=resets, mask=mask)


@every_pair
@directions
def test_nan_state_does_not_survive_a_reset(name, method, reverse):
    with jax.enable_x64(True):
        params, xs, state = cases.arguments(name)
        nan = jax.tree.map(lambda a: jnp.full_like(a, jnp.nan), state)
        contract = cases.as_arrays()
        contract["resets"][3] = True
        (_, (out, _)), _ = program(name, method, reverse)(params, xs, nan, *contract.values())
        after = slice(0, 4) if reverse else slice(3, None)
        final, ys, _ = cases.loops(name, params, xs[after], None, reverse=reverse)
        cases.assert_close((out[0], out[1][after]), (final, ys), 1e-11)
        assert np.isnan(out[1]).sum() == np.size(out[1]) - ys.size


@every_pair
def test_pieces_equal_the_whole(name, method):
    """The first three steps, and the others from the state that these leave."""
    with jax.enable_x64(True):
        params, xs, state = cases.arguments(name)
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
