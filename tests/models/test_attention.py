"""Attention against a NumPy loop and weights worked out by hand."""

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm
from seqmodels.models.attention import (
    AdditiveParams,
    AttentionCellParams,
    GeneralParams,
    additive_attention,
    attention_cell,
    general_attention,
)

B, S, T, H, M, A = 3, 5, 4, 6, 7, 8
LENGTHS = np.array([5, 1, 3])
KINDS = {
    "additive": cases.compiled(additive_attention(H, M, A)),
    "general": cases.compiled(general_attention(H, M)),
}


def drawn(name):
    attention = KINDS[name]
    params = attention.init(jax.random.key(0))
    params = jax.tree.map(lambda a: a + 0.1, params)  # no bias of zero
    values = jax.random.normal(jax.random.key(1), (S, B, M))
    queries = jax.random.normal(jax.random.key(2), (T, B, H))
    return attention, params, values, queries


def by_loops(params, values, lengths, queries):
    """Returns weights (T, B, S) and contexts (T, B, M), one number at a time, in float64."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    values, queries = np.asarray(values, np.float64), np.asarray(queries, np.float64)
    T, B = queries.shape[:2]
    weights = np.zeros((T, B, len(values)))
    contexts = np.zeros((T, B, values.shape[-1]))
    for t in range(T):
        for b in range(B):
            scores = []
            for s in range(lengths[b]):
                if isinstance(params, AdditiveParams):
                    inner = queries[t, b] @ p.w_query + values[s, b] @ p.w_memory + p.b
                    scores.append(p.v @ np.tanh(inner))
                else:
                    scores.append(queries[t, b] @ (values[s, b] @ p.w_memory))
            e = np.exp(np.array(scores) - max(scores))
            weights[t, b, : lengths[b]] = e / e.sum()
            for s in range(lengths[b]):
                contexts[t, b] += weights[t, b, s] * values[s, b]
    return weights, contexts


@pytest.mark.parametrize("name", KINDS)
def test_against_a_loop(name):
    attention, params, values, queries = drawn(name)
    memory = attention.remember(params, values, LENGTHS)
    found = attention.attend(params, memory, queries)
    weights, contexts = by_loops(params, values, LENGTHS, queries)
    cases.assert_close(found.weights, weights)
    cases.assert_close(found.context, contexts)
    assert np.all(np.asarray(found.weights)[:, 1, 1:] == 0)
    for t in range(T):  # one step at a time, as a decoder asks
        one = attention.attend(params, memory, queries[t])
        cases.assert_close(one.weights, weights[t])
        cases.assert_close(one.context, contexts[t])


def test_general_weights_by_hand():
    # Scores 0, log 2 and log 5 make weights 1/8, 2/8 and 5/8.
    values = jnp.log(jnp.array([1.0, 2.0, 5.0]))[:, None, None]
    attention = general_attention(1, 1)
    params = GeneralParams(jnp.ones((1, 1)))
    found = attention.attend(params, attention.remember(params, values, [3]), jnp.ones((1, 1)))
    cases.assert_close(found.weights, np.array([[1, 2, 5]]) / 8)
    cases.assert_close(found.context, np.array([[(2 * np.log(2) + 5 * np.log(5)) / 8]]))
    shorter = attention.attend(params, attention.remember(params, values, [2]), jnp.ones((1, 1)))
    cases.assert_close(shorter.weights, np.array([[1, 2, 0]]) / 3)


def test_additive_weights_by_hand():
    # tanh(atanh(x)) = x, so that the scores are 0 and 1/2 * 2 log 3 = log 3: weights 1/4, 3/4.
    attention = additive_attention(1, 1, 1)
    params = AdditiveParams(
        w_query=jnp.ones((1, 1)), w_memory=jnp.ones((1, 1)), b=jnp.zeros(1),
        v=jnp.array([2 * np.log(3)], jnp.float32),
    )  # fmt: skip
    values = jnp.array([-0.25, np.arctanh(0.5) - 0.25], jnp.float32)[:, None, None]
    memory = attention.remember(params, values, [2])
    found = attention.attend(params, memory, jnp.full((1, 1), 0.25))
    cases.assert_close(found.weights, np.array([[0.25, 0.75]]))


@pytest.mark.parametrize("name", KINDS)
def test_padding_changes_nothing_and_gets_no_gradient(name):
    attention, params, values, queries = drawn(name)

    def total(values, lengths):
        found = attention.attend(params, attention.remember(params, values, lengths), queries)
        return jnp.sum(jnp.sin(found.context)), found

    longer = jnp.concatenate([values, jnp.full((2, B, M), 1e3)])
    gradient = jax.jit(jax.value_and_grad(total, has_aux=True))
    (_, short), d_short = gradient(values, LENGTHS)
    (_, long), d_long = gradient(longer, LENGTHS)
    # A sum over more steps may be rounded in another order.
    cases.assert_close(long.context, short.context)
    cases.assert_close(long.weights[..., :S], short.weights)
    cases.assert_close(d_long[:S], d_short)
    padded = np.arange(S + 2)[:, None] >= LENGTHS
    assert np.all(np.asarray(d_long)[padded] == 0)
    assert np.all(np.asarray(long.weights)[..., S:] == 0)


@pytest.mark.parametrize("name", KINDS)
def test_an_empty_source_gives_nothing(name):
    attention, params, values, queries = drawn(name)

    def total(params):
        memory = attention.remember(params, values, np.zeros(3, int))
        found = attention.attend(params, memory, queries)
        return jnp.sum(found.context + 1), found

    (_, found), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
    assert np.all(np.asarray(found.context) == 0)
    assert np.all(np.asarray(found.weights) == 0)
    assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("name", KINDS)
def test_an_attending_cell_against_a_loop(name):
    attention, params, values, _ = drawn(name)
    D = 2
    inner = sm.lstm(D + M, H)
    cell = attention_cell(inner, attention, lambda state: state.h)
    fresh = cases.init(cell, 3)
    assert jax.tree.map(jnp.shape, fresh.attention) == jax.tree.map(jnp.shape, params)
    memory = attention.remember(params, values, LENGTHS)
    given = AttentionCellParams(fresh.cell, params, memory)
    xs = jax.random.normal(jax.random.key(4), (T, B, D))
    lengths = np.array([4, 2, 0])
    final, ys = sm.unroll(cell, given, xs, lengths=lengths)
    state, step = inner.initial_state(fresh.cell, (B,)), jax.jit(inner.step)
    for t in range(T):
        weights, context = by_loops(params, values, LENGTHS, state.h[None])
        x_t = np.concatenate([xs[t], context[0].astype(np.float32)], axis=-1)
        state, hidden = step(fresh.cell, state, x_t)
        for b in range(B):
            inside = t < lengths[b]
            cases.assert_close(ys.weights[t, b], weights[0, b] * inside)
            cases.assert_close(ys.context[t, b], context[0, b] * inside)
            cases.assert_close(ys.hidden[t, b], hidden[b] * inside)
            if t + 1 == lengths[b]:
                cases.assert_close(final.c[b], state.c[b])


def test_sizes():
    with pytest.raises(ValueError, match="additive: attention_size: got 0"):
        additive_attention(1, 1, 0)
    with pytest.raises(ValueError, match="general: memory_size: got 0"):
        general_attention(1, 0)
