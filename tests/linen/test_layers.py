"""The native Linen modules and `wrap` against `sm.unroll`."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax import traverse_util

import seqmodels as sm
from seqmodels.linen import GRU, LSTM, SimpleRNN, wrap

B, T, D, H = 3, 5, 2, 4
KEY = jax.random.key


@pytest.fixture(scope="module")
def xs():
    return jax.random.normal(KEY(1), (B, T, D))


def names(variables):
    return set(traverse_util.flatten_dict(variables["params"], sep="/"))


def as_named_tuple(template, variables):
    """The library's parameters from Flax's, field by field."""
    tree = variables["params"]
    if "layer_0" in tree:
        return tuple(fill(t, tree[f"layer_{n}"]) for n, t in enumerate(template))
    return fill(template, tree)


def fill(template, tree):
    if not hasattr(template, "_fields"):
        return tree
    return template._replace(**{k: fill(getattr(template, k), v) for k, v in tree.items()})


@pytest.mark.parametrize(
    ("model", "cell"),
    [
        (LSTM(H, forget_bias=2.0), lambda: sm.stack([sm.lstm(D, H, forget_bias=2.0)])),
        (
            GRU(H, num_layers=2, reset_after=True, learn_initial_state=True),
            lambda: sm.stack(
                [sm.gru(size, H, reset_after=True, learn_initial_state=True) for size in (D, H)]
            ),
        ),
        (
            SimpleRNN(H, num_layers=2, bidirectional=True, activation="relu"),
            lambda: sm.stack(
                [
                    sm.bidirectional(*(sm.rnn(size, H, activation="relu") for _ in range(2)))
                    for size in (D, 2 * H)
                ]
            ),
        ),
        (wrap(sm.lru(D, H)), lambda: sm.lru(D, H)),
    ],
    ids=["lstm", "gru", "bidirectional", "wrap"],
)
def test_a_module_is_its_cell(model, cell, xs):
    cell = cell()
    lengths = jnp.array([5, 2, 0])
    resets = jnp.zeros((B, T), bool).at[0, 3].set(True)
    variables = model.init(KEY(0), xs)
    params = as_named_tuple(jax.eval_shape(cell.init, KEY(0)), variables)
    chex.assert_trees_all_equal_shapes_and_dtypes(params, cell.init(KEY(0)))
    state, ys = model.apply(variables, xs, lengths=lengths, resets=resets, return_state=True)
    expected_state, expected = sm.unroll(
        cell, params, jnp.moveaxis(xs, 1, 0), lengths=lengths, resets=resets.T, method="scan"
    )
    chex.assert_trees_all_close(ys, jnp.moveaxis(expected, 0, 1), atol=1e-6)
    chex.assert_trees_all_close(state, expected_state, atol=1e-6)
    assert not ys[2].any()


def test_names_of_parameters(xs):
    assert names(LSTM(H).init(KEY(0), xs)) == {f"layer_0/{n}" for n in ("w_x", "w_h", "b")}
    pair = GRU(H, bidirectional=True, learn_initial_state=True).init(KEY(0), xs)
    assert {"layer_0/forward/w_x", "layer_0/backward/initial/h"} <= names(pair)
    assert names(wrap(sm.lstm(D, H)).init(KEY(0), xs)) == {"w_x", "w_h", "b"}


def test_layers_start_differently_and_keys_matter(xs):
    model = LSTM(D, num_layers=2)
    first, second = (model.init(KEY(n), xs)["params"] for n in range(2))
    assert not jnp.allclose(first["layer_0"]["w_h"], first["layer_1"]["w_h"])
    assert not jnp.allclose(first["layer_0"]["w_h"], second["layer_0"]["w_h"])


def test_time_major_several_batch_axes_and_reverse():
    xs = jax.random.normal(KEY(1), (2, 3, T, D))
    model = SimpleRNN(H)
    variables = model.init(KEY(0), xs)
    ys = model.apply(variables, xs, reverse=True)
    other = SimpleRNN(H, time_major=True).apply(variables, jnp.moveaxis(xs, 2, 0), reverse=True)
    chex.assert_trees_all_close(jnp.moveaxis(other, 0, 2), ys)
    flipped = model.apply(variables, jnp.flip(xs, 2))
    chex.assert_trees_all_close(jnp.flip(flipped, 2), ys, atol=1e-6)


def test_a_state_carries_on(xs):
    model = GRU(H, num_layers=2)
    variables = model.init(KEY(0), xs)
    whole = model.apply(variables, xs)
    state, first = model.apply(variables, xs[:, :2], return_state=True)
    rest = model.apply(variables, xs[:, 2:], initial_state=state)
    chex.assert_trees_all_close(jnp.concatenate([first, rest], 1), whole, atol=1e-6)


DROPPING = LSTM(H, num_layers=2, dropout=0.5, recurrent_dropout=0.5)


@pytest.fixture(scope="module")
def variables(xs):
    return DROPPING.init(KEY(0), xs)


def test_without_dropout_it_is_the_plain_module(variables, xs):
    plain = LSTM(H, num_layers=2).apply(variables, xs)
    for rngs, deterministic in (({}, None), ({"dropout": KEY(2)}, True)):
        ys = DROPPING.apply(variables, xs, rngs=rngs, deterministic=deterministic)
        chex.assert_trees_all_equal(ys, plain)


def test_the_stream_decides_about_masks(variables, xs):
    def run(key):
        return DROPPING.apply(variables, xs, rngs={"dropout": key})

    assert not jnp.allclose(run(KEY(2)), run(KEY(3)))
    chex.assert_trees_all_equal(run(KEY(2)), run(KEY(2)))
    legacy = jax.random.PRNGKey(2)
    chex.assert_trees_all_equal(run(legacy), run(KEY(2)))


def test_it_asks_for_a_stream(variables, xs):
    with pytest.raises(nn.module.errors.InvalidRngError, match="dropout"):
        DROPPING.apply(variables, xs, deterministic=False)
    plain = LSTM(H, num_layers=2).apply(variables, xs, deterministic=False)
    chex.assert_tree_all_finite(plain)


def test_a_given_state_gets_masks(variables, xs):
    """A state without masks, such as an encoder's, is read with fresh ones."""
    state, _ = DROPPING.apply(variables, xs, return_state=True)
    rngs = {"dropout": KEY(2)}
    plain = DROPPING.apply(variables, xs, initial_state=state)
    new, ys = DROPPING.apply(variables, xs, initial_state=state, rngs=rngs, return_state=True)
    assert not jnp.allclose(ys, plain)
    other = {"dropout": KEY(3)}
    again, _ = DROPPING.apply(variables, xs, initial_state=new, rngs=other, return_state=True)
    chex.assert_trees_all_equal(again[0].noise, new[0].noise)


def test_mask(xs):
    """Steps that do not count are as if they were not there."""
    model = GRU(H, bidirectional=True)
    variables = model.init(KEY(0), xs)
    mask = jnp.array([True, False, True, True, False])
    ys = model.apply(variables, xs.at[:, 1].set(jnp.nan), mask=jnp.broadcast_to(mask, (B, T)))
    expected = model.apply(variables, xs[:, mask])
    chex.assert_trees_all_close(ys[:, mask], expected, atol=1e-6)
    assert not ys[:, ~mask].any()


def test_inside_a_module_under_jit_and_grad(xs):
    class Tagger(nn.Module):
        @nn.compact
        def __call__(self, xs, lengths):
            xs = LSTM(H, bidirectional=True)(xs, lengths=lengths)
            return nn.Dense(2)(wrap(sm.gru(2 * H, H), name="reader")(xs))

    lengths = jnp.array([5, 2, 3])
    xs = xs.at[1, 2:].set(jnp.nan)
    model = Tagger()
    variables = jax.jit(model.init)(KEY(0), xs, lengths)
    assert set(variables["params"]) == {"LSTM_0", "reader", "Dense_0"}

    @jax.jit
    def grad(variables):
        def loss(variables):
            ys = model.apply(variables, xs, lengths)
            valid = jnp.arange(T)[None, :, None] < lengths[:, None, None]
            return jnp.where(valid, ys, 0).sum()

        return jax.grad(loss)(variables)

    grads = grad(variables)
    chex.assert_tree_all_finite(grads)
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(grads["params"]["LSTM_0"]))


def test_modules_are_values():
    assert LSTM(H) == LSTM(H)
    assert hash(LSTM(H)) == hash(LSTM(H).clone())
    assert LSTM(H).build(D) is LSTM(H).clone().build(D)
    assert LSTM(H, method=sm.chunked(memory_budget="1GiB")) != LSTM(H)


def test_errors(xs):
    with pytest.raises(TypeError, match="wrap: cell: got a int"):
        wrap(3)
    with pytest.raises(ValueError, match="num_layers: got 0"):
        LSTM(H, num_layers=0).init(KEY(0), xs)
    with pytest.raises(ValueError, match="lengths: got"):
        LSTM(H).init(KEY(0), xs, lengths=jnp.ones((B, 1), int))
    variables = LSTM(H).init(KEY(0), xs)
    with pytest.raises(nn.module.errors.ScopeParamShapeError):
        LSTM(H + 1).apply(variables, xs)
