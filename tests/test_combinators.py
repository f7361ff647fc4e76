"""Cells made of cells keep the contract of the cells inside them."""

import functools
import itertools

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

import seqmodels as sm
from seqmodels.combinators import Bidirectional, DropoutState

T, D, H = cases.T, cases.D, cases.H
KEY = jax.random.key(5)


@functools.cache
def everything():
    """All combinators in one cell."""
    return sm.stack(
        [
            sm.dropout(sm.dropout(sm.gru(D, H), 0.4, recurrent=True), 0.3),
            sm.residual(sm.dropout(sm.lstm(H, H, learn_initial_state=True), 0.3, recurrent=True)),
            sm.stack([sm.rnn(H, D)]),
        ]
    )


@pytest.mark.parametrize("key", [None, KEY], ids=["evaluation", "training"])
def test_layer_by_layer_equals_step_by_step(key):
    cell = everything()
    params, xs = cases.params_of(cell), cases.inputs((2,))
    state = cell.initial_state(params, (2,), key=key)
    full = sm.unroll_full(cell, params, xs, key=key)
    step = jax.jit(cell.step)
    for t in range(T):
        state, y = step(params, state, xs[t])
        cases.assert_close(y, full.ys[t])
        floats = [a for a in jax.tree.leaves(state) if jnp.issubdtype(a.dtype, jnp.floating)]
        visited = jax.tree.leaves(jax.tree.map(lambda a, t=t: a[t], full.states))
        cases.assert_close(floats, [a for a in visited if jnp.issubdtype(a.dtype, jnp.floating)])
    assert jax.tree.structure(state) == jax.tree.structure(full.final_state)
    cases.assert_close(
        sm.unroll(cell, params, xs, cell.initial_state(params, (2,), key=key))[1], full.ys
    )


LAYERS = [sm.lstm(D, H), sm.gru(H, H)]
STACK = sm.stack(LAYERS)
PAIR = sm.bidirectional(sm.lstm(D, H), sm.rnn(D, H))


def arrays_or_none(case):
    """The arguments of a case; but for the plain one, all cases of a direction are one program."""
    contract = dict(cases.CASES[case])
    return contract if case == "plain" else cases.as_arrays(**contract)


@pytest.mark.parametrize("case", [case for case in cases.CASES if "reverse" not in case])
@pytest.mark.parametrize("reverse", [False, True])
def test_stack_against_numpy(case, reverse):
    contract = arrays_or_none(case) | {"reverse": reverse}
    cell = STACK
    params, xs = cases.params_of(cell), cases.inputs()
    state = cases.state_of(cell, params)
    ys, finals = xs, []
    for layer, step, p, s in zip(
        LAYERS,
        [oracle.lstm_step, oracle.gru_step],
        params,
        state,
        strict=True,
    ):
        fresh = cases.fresh_of(layer, p)
        final, ys = oracle.unroll(step, p, ys, cases.as_dict(s), fresh, **contract)
        finals.append(final)
    if "lengths" in contract:
        xs = cases.padded_with_nan(xs, contract["lengths"], contract["mask"])
    got_final, got_ys = sm.unroll(cell, params, xs, state, **contract)
    cases.assert_close(got_ys, ys)
    cases.assert_close([cases.as_dict(s) for s in got_final], finals)


def backwards_by_hand(params, xs, state, fresh, *, lengths, resets, mask, reverse):
    """The other direction of packed pieces, each cut out, turned round, run, and turned back."""
    params, xs, state, fresh = oracle.as_numpy((params, xs, state, fresh))
    ys, finals = np.zeros((T, 4, H)), []
    for n in range(4):
        length = int(lengths[n])
        marks = [t for t in range(length) if resets[t, n]]
        if reverse:  # a mark at t begins the piece that goes down from t
            cuts = [0, *[t + 1 for t in marks if t + 1 < length], length]
        else:
            cuts = [0, *[t for t in marks if t > 0], length]
        pieces = [(a, b) for a, b in itertools.pairwise(cuts) if a < b]
        pieces = pieces if reverse else pieces[::-1]
        s = {name: value[n] for name, value in state.items()}
        for number, (begin, end) in enumerate(pieces):
            s = fresh if number else s
            for t in range(begin, end)[:: 1 if reverse else -1]:
                if mask[t, n]:
                    s, ys[t, n] = oracle.rnn_step(params, s, xs[t, n])
        finals.append(s)
    return {name: np.stack([s[name] for s in finals]) for name in finals[0]}, ys


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    "case",
    ["plain", "lengths", "resets", "both", "reset_every_step", "mask", "all", "nothing_counts"],
)
def test_bidirectional_against_numpy(case, reverse):
    contract = arrays_or_none(case)
    arrays = cases.as_arrays(**contract)
    cell, (forward, backward) = PAIR, (sm.lstm(D, H), sm.rnn(D, H))
    params, xs = cases.params_of(cell), cases.inputs()
    state = cases.state_of(cell, params)
    f_final, f_ys = oracle.unroll(
        oracle.lstm_step,
        params.forward,
        xs,
        cases.as_dict(state.forward),
        cases.fresh_of(forward, params.forward),
        reverse=reverse,
        **arrays,
    )
    b_final, b_ys = backwards_by_hand(
        params.backward,
        xs,
        cases.as_dict(state.backward),
        cases.fresh_of(backward, params.backward),
        reverse=reverse,
        **arrays,
    )
    padded = cases.padded_with_nan(xs, arrays["lengths"], arrays["mask"])
    final, ys = sm.unroll(cell, params, padded, state, reverse=reverse, **contract)
    cases.assert_close(ys, np.concatenate([f_ys, b_ys], axis=-1))
    cases.assert_close(cases.as_dict(final.forward), f_final)
    cases.assert_close(cases.as_dict(final.backward), b_final)


def test_bidirectional_layers_stack_but_do_not_step():
    pair = sm.bidirectional(sm.gru(D, H), sm.gru(D, H))
    cell = sm.stack([pair, sm.dropout(sm.bidirectional(sm.rnn(2 * H, 2), sm.rnn(2 * H, 2)), 0.5)])
    params = jax.jit(cell.init)(KEY)
    assert isinstance(params[0], Bidirectional)
    state, ys = sm.unroll(cell, params, cases.inputs(), key=KEY, lengths=cases.LENGTHS)
    assert ys.shape == (T, 4, 4)
    with pytest.raises(TypeError, match=r"bidirectional: cannot take one step.*use sm\.unroll"):
        cell.step(params, state, cases.inputs()[0])


def test_packed_row_equals_its_pieces_run_apart():
    cell = everything()
    params, xs = cases.params_of(cell), cases.inputs(())
    resets = np.zeros(T, bool)
    resets[[0, 3]] = True
    state, ys = sm.unroll(cell, params, xs, resets=resets)
    _, first = sm.unroll(cell, params, xs[:3])
    last, second = sm.unroll(cell, params, xs[3:])
    cases.assert_close(ys, jnp.concatenate([first, second]))
    cases.assert_close(state, last)


def test_residual():
    inner = sm.lstm(D, D)
    cell = sm.residual(inner)
    params, xs = jax.jit(inner.init)(KEY), cases.inputs()
    padded = cases.padded_with_nan(xs, cases.LENGTHS)
    _, ys = sm.unroll(cell, params, padded, lengths=cases.LENGTHS)
    _, inner_ys = sm.unroll(inner, params, xs, lengths=cases.LENGTHS)
    valid = np.arange(T)[:, None, None] < cases.LENGTHS[None, :, None]
    cases.assert_close(ys, np.where(valid, inner_ys + xs, 0), 0)
    wrong = sm.residual(sm.lstm(D, H))
    with pytest.raises(ValueError, match=r"residual: got inputs of shape \(7, 4, 3\) and out"):
        sm.unroll(wrong, jax.jit(wrong.init)(KEY), xs)


def constant_cell(size, value=1.0):
    """Outputs `value` for ever; its state is read by a matrix-free project."""
    return sm.make_cell(
        lambda key: (),
        lambda params, batch: jnp.full((*batch, size), value),
        (lambda params, s, x_t: s, lambda params, s, gates: (s, gates)),
    )


@pytest.mark.parametrize("recurrent", [False, True])
def test_one_mask_a_sequence(recurrent):
    """Kept features are scaled by 1 / (1 - rate); masks differ by sequence and not in time."""
    cell = sm.dropout(constant_cell(2000), 0.25, recurrent=recurrent)
    resets = np.zeros((T, 3), bool)
    resets[4] = True
    xs = jnp.zeros((T, 3, 1))
    full = sm.unroll_full(cell, (), xs, key=KEY, resets=resets)
    assert sorted(set(np.unique(full.ys))) == pytest.approx([0, 1 / 0.75])
    for t in range(T):
        np.testing.assert_array_equal(full.ys[t], full.ys[0])
    assert np.mean(full.ys == 0) == pytest.approx(0.25, abs=0.02)
    for a, b in [(0, 1), (1, 2)]:
        assert np.mean(full.ys[0, a] != full.ys[0, b]) == pytest.approx(2 * 0.75 * 0.25, abs=0.05)
    np.testing.assert_array_equal(full.final_state.cell, 1)  # what is carried stays whole
    state = cell.initial_state((), (3,), key=KEY)
    np.testing.assert_array_equal(cell.step((), state, xs[0])[1], full.ys[0])
    assert not np.array_equal(full.ys, sm.unroll(cell, (), xs, key=jax.random.key(6))[1])


def test_recurrent_dropout_is_of_what_the_matrix_reads():
    """Against the LSTM's equations with a mask on h where w_h reads it."""
    rate, inner = 0.5, sm.lstm(D, H)
    cell = sm.dropout(inner, rate, recurrent=True)
    params, xs = cases.params_of(inner), cases.inputs(())
    state = cell.initial_state(params, (), key=KEY)
    probe = constant_cell(H)  # has one leaf, like h, the first leaf of the LSTM's state
    probed = sm.dropout(probe, rate, recurrent=True).initial_state((), (), key=KEY)
    kept = sm.dropout(probe, rate, recurrent=True).step((), probed, xs[0])[1] > 0
    assert 0 < kept.sum() < H
    _, ys = sm.unroll(cell, params, xs, state)
    p, x = oracle.as_numpy((params, xs))
    s = {"h": np.zeros(H), "c": np.zeros(H)}
    for t in range(T):
        dropped = {"h": np.where(kept, s["h"] / (1 - rate), 0), "c": s["c"]}
        s, y = oracle.lstm_step(p, dropped, x[t])
        cases.assert_close(ys[t], y)


def test_without_a_key_nothing_is_dropped():
    inner = sm.gru(D, H)
    params = jax.jit(inner.init)(KEY)
    want = sm.unroll(inner, params, cases.inputs())
    for recurrent in (False, True):
        cell = sm.dropout(inner, 0.9, recurrent=recurrent)
        final, ys = sm.unroll(cell, params, cases.inputs())
        assert isinstance(final, DropoutState)
        assert final.noise is None
        cases.assert_close((final.cell, ys), want, 0)


def test_masks_are_handed_on_with_the_state():
    cell = everything()
    params, xs = cases.params_of(cell), cases.inputs((2,))
    _, ys = sm.unroll(cell, params, xs, key=KEY)
    middle, first = sm.unroll(cell, params, xs[:3], key=KEY)
    _, second = sm.unroll(cell, params, xs[3:], middle)
    cases.assert_close(jnp.concatenate([first, second]), ys)


def test_gradients_flow_through_everything():
    """By finite differences in float64, with lengths and resets and every mask fixed by the key."""
    from jax.test_util import check_grads

    with jax.enable_x64(True):
        cell = everything()
        params = jax.tree.map(lambda a: a.astype(jnp.float64), cases.params_of(cell))
        xs = cases.inputs().astype(jnp.float64)

        def ys(params, xs, method):
            contract = {"lengths": cases.LENGTHS, "resets": cases.RESETS}
            return sm.unroll(cell, params, xs, key=KEY, method=method, **contract)[1]

        for method, mode in [("scan", "fwd"), ("auto", "rev")]:
            run = jax.jit(functools.partial(ys, method=method))
            check_grads(run, (params, xs), order=1, modes=[mode])


def test_reset_by_hand():
    """Whoever steps resets by way of the cell too; masks and only masks stay."""
    cell = everything()
    params = jax.jit(cell.init)(KEY)
    state = cases.state_of(cell, params, (2,))
    fresh = cell.initial_state(params, (2,))
    cases.assert_close(cell.reset(params, state), fresh, 0)
    noisy, _ = sm.unroll(cell, params, cases.inputs((2,)), key=KEY)
    again = cell.reset(params, noisy)
    cases.assert_close(jax.random.key_data(again[0].noise), jax.random.key_data(noisy[0].noise), 0)
    cases.assert_close(again[0].cell.cell, fresh[0].cell.cell, 0)
    pair = sm.bidirectional(sm.lstm(D, H), sm.rnn(D, H))
    pair_params = jax.jit(pair.init)(KEY)
    start = pair.initial_state(pair_params, (2,))
    cases.assert_close(pair.reset(pair_params, cases.state_of(pair, pair_params, (2,))), start, 0)


def test_dropout_of_several_outputs():
    inner = sm.Cell(
        init=lambda key: (),
        initial_state=lambda params, batch: jnp.zeros(batch),
        step=lambda params, state, x_t: (state, {"a": x_t, "b": 2 * x_t}),
    )
    cell = sm.dropout(inner, 0.5)
    xs = jnp.ones((T, 2, 50))
    state = cell.initial_state((), (2,), key=KEY)
    _, ys = sm.unroll(cell, (), xs, state)
    cases.assert_close(jax.tree.map(lambda a: a[0], ys), cell.step((), state, xs[0])[1])
    assert 20 < np.sum(ys["a"][0] == 0) < 80


def test_mistakes():
    with pytest.raises(TypeError, match="stack: cells: got one Cell, expected a list of cells"):
        sm.stack(sm.lstm(D, H))
    for make in (
        lambda: sm.stack(iter([sm.lstm(D, H), None])),
        lambda: sm.bidirectional(sm.lstm(D, H), None),
    ):
        with pytest.raises(TypeError, match="cell 1: got a NoneType, expected a Cell"):
            make()
    for make in (lambda: sm.dropout(None, 0.1), lambda: sm.residual(None)):
        with pytest.raises(TypeError, match="cell 0: got a NoneType, expected a Cell"):
            make()
    with pytest.raises(ValueError, match="stack: cells: got none"):
        sm.stack([])
    for rate in (-0.1, 1.0, float("nan"), "0.2", None):
        with pytest.raises(ValueError, match=r"dropout: rate: got .*, expected 0 <= rate < 1"):
            sm.dropout(sm.lstm(D, H), rate)
    with pytest.raises(TypeError, match="recurrent=True needs a cell in stages"):
        sm.dropout(sm.stack([sm.lstm(D, H)]), 0.1, recurrent=True)


@pytest.mark.parametrize("recurrent", [False, True])
def test_complex_values_are_dropped(recurrent):
    """A state s_t = P(s_tm1) + x_t and an output that are complex numbers."""

    def update(params, s, gates):
        return gates, gates

    plain = sm.make_cell(
        lambda key: (),
        lambda params, batch: jnp.zeros((*batch, 8), jnp.complex64),
        (lambda params, s, x_t: 0.5 * s + x_t * (1 + 2j), update),
    )
    cell, xs = sm.dropout(plain, 0.5, recurrent=recurrent), jnp.ones((3, 2, 8))
    _, ys = sm.unroll(cell, (), xs, key=jax.random.key(0))
    last = np.asarray(ys)[-1] / (1 + 2j)
    # Of what is read, dropped: 1; doubled and halved: 1 + 1 + 1. Of the output: 0 or 2 * 1.75.
    assert sorted({round(float(v), 5) for v in last.real.flat}) == (
        [1.0, 3.0] if recurrent else [0.0, 3.5]
    )
    np.testing.assert_allclose(last.imag, 0, atol=1e-6)
