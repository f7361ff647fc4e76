"""Masked steps: they count nowhere, and their outputs are zero or held."""

import functools

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm

T, D, H = cases.T, cases.D, cases.H
COUNTS = np.array([0, 1, 1, 0, 0, 1, 0], bool)


def counter():
    """Counts its steps; the input has no influence on it."""
    return sm.make_cell(
        lambda key: (),
        lambda params, batch_shape: jnp.zeros((*batch_shape, 1)),
        (lambda params, s, x_t: s, lambda params, s, gates: (s + 1, gates + 1)),
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 1, 2, 0, 0, 3, 0]),
        ({"hold_outputs": True}, [0, 1, 2, 2, 2, 3, 3]),
        ({"hold_outputs": True, "lengths": np.array(5)}, [0, 1, 2, 2, 2, 0, 0]),
        ({"hold_outputs": True, "reverse": True}, [3, 3, 2, 1, 1, 1, 0]),
        ({"hold_outputs": True, "reverse": True, "lengths": np.array(4)}, [2, 2, 1, 0, 0, 0, 0]),
        # A piece begins at the masked step 4, so nothing of the piece before is held there.
        ({"hold_outputs": True, "resets": np.arange(T) == 4}, [0, 1, 2, 2, 0, 1, 1]),
        ({"hold_outputs": True, "resets": np.arange(T) == 5}, [0, 1, 2, 2, 2, 1, 1]),
    ],
)
def test_outputs_by_hand(options, expected):
    final, ys = sm.unroll(counter(), (), np.zeros((T, 1)), mask=COUNTS, **options)
    np.testing.assert_array_equal(ys[:, 0], expected)
    order = np.asarray(expected)[:: -1 if options.get("reverse") else 1]
    assert final == order[np.flatnonzero(order)[-1]]


def test_a_reset_in_the_last_gap_leaves_a_fresh_state():
    full = sm.unroll_full(counter(), (), np.zeros((T, 1)), mask=COUNTS, resets=np.arange(T) == 6)
    assert full.final_state == 0
    np.testing.assert_array_equal(full.states[:, 0], [0, 1, 2, 2, 2, 3, 0])


def test_both_directions_hold_their_own_last_output():
    cell = sm.bidirectional(counter(), counter())
    params = sm.combinators.Bidirectional((), ())
    run = functools.partial(sm.unroll, cell, params, np.zeros((T, 1)), mask=COUNTS)
    expected = np.stack([[0, 1, 2, 2, 2, 3, 3], [3, 3, 2, 1, 1, 1, 0]], -1)
    np.testing.assert_array_equal(run(hold_outputs=True)[1], expected)
    np.testing.assert_array_equal(run(hold_outputs=False)[1], expected * COUNTS[:, None])


def everything():
    pair = sm.bidirectional(sm.lstm(D, H), sm.gru(D, H))
    return sm.stack([sm.residual(sm.dropout(sm.lstm(D, D), 0.2)), pair])


@pytest.mark.parametrize("hold", [False, True])
def test_a_gap_is_as_if_it_were_not_there(hold):
    """In stacks, pairs and under dropout; NaN in the gaps reaches no value and no gradient."""
    cell, key = everything(), jax.random.key(5)
    params, xs = cases.params_of(cell), cases.inputs()
    mask = np.broadcast_to(COUNTS[:, None], (T, 4))
    with_nan = jnp.where(mask[..., None], xs, jnp.nan)

    def value(params, xs, counts, options):
        final, ys = sm.unroll(cell, params, xs, key=key, **options)
        weights = jnp.arange(1.0, 1 + ys[:1].size).reshape(1, *ys.shape[1:])
        of_outputs = jnp.sum(jnp.sin(ys[counts]) * weights)
        return of_outputs + jnp.sum(jnp.sin(jax.tree.leaves(final)[0])), ys

    def gradient(xs, counts, **options):
        run = functools.partial(value, counts=counts, options=options)
        return jax.jit(jax.value_and_grad(run, (0, 1), has_aux=True))(params, xs)

    (got, ys), (dparams, dxs) = gradient(
        with_nan, np.flatnonzero(COUNTS), mask=mask, hold_outputs=hold
    )
    (want, dense), (want_dparams, want_dxs) = gradient(xs[COUNTS], np.arange(3))
    cases.assert_close((got, ys[COUNTS]), (want, dense))
    cases.assert_close(dparams, want_dparams, 1e-5)
    cases.assert_close(dxs[COUNTS], want_dxs, 1e-5)
    assert not np.any(dxs[~COUNTS])
    assert np.any(ys[~COUNTS]) == hold


def test_the_gradient_of_held_outputs():
    """A held output passes its cotangent to the step that it repeats."""
    cell = sm.lstm(D, H)
    params, xs = cases.params_of(cell), cases.inputs(())

    def loss(xs, weights, **options):
        ys = sm.unroll(cell, params, xs, mask=COUNTS, **options)[1]
        return jnp.sum(ys * weights[:, None])

    held = jax.grad(loss)(xs, jnp.arange(1.0, T + 1), hold_outputs=True)
    # Step 2 is repeated at 3 and 4, step 5 at 6; step 0 comes before any output.
    summed = jax.grad(loss)(xs, jnp.array([0.0, 2, 3 + 4 + 5, 0, 0, 6 + 7, 0]))
    cases.assert_close(held, summed)


def test_a_mask_that_is_traced_and_mapped():
    cell = sm.gru(D, H)
    params, xs = cases.params_of(cell), cases.inputs()
    unroll = functools.partial(sm.unroll, cell, params)
    rows = jax.jit(jax.vmap(lambda xs, mask: unroll(xs, mask=mask), (1, 1), (0, 1)))
    cases.assert_close(rows(xs, cases.MASK), unroll(xs, mask=cases.MASK))
