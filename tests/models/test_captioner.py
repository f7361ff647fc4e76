"""A picture starts the decoder: teacher forcing, decoding and gradients agree."""

import functools

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm
from seqmodels.models.captioner import captioner
from seqmodels.models.decoding import beam_search, greedy

KEY = jax.random.key(0)
V, SHAPE = 7, (4, 8, 3)


@functools.cache
def model(make_cell=sm.lstm, **settings):
    sizes = {"hidden_size": 6, "embedding_size": 4, "feature_size": 5, "channels": (3,)}
    return cases.compiled(captioner(make_cell, SHAPE, vocabulary_size=V, **sizes | settings))


def pictures(rows=3):
    return np.random.default_rng(0).integers(0, 256, (rows, *SHAPE), np.uint8)


@pytest.mark.parametrize("make_cell", [sm.rnn, sm.gru, sm.lstm])
@pytest.mark.parametrize("patch", [1, 2])
def test_steps_give_what_teacher_forcing_gives(make_cell, patch):
    captioning = model(make_cell, patch=patch)
    params, images = captioning.init(KEY), pictures()
    tokens = jax.random.randint(KEY, (5, 3), 0, V)
    want = jax.nn.log_softmax(captioning.apply(params, images, tokens))
    carry = captioning.start(params, images)
    for t, token in enumerate(tokens):
        carry, log_probs = captioning.decode_step(params, carry, token)
        np.testing.assert_allclose(log_probs, want[t], atol=2e-5)


def test_an_lstm_by_hand():
    """The equations of the docstring, in NumPy, from the encoder's features on."""
    captioning = model()
    params, images = captioning.init(KEY), pictures(2)
    rng = np.random.default_rng(1)
    start = tuple(layer._replace(b=jnp.asarray(rng.normal(size=6))) for layer in params.start)
    params = params._replace(start=start)
    _, features = captioning.start(params, images)
    assert features.shape == (2, 5)
    assert (features >= 0).all()
    params = jax.tree.map(np.asarray, params)
    h, c = (np.tanh(np.asarray(features) @ layer.w + layer.b) for layer in params.start)
    x = np.concatenate([params.embedding[[1, 4]], features], axis=1)
    gates = x @ params.cell.w_x + h @ params.cell.w_h + params.cell.b
    i, f, g, o = np.split(gates, 4, axis=1)
    c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
    logits = np.tanh(c) / (1 + np.exp(-o)) @ params.out.w + params.out.b
    found = captioning.apply(params, images, jnp.array([[1, 4]]))
    np.testing.assert_allclose(found[0], logits, atol=1e-5)


def test_what_is_after_the_end_changes_nothing():
    captioning = model()
    params, images = captioning.init(KEY), pictures()
    tokens, lengths = jax.random.randint(KEY, (5, 3), 0, V), jnp.array([2, 5, 3])
    longer = jnp.concatenate([tokens, jnp.full((4, 3), 6)])

    def total(params, tokens):
        valid = jnp.arange(len(tokens))[:, None] < lengths[None]
        logits = captioning.apply(params, images, tokens, lengths)
        return jnp.sum(jnp.where(valid[..., None], logits, 0) ** 2)

    gradient = jax.jit(jax.value_and_grad(total))
    one, short = gradient(params, tokens)
    other, long = gradient(params, longer)
    np.testing.assert_allclose(one, other, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), short, long)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(short))


def test_numbers_of_pixels_and_shares_are_the_same_picture():
    captioning = model()
    params, images = captioning.init(KEY), pictures()
    tokens = jnp.zeros((2, 3), int)
    np.testing.assert_allclose(
        captioning.apply(params, images, tokens),
        captioning.apply(params, images.astype(np.float32) / 255, tokens),
        atol=1e-6,
    )


def test_rows_are_told_apart_and_decoded_apart():
    captioning = model()
    params, images = captioning.init(jax.random.key(2)), pictures(4)

    @jax.jit
    def decode(images):
        def step(carry, token):
            return captioning.decode_step(params, carry, token)

        carry = captioning.start(params, images)
        return greedy(step, carry, 2, 3, 6), beam_search(step, carry, 2, 3, 6, width=3)

    one, several = decode(images)
    for row in range(4):
        alone, beams = decode(images[row : row + 1])
        np.testing.assert_array_equal(alone.tokens[0], one.tokens[row])
        np.testing.assert_array_equal(beams.tokens[0], several.tokens[row])


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="patch: got 3, expected a divisor of 4 and of 8"):
        model(patch=3)
    captioning = model()
    with pytest.raises(ValueError, match=r"images: got shape \(2, 8, 4, 3\), expected \(B, 4, 8"):
        captioning.apply(captioning.init(KEY), jnp.zeros((2, 8, 4, 3)), jnp.zeros((1, 2), int))
