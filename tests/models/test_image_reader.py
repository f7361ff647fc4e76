"""An image is read in the order that was asked for, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm
from seqmodels.models.image_reader import image_reader, image_to_sequence, input_size

KEY = jax.random.key(0)
SHAPE = (3, 4, 2)
IMAGES = jnp.arange(5.0 * 24).reshape(5, *SHAPE) / 120


def test_steps():
    rows = np.asarray(image_to_sequence(IMAGES, "rows"))
    pixels = np.asarray(image_to_sequence(IMAGES, "pixels"))
    assert rows.shape == (3, 5, input_size(SHAPE, "rows")) == (3, 5, 8)
    assert pixels.shape == (12, 5, input_size(SHAPE, "pixels")) == (12, 5, 2)
    for image in range(5):
        for y in range(3):
            np.testing.assert_array_equal(rows[y, image], np.ravel(IMAGES[image, y]))
            for x in range(4):
                np.testing.assert_array_equal(pixels[4 * y + x, image], IMAGES[image, y, x])


@pytest.mark.parametrize("reading", ["rows", "pixels"])
@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("make", [sm.rnn, sm.gru, sm.lstm])
def test_against_a_loop(reading, pooling, make):
    cell = make(input_size(SHAPE, reading), 6)
    model = image_reader(cell, hidden_size=6, output_size=3, reading=reading, pooling=pooling)
    params = model.init(KEY)._replace(b_out=jnp.array([1.0, 2.0, 3.0]))
    state, ys = cell.initial_state(params.cell, (5,)), []
    for x_t in image_to_sequence(IMAGES, reading):
        state, y_t = cell.step(params.cell, state, x_t)
        ys.append(np.asarray(y_t))
    pooled = ys[-1] if pooling == "last" else np.mean(ys, axis=0)
    want = pooled @ np.asarray(params.w_out) + [1, 2, 3]
    np.testing.assert_allclose(model.apply(params, IMAGES), want, rtol=1e-4, atol=1e-5)


def test_dropout_by_key():
    cell = sm.dropout(sm.lstm(8, 6), 0.5)
    model = image_reader(cell, hidden_size=6, output_size=3, reading="rows")
    params = model.init(KEY)
    plain = model.apply(params, IMAGES)
    np.testing.assert_array_equal(plain, model.apply(params, IMAGES))
    assert not np.allclose(plain, model.apply(params, IMAGES, key=KEY))


def test_mistakes():
    with pytest.raises(ValueError, match="reading: got 'columns', expected one of rows, pixels"):
        image_reader(sm.rnn(1, 2), hidden_size=2, output_size=2, reading="columns")
    with pytest.raises(ValueError, match="reading: got 'columns', expected one of rows, pixels"):
        image_to_sequence(IMAGES, "columns")
    with pytest.raises(ValueError, match="pooling: got 'max', expected one of last, mean"):
        image_reader(sm.rnn(1, 2), hidden_size=2, output_size=2, reading="rows", pooling="max")
