"""A text classifier embeds, recurs, pools; what is behind the end of a text changes nothing."""

import functools

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm
from seqmodels.models.text_classifier import pool, text_classifier

KEY = jax.random.key(0)
V, D, H, C, K = 11, 4, 3, 2, 3
CELLS = {
    "bag": (None, 0),
    "rnn": (sm.rnn(D, H), H),
    "lstm": (sm.lstm(D, H), H),
    "bilstm": (sm.bidirectional(sm.lstm(D, H), sm.lstm(D, H)), 2 * H),
}


@functools.cache
def build(name, **settings):
    cell, size = CELLS[name]
    sizes = {"num_features": V, "embedding_size": D, "hidden_size": size, "output_size": C}
    model = cases.compiled(text_classifier(cell, **sizes, **settings))
    return model, model.init(KEY)


def batch(lengths, num_steps):
    rng = np.random.default_rng(0)
    features = np.zeros((num_steps, len(lengths), K), np.int32)
    for row, length in enumerate(lengths):
        features[:length, row] = rng.integers(0, V, (length, K))
    return features, np.array(lengths, np.int32)


@pytest.mark.parametrize("pool_words", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_against_one_text_at_a_time(name, pool_words):
    """The oracle: NumPy means and maxima of the cell's outputs for the text by itself."""
    model, params = build(name, pool_words=pool_words)
    cell, size = CELLS[name]
    params = params._replace(b_out=jnp.array([0.5, -0.25]))
    features, lengths = batch([5, 0, 2, 7], 7)
    got = model.apply(params, features, lengths)
    for row, length in enumerate(lengths):
        own_words = pool_words or cell is None
        pooled = np.zeros(2 * (size + D * own_words), np.float32)
        if length:
            table = np.asarray(params.embedding)
            xs = np.zeros((length, D), np.float32)
            for t in range(length):
                own = [table[k] for k in features[t, row] if k]
                xs[t] = np.mean(own, axis=0) if own else 0
            every = [np.asarray(sm.unroll(cell, params.cell, xs)[1])] if cell else []
            every += [xs] if own_words else []
            pooled = np.concatenate([f for ys in every for f in (ys.mean(axis=0), ys.max(axis=0))])
        want = pooled @ np.asarray(params.w_out) + np.array([0.5, -0.25], np.float32)
        cases.assert_close(got[row], want)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("filling", [0, 3])
def test_padding_never_changes_a_prediction(name, filling):
    model, params = build(name)
    features, lengths = batch([5, 0, 2], 5)
    want = model.apply(params, features, lengths)
    more = np.concatenate([features, np.full((9, 3, K), filling, np.int32)])
    for row, length in enumerate(lengths):
        more[length:, row] = filling
    cases.assert_close(model.apply(params, more, lengths), want)
    wider = np.concatenate([features, np.zeros((5, 3, 4), np.int32)], axis=2)
    cases.assert_close(model.apply(params, wider, lengths), want)


def test_padding_has_no_gradient():
    model, params = build("bilstm")
    features, lengths = batch([3, 0], 6)
    features[3:, 0], features[:, 1] = 10, 10
    features[:3, 0] %= 10

    def loss(params):
        return jnp.sum(model.apply(params, features, lengths) ** 2)

    gradient = jax.jit(jax.grad(loss))(params).embedding
    assert np.all(np.asarray(gradient)[[0, 10]] == 0)
    assert np.any(np.asarray(gradient) != 0)
    assert np.all(np.isfinite(gradient))


def test_pool_of_nothing_and_of_negative_values():
    ys = -jnp.ones((4, 3, 2))
    np.testing.assert_array_equal(pool(ys, jnp.array([4, 1, 0])), [[-1] * 4, [-1] * 4, [0] * 4])
    np.testing.assert_array_equal(pool(ys[:0], jnp.zeros(3, jnp.int32)), np.zeros((3, 4)))


def test_a_key_switches_dropout_on_and_it_keeps_the_mean():
    model, params = build("rnn", dropout=0.5, word_dropout=0.0, embedding_dropout=0.0)
    features, lengths = batch([5, 4], 5)
    still = model.apply(params, features, lengths)
    drawn = jax.vmap(lambda key: model.apply(params, features, lengths, key=key))(
        jax.random.split(KEY, 4000)
    )
    assert np.std(drawn, axis=0).min() > 1e-3
    np.testing.assert_allclose(np.mean(drawn, axis=0), still, atol=0.05)


@pytest.mark.parametrize("kind", ["word_dropout", "embedding_dropout"])
def test_what_is_dropped_in_the_inputs(kind):
    rates = {"dropout": 0.0, "word_dropout": 0.0, "embedding_dropout": 0.0}
    model, params = build("rnn", **rates | {kind: 0.5})
    features, lengths = batch([5, 4], 5)
    one = model.apply(params, features, lengths, key=KEY)
    assert np.abs(one - model.apply(params, features, lengths)).max() > 1e-3
    cases.assert_close(one, model.apply(params, features, lengths, key=KEY), 0)
    with pytest.raises(ValueError, match=f"{kind}: got 1.0, expected 0 <= {kind} < 1"):
        build("rnn", **{kind: 1.0})


def test_low_precision_and_double():
    model, params = build("lstm")
    features, lengths = batch([5, 2], 5)
    want = model.apply(params, features, lengths)
    low = jax.tree.map(lambda a: a.astype(jnp.bfloat16), params)
    got = model.apply(low, features, lengths)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(got.astype(np.float32), want, atol=0.05)


def test_a_bag_knows_no_order():
    model, params = build("bag")
    features, lengths = batch([6], 6)
    turned = features[::-1]
    cases.assert_close(model.apply(params, turned, lengths), model.apply(params, features, lengths))


def test_a_size_without_a_cell():
    with pytest.raises(ValueError, match="hidden_size: got 4, expected 0"):
        text_classifier(None, num_features=V, embedding_size=D, hidden_size=4, output_size=C)


def test_embeddings_start_from_vectors():
    vectors = np.zeros((5, D), np.float32)
    vectors[[2, 4]] = [[1, 2, 3, 4], [-1, 0, 0, 0]]
    fresh = build("rnn")[1]
    started = build.__wrapped__("rnn", vectors=vectors)[1]  # an array is no key of a cache
    cases.assert_close(started.embedding[np.array([2, 4])], 0.3 * vectors[[2, 4]])
    others = np.array([0, 1, 3, *range(5, V)])
    cases.assert_close(started.embedding[others], fresh.embedding[others])
