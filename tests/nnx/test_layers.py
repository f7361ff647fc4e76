"""The native modules against `sm.unroll` with the same cells and parameters."""

import doctest
import importlib

import flax_nnx_checks as checks
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqmodels as sm
import seqmodels.nnx
from seqmodels.nnx import GRU, LSTM, SimpleRNN, wrap

LENGTHS = jnp.array([1, 5, 3])
FACTORIES = {LSTM: sm.lstm, GRU: sm.gru, SimpleRNN: sm.rnn}


def values(module):
    return jax.tree.map(
        lambda p: p[...], module.params, is_leaf=lambda p: isinstance(p, nnx.Variable)
    )


def batch_first(ys):
    return jax.tree.map(lambda a: jnp.moveaxis(a, 0, 1), ys)


@pytest.mark.parametrize(
    ("kind", "bidirectional"), [(LSTM, False), (LSTM, True), (GRU, False), (SimpleRNN, True)]
)
def test_a_stack_is_unrolled(kind, bidirectional):
    D, H, factory = checks.D, checks.H, FACTORIES[kind]
    layer = kind(D, H, num_layers=2, bidirectional=bidirectional, rngs=nnx.Rngs(0))
    sizes = (D, 2 * H if bidirectional else H)
    cells = [
        sm.bidirectional(*[factory(n, H)] * 2) if bidirectional else factory(n, H) for n in sizes
    ]
    xs = checks.new_inputs()
    resets = jax.random.bernoulli(jax.random.key(4), 0.3, (3, checks.T))
    final, ys = layer(xs, lengths=LENGTHS, resets=resets, return_state=True)
    expected = sm.unroll(
        sm.stack(cells),
        values(layer),
        jnp.moveaxis(xs, 1, 0),
        lengths=LENGTHS,
        resets=resets.T,
        method="scan",
    )
    checks.assert_close((final, batch_first(ys)), expected)
    checks.assert_close(values(layer), sm.stack(cells).init(nnx.Rngs(0).params()), tolerance=0)


def test_paths_are_readable():
    layer = LSTM(3, 4, num_layers=2, bidirectional=True, learn_initial_state=True, rngs=nnx.Rngs(0))
    paths = {path for path, _ in nnx.to_flat_state(nnx.state(layer, nnx.Param))}
    assert ("params", 1, "backward", "w_h") in paths
    assert ("params", 0, "forward", "initial", "c") in paths
    assert len(paths) == 2 * 2 * 5
    assert not jax.tree.leaves(nnx.state(layer, nnx.Not(nnx.Param)))


def test_time_major_reverse_and_state():
    xs = checks.new_inputs()
    layer = GRU(checks.D, checks.H, rngs=nnx.Rngs(0))
    time_major = GRU(checks.D, checks.H, time_major=True, rngs=nnx.Rngs(0))
    final, ys = layer(xs, reverse=True, return_state=True)
    checks.assert_close(batch_first(ys), time_major(batch_first(xs), reverse=True))
    state, first = layer(xs[:, 2:], reverse=True, return_state=True)
    rest, second = layer(xs[:, :2], reverse=True, initial_state=state, return_state=True)
    checks.assert_close((rest, jnp.concatenate([second, first], 1)), (final, ys))


def test_mask_is_passed_on(monkeypatch):
    seen = {}

    def fake_unroll(cell, params, xs, state, **options):
        seen.update(options)
        return (), xs

    monkeypatch.setattr(seqmodels.flax_shared.batch_major, "unroll", fake_unroll)
    layer, mask = GRU(checks.D, checks.H, rngs=nnx.Rngs(0)), jnp.arange(6).reshape(2, 3) > 2
    layer(jnp.zeros((2, 3, checks.D)), mask=mask)
    np.testing.assert_array_equal(seen["mask"], mask.T)


def test_mask_and_lengths():
    layer, xs = GRU(checks.D, checks.H, rngs=nnx.Rngs(0)), checks.new_inputs()
    mask = jax.random.bernoulli(jax.random.key(4), 0.6, (3, checks.T))
    final, ys = layer(xs, mask=mask, lengths=LENGTHS, return_state=True)
    expected = sm.unroll(
        layer.cell,
        values(layer),
        batch_first(xs),
        mask=mask.T,
        lengths=LENGTHS,
        method="scan",
    )
    checks.assert_close((final, batch_first(ys)), expected)


def test_dropout_as_in_flax_modules():
    xs = checks.new_inputs()
    rates = {"dropout": 0.5, "recurrent_dropout": 0.5}
    layer = LSTM(checks.D, 16, num_layers=2, rngs=nnx.Rngs(0), **rates)
    plain = LSTM(checks.D, 16, num_layers=2, rngs=nnx.Rngs(0))
    first, second = layer(xs), layer(xs)
    assert not jnp.allclose(first, second)
    assert layer.rngs.count[...] == 2
    assert plain.rngs is None
    checks.assert_close(layer(xs, deterministic=True), plain(xs))
    layer.eval()
    checks.assert_close(layer(xs), plain(xs))
    layer.train()
    key = jax.random.key(7)
    cell = layer.cell
    expected = sm.unroll(cell, values(layer), jnp.moveaxis(xs, 1, 0), key=key, method="scan")[1]
    checks.assert_close(batch_first(layer(xs, rngs=key)), expected)
    # The key of a stream, and of Rngs.
    stream, rngs = nnx.RngStream(1, tag="dropout"), nnx.Rngs(dropout=1)
    checks.assert_close(layer(xs, rngs=stream), layer(xs, rngs=rngs), tolerance=0)


def test_a_state_is_carried_under_dropout():
    xs = checks.new_inputs()
    layer = LSTM(checks.D, 16, num_layers=2, recurrent_dropout=0.5, rngs=nnx.Rngs(0))
    state, _ = layer(xs, return_state=True)
    key = jax.random.key(7)
    assert not jnp.allclose(
        layer(xs, initial_state=state, rngs=key), layer(xs, initial_state=state, deterministic=True)
    )
    # The masks ride in the state, so that the pieces of a sequence have the same.
    first, _ = layer(xs[:, :0], return_state=True, rngs=key)
    whole = layer(xs, rngs=key)
    checks.assert_close(layer(xs, initial_state=first), whole)
    middle, ys = layer(xs[:, :2], return_state=True, rngs=key)
    rest = layer(xs[:, 2:], initial_state=middle, rngs=jax.random.key(8))
    checks.assert_close(jnp.concatenate([ys, rest], axis=1), whole)


def test_wrap_any_cell():
    cell = sm.residual(sm.min_gru(checks.D, checks.D))
    layer, xs = wrap(cell, method="associative", rngs=nnx.Rngs(0)), checks.new_inputs()
    _, expected = sm.unroll(cell, values(layer), jnp.moveaxis(xs, 1, 0))
    checks.assert_close(batch_first(layer(xs)), expected)


def test_parameters_that_are_not_floats_are_not_params():
    def step(params, state, x_t):
        state = state + params["scale"] * x_t + params["step"]
        return state, state

    cell = sm.Cell(
        init=lambda key: {"scale": jnp.array([2.0]), "step": jnp.array([3])},
        initial_state=lambda params, batch_shape: jnp.zeros((*batch_shape, 1)),
        step=lambda p, s, x: step({k: v[None] for k, v in p.items()}, s, x),
    )
    layer = wrap(cell, rngs=nnx.Rngs(0))
    assert [p for p, _ in nnx.to_flat_state(nnx.state(layer, nnx.Param))] == [("params", "scale")]
    ys = layer(jnp.ones((2, 3, 1)))
    np.testing.assert_array_equal(ys[..., 0], [[5, 10, 15]] * 2)


def test_training_decreases_the_loss():
    layer = LSTM(checks.D, checks.H, num_layers=2, dropout=0.1, rngs=nnx.Rngs(0))
    xs = checks.new_inputs()

    @nnx.jit
    def step(layer):
        def loss(layer):
            return jnp.mean(jnp.square(layer(xs, lengths=LENGTHS) - 0.5))

        value, gradients = nnx.value_and_grad(loss)(layer)
        params = nnx.state(layer, nnx.Param)
        nnx.update(layer, jax.tree.map(lambda p, g: p - 0.5 * g, params, gradients))
        return value

    losses = [step(layer) for _ in range(20)]
    assert losses[-1] < 0.8 * losses[0]
    assert layer.rngs.count[...] == 20


def test_equal_options_give_equal_graphs():
    one, two = (LSTM(3, 4, dropout=0.1, num_layers=2, rngs=nnx.Rngs(n)) for n in (0, 1))
    assert nnx.graphdef(one) == nnx.graphdef(two)
    ensemble = nnx.eval_shape(
        lambda: nnx.vmap(lambda rngs: LSTM(3, 4, rngs=rngs))(nnx.Rngs(0).split(5))
    )
    assert ensemble.params[0].w_x.shape == (5, 3, 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_layers": 0}, "layers: num_layers: got 0, expected a positive integer"),
        ({"dropout": 1.0, "num_layers": 2}, "dropout: rate: got 1.0, expected 0 <= rate < 1"),
        ({"method": "fussed"}, "method: got 'fussed', expected one of"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        LSTM(3, 4, rngs=nnx.Rngs(0), **options)


def test_options_of_the_cell():
    layer = GRU(3, 4, reset_after=True, update_bias=1.5, rngs=nnx.Rngs(0))
    cell = sm.stack([sm.gru(3, 4, reset_after=True, update_bias=1.5)])
    checks.assert_close(values(layer), cell.init(nnx.Rngs(0).params()), tolerance=0)
    with pytest.raises(TypeError, match="forget_bias"):
        GRU(3, 4, forget_bias=1.0, rngs=nnx.Rngs(0))


def test_random_call_needs_a_stream():
    layer = wrap(sm.dropout(sm.rnn(3, 4), 0.5), rngs=nnx.Rngs(0))
    layer.rngs = None
    with pytest.raises(ValueError, match="rngs: got None, expected"):
        layer(jnp.zeros((2, 3, 3)))


@pytest.mark.parametrize("name", ["bidirectional", "layers", "rnn", "wrapped_cell"])
def test_examples(name):
    module = importlib.import_module(f"seqmodels.nnx.{name}")
    names = {"nnx": seqmodels.nnx, "sm": sm, "jnp": jnp}
    result = doctest.testmod(module, extraglobs=names)
    assert result.attempted >= 2
    assert not result.failed


def test_one_import_moves_a_file():
    assert seqmodels.nnx.Linear is nnx.Linear
    assert seqmodels.nnx.LSTMCell is nnx.LSTMCell
    assert {"RNN", "LSTM", "Linear"} <= set(dir(seqmodels.nnx))
    with pytest.raises(AttributeError, match="Linnear"):
        seqmodels.nnx.Linnear  # noqa: B018
