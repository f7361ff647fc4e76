"""Every variant of the LSTM against a loop in NumPy, and the options that are refused."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from contract_cases import D, H, inputs, params_of, to64, weighted

import seqmodels as sm

RELU = functools.partial(np.maximum, 0)
# name -> options of the factory, and of the oracle's step
VARIANTS = {
    "none": ({}, {}),
    "no_input_gate": ({"input_gate": False}, {"blocks": "fgo"}),
    "no_forget_gate": ({"forget_gate": False}, {"blocks": "igo"}),
    "no_output_gate": ({"output_gate": False}, {"blocks": "ifg"}),
    "no_gate": (
        {"input_gate": False, "forget_gate": False, "output_gate": False},
        {"blocks": "g"},
    ),
    "coupled": ({"coupled": True, "chrono": 9}, {"blocks": "igo", "coupled": True}),
    "peepholes": ({"peepholes": True, "output_gate": False}, {"blocks": "ifg"}),
    "gate_recurrence": ({"gate_recurrence": True, "forget_gate": False}, {"blocks": "igo"}),
    "hard_sigmoid": ({"gate": "hard_sigmoid"}, {"gate": lambda a: np.clip(a / 6 + 0.5, 0, 1)}),
    "relu_gates": ({"gate": "relu"}, {"gate": RELU}),
    "relu": ({"candidate": "relu", "output": "relu"}, {"candidate": RELU, "output": RELU}),
    "identity": (
        {"candidate": "identity", "output": "identity"},
        {"candidate": lambda a: a, "output": lambda a: a},
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_the_loop_in_numpy_and_fused_has_the_gradient_of_scan(name):
    options, of_oracle = VARIANTS[name]
    cell = sm.lstm_variant(D, H, **options)
    with jax.enable_x64(True):
        params, xs = to64(params_of(cell)), to64(inputs())

        def loss(params, xs, method):
            final, ys = sm.unroll(cell, params, xs, method=method)
            return weighted((final, ys)), ys

        both = [
            jax.jit(jax.grad(functools.partial(loss, method=method), argnums=(0, 1), has_aux=True))
            for method in ("scan", sm.fused(chunk=3))
        ]
        (gradient, ys), (of_fused, _) = (function(params, xs) for function in both)
        chex.assert_trees_all_close(of_fused, gradient, rtol=1e-9, atol=1e-9)
        state = cell.initial_state(params, ())._asdict()
        state = {leaf: np.asarray(a) for leaf, a in state.items() if a is not None}
        many = {leaf: np.broadcast_to(a, (4, *a.shape)) for leaf, a in state.items()}
        step = functools.partial(oracle.lstm_variant_step, **of_oracle)
        _, expected = oracle.unroll(step, params, xs, many, state)
        np.testing.assert_allclose(ys, expected, rtol=1e-9, atol=1e-9)


def test_without_options_it_is_the_lstm():
    keys = jax.random.key(3)
    params = sm.lstm_variant(D, H).init(keys)
    same = sm.cells.LSTMParams(params.w_x, params.w_h, params.b)
    got = sm.unroll(sm.lstm_variant(D, H), params, inputs())[1]
    expected = sm.unroll(sm.lstm(D, H), same, inputs())[1]
    np.testing.assert_array_equal(got, expected)


def test_biases_follow_the_memory_that_is_asked_for():
    bias = sm.lstm_variant(D, H, coupled=True, forget_bias=2.0).init(jax.random.key(0)).b
    np.testing.assert_array_equal(bias, np.repeat([-2.0, 0, 0], H))
    bias = sm.lstm_variant(D, H, chrono=50).init(jax.random.key(0)).b
    np.testing.assert_array_equal(bias[:H], -bias[H : 2 * H])
    assert (bias[H : 2 * H] > 0).all()
    assert (bias[H : 2 * H] < np.log(49)).all()
    bias = sm.lstm_variant(D, H, forget_gate=False, chrono=50).init(jax.random.key(0)).b
    assert bias.shape == (3 * H,)
    assert (bias[:H] < 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gate": "tanh"}, "gate: got 'tanh'"),
        ({"candidate": "sigmoid"}, "candidate: got 'sigmoid'"),
        ({"output": ""}, "output: got ''"),
        ({"coupled": True, "input_gate": False}, "coupled: expected an input gate"),
        ({"chrono": 2}, "chrono: got 2"),
        (
            dict.fromkeys(("input_gate", "forget_gate", "output_gate"), False)
            | {"gate_recurrence": True},
            "gate_recurrence: got no gate",
        ),
    ],
)
def test_an_option_that_makes_no_cell_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        sm.lstm_variant(D, H, **options)


def test_products_in_low_precision_keep_the_state_in_float32():
    cell = sm.lstm_variant(D, H, gate_recurrence=True, peepholes=True, dtype=jnp.bfloat16)
    final, ys = sm.unroll(cell, params_of(cell), inputs())
    assert ys.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in final} == {jnp.dtype(jnp.float32)}
