"""The model around a cell is an embedding, the cell, and a matrix."""

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm
from seqmodels.models.sequence_model import parameter_count, sequence_model

KEY = jax.random.key(0)


def test_features():
    cell = sm.lstm(cases.D, cases.H)
    model = sequence_model(cell, hidden_size=cases.H, output_size=2)
    params, xs = model.init(KEY), cases.inputs()
    params = params._replace(b_out=jnp.array([1.0, -1.0]))
    _, ys = sm.unroll(cell, params.cell, xs)
    want = np.asarray(ys) @ np.asarray(params.w_out) + np.array([1, -1])
    cases.assert_close(model.apply(params, xs), want[-1:])
    cases.assert_close(model.apply(params, xs, last=3), want[-3:])
    cases.assert_close(model.apply(params, xs, last=cases.T, method="scan"), want)
    assert parameter_count(params) == 4 * cases.H * (cases.D + cases.H + 1) + 2 * cases.H + 2


def test_tokens():
    cell = sm.rnn(5, cases.H)
    model = sequence_model(
        cell, hidden_size=cases.H, output_size=2, vocabulary_size=9, embedding_size=5
    )
    params = model.init(KEY)
    tokens = jax.random.randint(KEY, (6, 3), 0, 9)
    xs = np.asarray(params.embedding)[np.asarray(tokens)]
    cases.assert_close(model.embed(params, tokens), xs, 0)
    _, ys = sm.unroll(cell, params.cell, xs)
    cases.assert_close(model.apply(params, tokens), model.read(params, ys[-1:]))
    assert np.std(params.embedding) == pytest.approx(0.1, rel=0.3)


def test_a_key_switches_dropout_on():
    cell = sm.dropout(sm.rnn(cases.D, cases.H), 0.5)
    model = sequence_model(cell, hidden_size=cases.H, output_size=2)
    params, xs = model.init(KEY), cases.inputs()
    still = model.apply(params, xs)
    cases.assert_close(still, model.apply(params, xs), 0)
    assert np.abs(still - model.apply(params, xs, key=KEY)).max() > 1e-3


@pytest.mark.parametrize("sizes", [{"vocabulary_size": 3}, {"embedding_size": 3}])
def test_vocabulary_and_embedding_go_together(sizes):
    with pytest.raises(ValueError, match="expected both or neither"):
        sequence_model(sm.rnn(3, 4), hidden_size=4, output_size=2, **sizes)


@pytest.mark.parametrize("last", [0, -1, cases.T + 1])
def test_last_is_within_the_sequence(last):
    model = sequence_model(sm.rnn(cases.D, cases.H), hidden_size=cases.H, output_size=2)
    with pytest.raises(ValueError, match=rf"last: got {last}, expected 1 <= last <= T = 7"):
        model.apply(model.init(KEY), cases.inputs(), last=last)
