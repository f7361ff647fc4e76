"""Pieces with the state handed on: streaming, one step at a time, and truncated BPTT."""

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm

T, D, H = cases.T, cases.D, cases.H
STACK = sm.stack([sm.lstm(D, H, learn_initial_state=True), sm.gru(H, H)])


@pytest.mark.parametrize("cell", [STACK, sm.lru(D, H), cases.peephole_lstm()])
def test_steps_are_the_unroll(cell):
    params, xs = cases.init(cell), cases.inputs((2,))
    resets = np.zeros((T, 2), bool)
    resets[3, 1] = True
    final, ys = sm.unroll(cell, params, xs, resets=resets)
    state, step = sm.stream(cell, params, batch_shape=(2,))
    for t in range(T):
        state, y_t = step(state, xs[t], resets[t])
        cases.assert_close(y_t, ys[t])
    cases.assert_close(cases.reals(state), cases.reals(final))


def test_it_goes_on_from_a_past_and_leaves_it_alone():
    params, xs = cases.init(STACK), cases.inputs(())
    past, _ = sm.unroll(STACK, params, xs[:4])
    kept = jax.tree.map(np.asarray, past)
    state, step = sm.stream(STACK, params, past)
    for t in range(4, T):
        state, y_t = step(state, xs[t])
    cases.assert_close(y_t, sm.unroll(STACK, params, xs)[1][-1])
    cases.assert_close(past, kept)


def test_the_state_is_donated_and_the_parameters_are_not():
    """A learned initial state shares memory with the parameters, which must outlive the step."""
    cell = sm.lstm(D, H, learn_initial_state=True)
    params, xs = cases.init(cell), cases.inputs(())
    first, step = sm.stream(cell, params)
    second, _ = step(first, xs[0])
    assert first.h.is_deleted()
    assert not any(a.is_deleted() for a in jax.tree.leaves(params))
    step(second, xs[1])


def test_it_compiles_once():
    traces = []

    def update(params, state, gates):
        traces.append(1)
        return gates, gates

    cell = sm.make_cell(
        lambda key: (), lambda p, batch: jnp.zeros((*batch, D)), (lambda p, s, x_t: x_t + s, update)
    )

    def three_steps():
        state, step = sm.stream(cell, ())
        for x_t in np.ones((3, D), np.float32):
            state, _ = step(state, x_t)
        return state

    assert three_steps().tolist() == [3.0] * D
    traced = len(traces)
    three_steps()
    assert len(traces) == traced > 0


def test_mistakes_get_one_line():
    params = cases.init(STACK)
    with pytest.raises(TypeError, match="stream: cell: got a NoneType, expected a Cell"):
        sm.stream(None, params)
    state, step = sm.stream(STACK, params)
    with pytest.raises(ValueError, match=r"lstm: x_t: got shape \(9,\), expected \(\.\.\., 3\)"):
        step(state, jnp.zeros(9))
    with pytest.raises(
        ValueError, match=r"state\[0\]\.h: got float32\[4\], expected float32\[2, 4\]"
    ):
        step(state, jnp.zeros((2, D)))
    with pytest.raises(ValueError, match=r"reset_t: got bool\[2\], expected bool\[\]"):
        step(state, jnp.zeros(D), np.zeros(2, bool))
    with pytest.raises(ValueError, match=r"x_t: got shape \(\), expected \(\*batch, D\)"):
        step(state, 1.0)
    with pytest.raises(ValueError, match=r"state: got \{'a': float32\[3\]\}, expected"):
        sm.stream(STACK, params, {"a": np.zeros(3, np.float32)})
    low = jax.tree.map(lambda a: a.astype(jnp.bfloat16), STACK.initial_state(params, (2,)))
    with pytest.raises(
        ValueError, match=r"state.*: got bfloat16\[2, 4\], expected float32\[2, 4\]"
    ):
        sm.stream(STACK, params, low)
    with pytest.raises(ValueError, match="batch_shape: got with a state"):
        sm.stream(STACK, params, STACK.initial_state(params, (2,)), batch_shape=(2,))
    pair = sm.bidirectional(sm.lstm(D, H), sm.lstm(D, H))
    state, step = sm.stream(pair, cases.init(pair))
    with pytest.raises(TypeError, match="bidirectional: cannot take one step"):
        step(state, jnp.zeros(D))


@pytest.mark.parametrize("method", ["scan", "fused"])
def test_pieces_are_exactly_the_whole(method):
    """Bit for bit, whatever the pieces."""
    cell = sm.lstm(D, H)
    params, xs = cases.init(cell), cases.inputs((2,), 40)
    run = lambda xs, state: sm.unroll(cell, params, xs, state, method=method)  # noqa: E731
    final, ys = run(xs, None)
    state, pieces = None, []
    for start, stop in [(0, 1), (1, 17), (17, 40)]:
        state, piece = run(xs[start:stop], state)
        pieces.append(piece)
    np.testing.assert_array_equal(jnp.concatenate(pieces), ys)
    jax.tree.map(np.testing.assert_array_equal, state, final)


@pytest.mark.parametrize(
    ("make", "method"),
    [
        (sm.lstm, "scan"),
        (sm.lstm, "fused"),
        (sm.gru, "fused"),
        (sm.gru, sm.chunked(segment=3)),
    ],
)
def test_truncated_backpropagation(make, method):
    """Gradients of k steps each, as in the textbook: the state is handed on, its gradient is not.

    The oracle unrolls in Python and cuts the gradient by hand before every piece.
    """
    cell, k = make(D, H), 5
    params, xs = cases.params_of(cell), cases.inputs((2,), 15)
    weights = jax.random.normal(jax.random.key(5), (15, 2, H))

    def piece_loss(params, state, start):
        cut = slice(start, start + k)
        state, ys = sm.unroll(cell, params, xs[cut], state, method=method)
        return jnp.sum(weights[cut] * ys), state

    state, total = None, jax.tree.map(jnp.zeros_like, params)
    for start in range(0, 15, k):
        gradient, state = jax.grad(piece_loss, has_aux=True)(params, state, start)
        total = jax.tree.map(jnp.add, total, gradient)

    def by_hand(params):
        state, loss = cell.initial_state(params, (2,)), 0.0
        for t in range(15):
            if t % k == 0:
                state = jax.lax.stop_gradient(state)
            state, y_t = cell.step(params, state, xs[t])
            loss += jnp.sum(weights[t] * y_t)
        return loss

    cases.assert_close(total, jax.grad(by_hand)(params), 1e-5)
    whole = jax.grad(lambda p: jnp.sum(weights * sm.unroll(cell, p, xs)[1]))(params)
    assert not np.allclose(jax.tree.leaves(total)[0], jax.tree.leaves(whole)[0], rtol=1e-3)
