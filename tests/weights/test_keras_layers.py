"""Weights of Keras 3: outputs as its layers have them, there and back."""

import os

import jax
import numpy as np
import pytest
import weights_cases as cases

import seqmodels as sm

os.environ["KERAS_BACKEND"] = "jax"
keras = pytest.importorskip("keras")
# Keras' variables do not know NumPy 2's argument `copy`.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
LAYERS = {
    "rnn": ("SimpleRNN", {}),
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {"reset_after": False}),
    "gru_after": ("GRU", {}),
}


def keras_model(kind, layers, directions, **options):
    name, more = LAYERS[kind]
    stack = []
    for _ in range(layers):
        layer = getattr(keras.layers, name)(cases.H, return_sequences=True, **more, **options)
        stack.append(keras.layers.Bidirectional(layer) if directions == 2 else layer)
    model = keras.Sequential(stack)
    with jax.numpy_rank_promotion("allow"):  # as Keras needs it
        model.build((cases.B, cases.T, cases.D))
    model.set_weights(cases.randomize(model.get_weights()))
    return model


def run(model, lengths=None):
    """Outputs (T, B, H) of a Keras model, which has the batch first."""
    ys = np.swapaxes(cases.inputs(), 0, 1)
    mask = None if lengths is None else np.arange(cases.T) < lengths[:, None]
    with jax.numpy_rank_promotion("allow"):
        for layer in model.layers:
            ys = layer(ys, mask=mask)
    return np.swapaxes(np.asarray(ys), 0, 1)


@pytest.mark.parametrize("depth", cases.depths())
@pytest.mark.parametrize("kind", list(LAYERS))
def test_equals_keras(kind, depth):
    model, cell = keras_model(kind, *depth), cases.make_cell(kind, *depth)
    given = model.get_weights()
    params = sm.weights.from_keras(given, cell)
    cases.assert_equals(cell, params, run(model, cases.LENGTHS), lengths=cases.LENGTHS)
    written = sm.weights.to_keras(params, cell)
    cases.assert_same_bits(sm.weights.from_keras(written, cell), params)
    if kind != "gru_after":  # where two biases become one
        cases.assert_same_bits(written, given)
        return
    model.set_weights(written)
    cases.assert_equals(cell, params, run(model))


@pytest.mark.parametrize("kind", ["lstm", "gru_after"])
def test_without_biases(kind):
    model, cell = keras_model(kind, 2, 1, use_bias=False), cases.make_cell(kind, 2)
    params = sm.weights.from_keras(model.get_weights(), cell)
    cases.assert_equals(cell, params, run(model))


def test_one_error_names_every_wrong_array():
    cell = cases.make_cell("lstm", 2)
    arrays = sm.weights.to_keras(cases.params_of(cell), cell)
    arrays[1] = arrays[1][:2]
    with pytest.raises(ValueError, match=r"^from_keras: ") as error:
        sm.weights.from_keras([*arrays, np.zeros(4, np.float32)], cell)
    assert str(error.value) == (
        "from_keras: arrays[1]: got (2, 12), expected (3, 12); "
        "arrays[6]: got (4,), expected nothing"
    )
    with pytest.raises(ValueError, match=r"arrays\[5\]: got nothing, expected \(12,\)"):
        sm.weights.from_keras(arrays[:5], cell)
