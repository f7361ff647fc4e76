"""Encoder and decoder: padding, single steps, scheduled sampling, and that it learns."""

import functools

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seqmodels.models.translator import ATTENTIONS, Carry, translator

B, S, T, V = 3, 5, 4, 11
LENGTHS = np.array([5, 2, 3])
SIZES = {"hidden_size": 6, "embedding_size": 5}


@functools.cache
def drawn(attention, **changes):
    model = cases.compiled(translator(V, V + 1, attention=attention, **SIZES | changes))
    params = model.init(jax.random.key(0))
    params = jax.tree.map(lambda a: 3 * a + 0.05, params)  # nothing is zero, words differ
    sources = jax.random.randint(jax.random.key(1), (S, B), 0, V)
    inputs = jax.random.randint(jax.random.key(2), (T, B), 0, V + 1)
    return model, params, sources, inputs


@pytest.mark.parametrize(
    "attention",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name == "bahdanau" else [])
        for name in ATTENTIONS
    ],
)
def test_padding_of_the_source_changes_nothing(attention):
    model, params, sources, inputs = drawn(attention)

    def total(params, sources):
        logits, weights = model.apply(params, model.encode(params, sources, LENGTHS), inputs)
        return jnp.sum(jnp.sin(logits)), (logits, weights)

    both = jax.jit(jax.value_and_grad(total, has_aux=True))
    (_, (want, weights)), d_want = both(params, sources)
    padded = np.arange(S)[:, None] >= LENGTHS
    for other in (0, V - 1):
        longer = jnp.concatenate([jnp.where(padded, other, sources), jnp.full((4, B), other)])
        (_, (got, wider)), d_got = both(params, longer)
        cases.assert_close(got, want)
        jax.tree.map(cases.assert_close, d_got, d_want)
        if attention != "none":
            cases.assert_close(wider[..., :S], weights)
            assert np.all(np.asarray(wider)[..., S:] == 0)
    for row in range(B):  # alone and without any padding
        length = LENGTHS[row]
        carry = model.encode(params, sources[:length, row : row + 1], np.array([length]))
        alone, _ = model.apply(params, carry, inputs[:, row : row + 1])
        cases.assert_close(alone[:, 0], want[:, row])


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_single_steps_give_what_all_steps_at_once_give(attention):
    model, params, sources, inputs = drawn(attention)
    carry = model.encode(params, sources, LENGTHS)
    logits, weights = model.apply(params, carry, inputs)
    assert logits.shape == (T, B, V + 1)
    assert (weights is None) == (attention == "none")
    if weights is not None:
        cases.assert_close(jnp.sum(weights, axis=-1), np.ones((T, B)))
    for t in range(T):
        carry, log_probs = model.decode_step(params, carry, inputs[t])
        cases.assert_close(log_probs, jax.nn.log_softmax(logits[t]))
        assert all(leaf.shape[0] == B for leaf in jax.tree.leaves(carry))


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_scheduled_sampling_against_a_loop(attention):
    model, params, sources, inputs = drawn(attention, dropout=0.4)
    start = model.encode(params, sources, LENGTHS)
    own = jax.random.bernoulli(jax.random.key(5), 0.5, (T, B))
    read, carry, last = [], start, jnp.zeros(B, int)
    for t in range(T):
        read.append(jnp.where(own[t] & (t > 0), last, inputs[t]))
        carry, log_probs = model.decode_step(params, carry, read[-1])
        last = jnp.argmax(log_probs, axis=-1)
    assert np.any(np.stack(read) != np.asarray(inputs))
    got, _ = jax.jit(model.apply)(params, start, inputs, use_predicted=own)
    cases.assert_close(got, model.apply(params, start, jnp.stack(read))[0])
    never, _ = model.apply(params, start, inputs, use_predicted=jnp.zeros((T, B), bool))
    cases.assert_close(never, model.apply(params, start, inputs)[0])
    # With dropout the words are still those found without it.
    key = jax.random.key(6)
    dropped, _ = model.apply(params, start, inputs, key, own)
    cases.assert_close(dropped, model.apply(params, start, jnp.stack(read), key)[0])
    assert np.abs(np.asarray(dropped - got)).max() > 1e-3

    def total(params):
        return jnp.sum(model.apply(params, start, inputs, use_predicted=own)[0])

    assert all(
        np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(jax.jit(jax.grad(total))(params))
    )


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_key_switches_dropout_on(attention):
    model, params, sources, inputs = drawn(attention, dropout=0.5)
    still = model.encode(params, sources, LENGTHS)
    moved = model.encode(params, sources, LENGTHS, jax.random.key(1))
    assert np.abs(np.asarray(still.state.h - moved.state.h)).max() > 1e-3
    assert isinstance(still, Carry)
    logits = [model.apply(params, still, inputs, key)[0] for key in (None, None, jax.random.key(1))]
    cases.assert_close(logits[0], logits[1], 0)
    assert np.abs(np.asarray(logits[0] - logits[2])).max() > 1e-3


def test_without_attention_only_the_state_is_handed_over():
    model, params, sources, _ = drawn("none")
    carry = model.encode(params, sources, LENGTHS)
    assert carry.memory == ()
    assert params.attention == ()
    assert {leaf.shape for leaf in jax.tree.leaves(carry)} == {(B, SIZES["hidden_size"])}


@pytest.mark.parametrize("attention", ["luong", "bahdanau"])
def test_it_learns_to_write_the_source_backwards(attention):
    model = translator(8, 8, attention=attention, hidden_size=32, embedding_size=16)
    optimizer = optax.adam(0.01)

    @jax.jit
    def train(params):
        def loss(params, key):
            key_words, key_lengths = jax.random.split(key)
            sources = jax.random.randint(key_words, (4, 32), 1, 8)
            lengths = jax.random.randint(key_lengths, (32,), 2, 5)
            steps = jnp.arange(4)[:, None]
            where = jnp.maximum(lengths[None] - 1 - steps, 0)
            targets = jnp.take_along_axis(sources, where, axis=0)
            inputs = jnp.concatenate([jnp.zeros_like(targets[:1]), targets[:-1]])
            logits, _ = model.apply(params, model.encode(params, sources, lengths), inputs)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
            valid = steps < lengths[None]
            right = jnp.sum(valid * (jnp.argmax(logits, axis=-1) == targets)) / jnp.sum(valid)
            return jnp.sum(valid * losses) / jnp.sum(valid), right

        def step(carry, key):
            params, state = carry
            (_, right), gradient = jax.value_and_grad(loss, has_aux=True)(params, key)
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, updates), state), right

        keys = jax.random.split(jax.random.key(1), 300)
        return jax.lax.scan(step, (params, optimizer.init(params)), keys)[1]

    assert np.mean(np.asarray(train(jax.jit(model.init)(jax.random.key(0))))[-10:]) > 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention": "lunog"}, "attention: got 'lunog', expected one of none, luong, bahdanau"),
        ({"hidden_size": 5}, "hidden_size: got 5, expected an even number"),
        ({"embedding_size": 0}, "translator: embedding_size: got 0"),
        ({"dropout": 1.0}, "dropout: got 1.0, expected 0 <= dropout < 1"),
    ],
)
def test_what_will_not_do(change, message):
    with pytest.raises(ValueError, match=message):
        translator(5, 5, **SIZES | change)
