"""Traces of gates, candidates and states, against NumPy's loop over single steps."""

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seqmodels as sm
from seqmodels.analysis import memory, saturation, token_table, trace
from seqmodels.cells.catalog import CELLS

H, T = cases.H, cases.T


def rnn(p, s, x):
    return {"h": oracle.rnn_step(p, s, x)[1]}, None


def lstm(p, s, x):
    a = x @ p.w_x + s["h"] @ p.w_h + p.b
    i, f, o = (oracle.sigmoid(a[n * H : (n + 1) * H]) for n in (0, 1, 3))
    return {"i": i, "f": f, "o": o, "g": np.tanh(a[2 * H : 3 * H])}, f


def gru(p, s, x):
    r, z, a = oracle._gru_gates(p, s, x)
    return {"r": r, "z": z, "n": np.tanh(a + (r * s["h"]) @ p.w_n)}, z


def gru_after(p, s, x):
    r, z, a = oracle._gru_gates(p, s, x)
    return {"r": r, "z": z, "n": np.tanh(a + r * (s["h"] @ p.w_n + p.b_n))}, z


def mgu(p, s, x):
    f_x, n_x = np.split(x @ p.w_x + p.b, 2)
    f = oracle.sigmoid(f_x + s["h"] @ p.w_h)
    return {"f": f, "n": np.tanh(n_x + (f * s["h"]) @ p.w_n)}, 1 - f


def min_gru(p, s, x):
    z, n = np.split(x @ p.w_x + p.b, 2)
    return {"z": oracle.sigmoid(z), "n": n}, 1 - oracle.sigmoid(z)


def min_lstm(p, s, x):
    i, f, g = np.split(x @ p.w_x + p.b, 3)
    i, f = oracle.sigmoid(i), oracle.sigmoid(f)
    return {"i": i / (i + f), "f": f / (i + f), "g": g}, f / (i + f)


def lru(p, s, x):
    a = np.exp(-np.exp(p.nu_log))
    return {"a": a, "b": np.exp(p.gamma_log) * (x @ (p.b_re + 1j * p.b_im))}, a


GATES = {"rnn": rnn, "lstm": lstm, "gru": gru, "gru_after": gru_after, "mgu": mgu}
GATES |= {"min_gru": min_gru, "min_lstm": min_lstm, "lru": lru}


def looped(name, params, xs, state, **contract):
    """What a trace holds, by a loop over steps: (named, retention), zero where nothing counts."""
    step, gates = getattr(oracle, f"{name}_step"), GATES[name]
    cell = CELLS[name](cases.D, H)
    shapes = []

    def named(p, s, x):
        values, retention = gates(p, s, x)
        new, _ = step(p, s, x)
        values = values | new | ({} if retention is None else {"retention": retention})
        shapes[:] = values
        parts = [f(np.asarray(a)) for a in values.values() for f in (np.real, np.imag)]
        return new, np.concatenate(parts)

    fresh = cases.fresh_of(cell, params)
    _, ys, _ = oracle.visit(named, params, xs, cases.as_dict(state), fresh, **contract)
    parts = np.split(ys, 2 * len(shapes), axis=-1)
    return {name: parts[2 * n] + 1j * parts[2 * n + 1] for n, name in enumerate(shapes)}


@pytest.mark.parametrize("name", GATES)
def test_equals_the_loop(name):
    cell = CELLS[name](cases.D, H)
    params, xs = cases.params_of(cell), cases.inputs()
    state = cases.state_of(cell, params)
    contract = cases.as_arrays(cases.LENGTHS, cases.RESETS, cases.MASK)
    xs = cases.padded_with_nan(xs, cases.LENGTHS, cases.MASK)
    got = trace(cell, params, xs, state, **contract)
    want = looped(name, params, xs, state, **contract)
    retention = {} if got.retention is None else {"retention": got.retention}
    found = got.named | retention
    assert set(found) == set(want)
    t = np.arange(T)[:, None]
    valid = (t < cases.LENGTHS) & cases.MASK
    np.testing.assert_array_equal(got.valid, valid)
    for key, values in found.items():
        assert np.isnan(np.asarray(values)[~valid]).all()
        np.testing.assert_allclose(values[valid], want[key][valid], rtol=2e-5, atol=2e-6)
    pre = {n: np.asarray(a)[valid] for n, a in got.pre_activations.items()}
    if name == "lstm":
        for gate in "ifo":
            np.testing.assert_allclose(oracle.sigmoid(pre[gate]), got.gates[gate][valid], rtol=1e-5)
        np.testing.assert_allclose(np.tanh(pre["g"]), got.candidates["g"][valid], atol=2e-6)


def test_backwards_and_with_two_batch_axes():
    cell = CELLS["lstm"](cases.D, H)
    params, xs = cases.params_of(cell), cases.inputs((2, 2))
    state = cases.state_of(cell, params, (2, 2))
    contract = {"lengths": cases.LENGTHS.reshape(2, 2), "resets": cases.RESETS.reshape(T, 2, 2)}
    got = trace(cell, params, xs, state, reverse=True, **contract)
    want = looped("lstm", params, xs, state, reverse=True, **contract)
    for key, values in got.named.items():
        np.testing.assert_allclose(values[got.valid], want[key][got.valid], rtol=2e-5, atol=2e-6)


def test_combinators_give_the_traces_of_the_cells_inside():
    """A stack, a pair, a residual connection and dropout of outputs, under jit."""
    pair = sm.bidirectional(sm.gru(H, H), sm.lstm(H, H))
    cell = sm.stack([sm.dropout(sm.lstm(cases.D, H), 0.5), sm.residual(sm.lstm(H, H)), pair])
    params, xs = cases.params_of(cell), cases.inputs()
    contract = cases.as_arrays(cases.LENGTHS, cases.RESETS)
    got = jax.jit(lambda p, xs: trace(cell, p, xs, **contract))(params, xs)
    inner = sm.lstm(cases.D, H)
    first = trace(inner, params[0], xs, **contract)
    cases.assert_close(_zeroed(got[0]), _zeroed(first))
    _, between = sm.unroll(
        sm.stack([inner, sm.residual(sm.lstm(H, H))]), params[:2], xs, **contract
    )
    forward = trace(sm.gru(H, H), params[2].forward, between, **contract)
    cases.assert_close(_zeroed(got[2].forward), _zeroed(forward))
    # Each piece of the other direction begins at its other end: row 0 is split at 3 and T - 1.
    alone = trace(sm.lstm(H, H), params[2].backward, between[:3, 0], reverse=True)
    for name, values in alone.named.items():
        np.testing.assert_allclose(got[2].backward.named[name][:3, 0], values, rtol=1e-5, atol=1e-6)


def _zeroed(tree):
    return jax.tree.map(jnp.nan_to_num, tree)


def test_recurrent_dropout_masks_what_the_gates_read():
    cell = sm.dropout(sm.gru(cases.D, H), 0.5, recurrent=True)
    params, xs = cases.params_of(cell), cases.inputs()
    keyed = trace(cell, params, xs, key=jax.random.key(3))
    full = sm.unroll_full(cell, params, xs, key=jax.random.key(3))
    np.testing.assert_allclose(keyed.states["h"], full.states.cell.h, rtol=1e-5, atol=1e-6)
    before = jnp.concatenate([jnp.zeros((1, 4, H)), keyed.states["h"][:-1]])
    z, n = keyed.gates["z"], keyed.candidates["n"]
    np.testing.assert_allclose((1 - z) * n + z * before, keyed.states["h"], rtol=1e-5, atol=1e-6)
    plain = trace(sm.gru(cases.D, H), params, xs)
    assert np.abs(plain.gates["r"] - keyed.gates["r"]).max() > 0.01


def test_cells_without_names():
    """A user's LSTM: its packed gates are split by number; a linear cell has a and b."""
    cell, _ = cases.CELLS["peephole"]
    params, xs = cases.params_of(cell), cases.inputs()
    got = trace(cell, params, xs)
    assert list(got.pre_activations) == ["gate_0", "gate_1", "gate_2", "gate_3"]
    before = jnp.concatenate([jnp.zeros((1, 4, H)), got.states["h"][:-1]])
    want = jnp.einsum("tbd,dh->tbh", xs, params["w_x"])[..., H : 2 * H]
    want = want + jnp.einsum("tbg,gh->tbh", before, params["w_h"])[..., H : 2 * H]
    np.testing.assert_allclose(got.pre_activations["gate_1"], want, rtol=1e-4, atol=1e-5)
    assert (got.gates, got.candidates, got.retention) == ({}, {}, None)
    assert set(got.states) == {"h", "c"}
    attention, _ = cases.ALL["attention"]
    params = cases.params_of(attention)
    got = trace(attention, params, xs)
    want = jax.nn.sigmoid(jnp.einsum("tbd,dh->tbh", xs, params["gate"]))
    np.testing.assert_allclose(got.gates["a.norm"], want, rtol=1e-5)
    assert got.gates["a.memory"].shape == (T, 4, 1, 1)
    assert got.states["memory"].shape == (T, 4, H, H)
    assert trace(cases.ALL["step_alone"][0], cases.params_of(cell), xs).gates == {}


@pytest.mark.parametrize("num_steps", [0, 1])
def test_very_short_sequences(num_steps):
    cell = sm.gru(cases.D, H)
    got = trace(cell, cases.params_of(cell), cases.inputs((2,), num_steps), method="scan")
    assert got.gates["z"].shape == got.states["h"].shape == (num_steps, 2, H)


ONE_UNIT = sm.lstm(1, 1)
ZEROS = sm.cells.LSTMParams(np.zeros((1, 4)), np.zeros((1, 4)), np.zeros(4))
ZEROS = jax.tree.map(np.float32, ZEROS)


def constant_gates(**biases):
    """An LSTM whose gates depend on nothing: weights of zero."""
    logits = [np.log(f / (1 - f)) for f in (biases[n] for n in "ifgo")]
    return ZEROS._replace(b=jnp.array(logits, jnp.float32))


@settings(max_examples=20, deadline=None)
@given(f=st.floats(0.01, 0.999), i=st.floats(0.01, 0.99))
def test_time_constants_and_saturation_of_constant_gates(f, i):
    params = constant_gates(i=i, f=f, g=0.5, o=0.5)
    got = trace(ONE_UNIT, params, jnp.ones((5, 2, 1)), lengths=np.array([5, 2]))
    found = memory(got)
    want = -1 / np.log(f)
    np.testing.assert_allclose(found.time_constant, want, rtol=2e-3)
    np.testing.assert_allclose(found.half_life, np.log(2) * found.time_constant, rtol=1e-5)
    assert found.share_longer(want * 1.01) == 0
    assert found.share_longer(want * 0.99) == 1
    shares = saturation(got, low=0.2, high=0.7)
    if abs(i - 0.2) > 1e-3:
        assert shares["i"].below == (i < 0.2)
    if abs(i - 0.7) > 1e-3:
        assert shares["i"].above == (i > 0.7)
    assert shares["g"].below == shares["g"].above == 0


def test_units_that_keep_all_or_nothing():
    cell = sm.make_linear_cell(
        lambda key: (),
        lambda params, batch: jnp.zeros((*batch, 3)),
        lambda params, x_t: (jnp.broadcast_to(jnp.array([0.0, 0.5, 1.0]), x_t.shape), x_t),
    )
    found = memory(trace(cell, (), jnp.ones((4, 2, 3))))
    np.testing.assert_allclose(found.time_constant, [0, 1 / np.log(2), np.inf])
    np.testing.assert_allclose(found.half_life, [0, 1, np.inf])
    assert found.share_longer(1.0) == pytest.approx(2 / 3)


def test_saturation_counts_valid_steps_alone():
    params = ZEROS._replace(w_x=jnp.array([[5.0, 0, 5.0, 0]]))
    xs = jnp.array([1.0, 1, -1, 0, -1, -1]).reshape(6, 1, 1)
    got = trace(ONE_UNIT, params, xs, lengths=np.array([4]))
    shares = saturation(got)
    assert (shares["i"].above, shares["i"].below) == (0.5, 0.25)
    assert (shares["g"].above, shares["g"].below) == (0.5, 0.25)
    assert (shares["f"].above, shares["f"].below) == (0, 0)


def test_token_table():
    cell = sm.gru(cases.D, H)
    params, xs = cases.params_of(cell), cases.inputs()
    tokens = np.asarray(jax.random.randint(jax.random.key(5), (T, 4), -1, 6))
    got = trace(cell, params, xs, lengths=cases.LENGTHS, mask=cases.MASK)
    table = token_table(got, tokens, 5)
    valid = np.asarray(got.valid)
    for token in range(5):
        rows = valid & (tokens == token)
        assert table.counts[token] == rows.sum()
        for name in ("r", "z", "n"):
            want = np.asarray(got.named[name])[rows]
            want = want.mean(0) if len(want) else np.full(H, np.nan)
            np.testing.assert_allclose(table.means[name][token], want, rtol=1e-5, atol=1e-6)
    assert "retention" in table.means
    with pytest.raises(ValueError, match=r"tokens: got int32\[7\], expected integers of shape"):
        token_table(got, np.zeros(7, np.int64), 5)


def test_unrolling_does_not_call_the_names():
    def explode(*arguments):
        raise AssertionError

    cell = sm.gru(cases.D, H)._replace(gates=(explode, explode))
    params, xs = cases.params_of(cell), cases.inputs()
    jax.eval_shape(lambda p: sm.unroll_full(cell, p, xs), params)
    with pytest.raises(AssertionError):
        trace(cell, params, xs)


def test_mistakes():
    cell = sm.rnn(1, 2)
    with pytest.raises(ValueError, match="memory: got a trace without retention"):
        memory(trace(cell, cases.init(cell), jnp.ones((2, 1))))
    gates = [lambda p, s, g: sm.GateValues()] * 2
    with pytest.raises(ValueError, match="gates: got 2, expected one per stage: 1"):
        sm.make_cell(cell.init, cell.initial_state, *cell.stages, gates=gates)


def test_gradients_reach_the_parameters():
    """The mean of f over valid steps, by finite differences in float64."""
    with jax.enable_x64(True):
        cell = sm.lstm(cases.D, H)
        params, xs = cases.to64(cases.params_of(cell)), cases.to64(cases.inputs())

        @jax.jit
        def mean(b):
            got = trace(cell, params._replace(b=b), xs, lengths=cases.LENGTHS)
            return jnp.sum(jnp.where(got.valid[..., None], got.gates["f"], 0))

        slope = jax.grad(mean)(params.b)
        step = 1e-6 * jnp.eye(4 * H)[H]
        want = (mean(params.b + step) - mean(params.b - step)) / 2e-6
        assert slope[H] == pytest.approx(float(want), rel=1e-6)
