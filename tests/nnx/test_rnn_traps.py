"""Cells that look like Flax's own and are not: surgery, subclasses, state in activations."""

import functools
import itertools

import flax_nnx_checks as checks
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from seqmodels.flax_shared.pure_functions import is_pure
from seqmodels.nnx import RNN

SLOPE = 0.3
SCALE = nnx.Param(jnp.array(2.0))


class DoublingCell(nnx.GRUCell):
    def __call__(self, carry, inputs):
        carry, y = super().__call__(carry, inputs)
        return carry, 2 * y


class Scaled(nnx.Module):
    def __init__(self):
        self.scale = nnx.Param(jnp.array(2.0))

    def __call__(self, x):
        return jnp.tanh(self.scale[...] * x)


def read_global(x):
    return jnp.tanh(SCALE[...] * x)


def lora(cell):
    cell.dense_i = nnx.LoRALinear(
        checks.D,
        3 * checks.H,
        lora_rank=2,
        b_initializer=nnx.initializers.normal(1.0),
        rngs=nnx.Rngs(3),
    )


def share(cell):
    cell.ig.kernel = cell.ii.kernel
    cell.hf.bias = cell.ho.bias


# Each changes a cell after construction; the second entry says whether a driver may run it.
SURGERIES = {
    "activation": ("gru", lambda cell: setattr(cell, "activation_fn", jax.nn.relu), True),
    "partial": (
        "gru",
        lambda c: setattr(c, "gate_fn", functools.partial(jax.nn.leaky_relu, negative_slope=0.2)),
        True,
    ),
    "softmax gates": ("gru", lambda cell: setattr(cell, "gate_fn", jax.nn.softmax), False),
    "layer": (
        "lstm",
        lambda c: setattr(c, "if_", nnx.Linear(checks.D, checks.H, rngs=nnx.Rngs(9))),
        True,
    ),
    "shared parameters": ("lstm", share, True),
    "LoRA": ("gru", lora, False),
    "module as activation": (
        "gru",
        lambda c: setattr(c, "activation_fn", nnx.data(Scaled())),
        False,
    ),
    "global parameter": ("gru", lambda c: setattr(c, "activation_fn", read_global), False),
    "dot_general": (
        "gru",
        lambda c: setattr(c.dense_h, "dot_general", lambda *a, **k: 2 * jax.lax.dot_general(*a)),
        False,
    ),
    "promote_dtype": (
        "gru",
        lambda c: setattr(c.dense_h, "promote_dtype", lambda args, dtype: (args[0], *args[1:])),
        False,
    ),
    "dtype of one layer": ("gru", lambda c: setattr(c.dense_h, "dtype", jnp.float16), False),
}


@pytest.mark.parametrize("surgery", SURGERIES)
def test_surgery_is_seen(surgery):
    kind, operate, driver_runs = SURGERIES[surgery]
    rnns = [make(checks.new_cell(kind)) for make in (RNN, nnx.RNN)]
    xs = checks.new_inputs()
    for rnn in rnns:
        operate(rnn.cell)
    with checks.counted_drivers() as calls:
        if driver_runs:
            ours, flax = checks.values_and_gradients(lambda rnn, xs: rnn(xs), *rnns, arrays=(xs,))
        else:
            ours, flax = (rnn(xs) for rnn in rnns)
    assert len(calls) == driver_runs
    checks.assert_close(ours, flax)


def test_surgery_is_seen_between_calls():
    xs = checks.new_inputs()
    rnns = [make(checks.new_cell("gru")) for make in (RNN, nnx.RNN)]
    operations = [
        lambda rnn: None,
        lambda rnn: setattr(rnn.cell.dense_i, "kernel", nnx.Param(rnn.cell.dense_i.kernel * 2)),
        lambda rnn: setattr(rnn.cell, "activation_fn", jnp.sin),
        lambda rnn: setattr(rnn, "cell", checks.new_cell("simple", seed=5)),
    ]
    outputs = []
    for operate in operations:
        for rnn in rnns:
            operate(rnn)
        ours, flax = (rnn(xs) for rnn in rnns)
        checks.assert_close(ours, flax)
        outputs.append(ours)
    assert all(not jnp.allclose(a, b) for a, b in itertools.pairwise(outputs))


def test_a_subclass_is_not_the_cell():
    cell = DoublingCell(checks.D, checks.H, rngs=nnx.Rngs(0))
    xs = checks.new_inputs()
    with checks.counted_drivers() as calls:
        ours = RNN(cell)(xs)
    assert not calls
    checks.assert_close(ours, nnx.RNN(cell)(xs))
    checks.assert_close(ours, 2 * RNN(checks.new_cell("gru"))(xs))


def test_parameters_of_each_step_run_as_in_flax():
    cell = checks.new_cell("simple")
    cell.dense_h.kernel = nnx.Param(
        jax.random.normal(jax.random.key(0), (checks.T, checks.H, checks.H))
    )
    axes = nnx.StateAxes({nnx.PathContains("dense_h"): 0, ...: nnx.Carry})
    ours, flax = (kind(cell, state_axes=axes)(checks.new_inputs()) for kind in (RNN, nnx.RNN))
    checks.assert_close(ours, flax)


def test_broadcast_parameters_need_no_fallback():
    axes = nnx.StateAxes({nnx.Param: None, ...: nnx.Carry})
    cell, xs = checks.new_cell(), checks.new_inputs()
    with checks.counted_drivers() as calls:
        ours = RNN(cell, state_axes=axes, broadcast_rngs=...)(xs)
    assert len(calls) == 1
    checks.assert_close(ours, nnx.RNN(cell, state_axes=axes, broadcast_rngs=...)(xs))


def test_capture_of_method_outputs():
    rnn, xs = RNN(checks.new_cell("gru")), checks.new_inputs()
    capture = nnx.capture(rnn, nnx.Intermediate, method_outputs=nnx.Intermediate)
    ys, seen = capture(xs)
    captured = dict(nnx.to_flat_state(seen))
    checks.assert_close(captured[("__call__",)][0], ys)
    checks.assert_close(ys, rnn(xs))


def test_a_patched_class_is_not_the_cell(monkeypatch):
    rnn, xs = RNN(checks.new_cell("gru")), checks.new_inputs()
    expected = 2 * rnn(xs)
    call = nnx.GRUCell.__call__

    def doubled(self, carry, inputs):
        carry, y = call(self, carry, inputs)
        return carry, 2 * y

    monkeypatch.setattr(nnx.GRUCell, "__call__", doubled)
    checks.assert_close(rnn(xs), expected)


def test_wrong_arguments_raise_as_in_flax():
    rnn = RNN(checks.new_cell("gru"))
    with pytest.raises(TypeError, match="dot_general"):
        rnn(jnp.zeros((2, 4, checks.D + 1)))
    with pytest.raises(ValueError, match="method: got 'fussed'"):
        RNN(checks.new_cell("gru"), method="fussed")


def make_closure(value):
    return lambda x: jnp.tanh(value * x)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (jax.nn.relu, True),
        (jnp.tanh, True),
        (jax.lax.tanh, True),
        (jax.nn.gelu, True),
        (lambda x: jnp.tanh(x) + jax.nn.relu(x), True),
        (jax.jit(lambda x: jnp.tanh(x)), True),
        (functools.partial(jax.nn.leaky_relu, negative_slope=0.1), True),
        (make_closure(2.0), True),
        (make_closure(jnp.array(2.0)), False),
        (make_closure(nnx.Param(jnp.array(2.0))), False),
        (jax.jit(make_closure(nnx.Param(jnp.array(2.0)))), False),
        (functools.partial(jnp.multiply, jnp.array(2.0)), False),
        (lambda x: SLOPE * x, False),
        (lambda x: sum(read_global(a) for a in (x,)), False),
        (Scaled(), False),
        (nnx.PReLU(), False),
        (Scaled().__call__, False),
    ],
)
def test_is_pure(function, expected):
    assert is_pure(function) == expected
