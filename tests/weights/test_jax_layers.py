"""Weights of Linen, NNX, Haiku and Equinox: outputs as theirs, there and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import weights_cases as cases
from flax import linen, nnx

import seqmodels as sm

eqx = pytest.importorskip("equinox")
hk = pytest.importorskip("haiku")
D, H = cases.D, cases.H
FLAX = [
    ("rnn", "SimpleCell"),
    ("lstm", "LSTMCell"),
    ("lstm", "OptimizedLSTMCell"),
    ("gru_after", "GRUCell"),
]


def linen_layers(name, layers, directions):
    def rnn():
        return linen.RNN(getattr(linen, name)(H), time_major=True)

    if directions == 2:
        return [linen.Bidirectional(rnn(), rnn(), time_major=True) for _ in range(layers)]
    return [rnn() for _ in range(layers)]


@pytest.mark.parametrize("depth", cases.depths())
@pytest.mark.parametrize(("kind", "name"), FLAX)
def test_equals_linen(kind, name, depth):
    trees, ys = [], jnp.asarray(cases.inputs())
    for number, module in enumerate(linen_layers(name, *depth)):
        shapes = jax.eval_shape(module.init, jax.random.key(0), ys)["params"]
        trees.append(cases.randomize(shapes, number))
        apply = jax.jit(module.apply)
        ys = apply({"params": trees[-1]}, ys, seq_lengths=jnp.asarray(cases.LENGTHS))
    cell = cases.make_cell(kind, *depth)
    given = trees if depth[0] > 1 else trees[0]
    params = sm.weights.from_linen(given, cell)
    cases.assert_equals(cell, params, ys, lengths=cases.LENGTHS)
    cases.assert_same_bits(sm.weights.to_linen(params, cell), given)
    cases.assert_same_bits(sm.weights.from_linen(sm.weights.to_linen(params, cell), cell), params)


def test_linen_without_the_level_cell():
    cell = cases.make_cell("lstm", 2, 2)
    params = cases.params_of(cell)
    trees = [{k: v["cell"] for k, v in t.items()} for t in sm.weights.to_linen(params, cell)]
    cases.assert_same_bits(sm.weights.from_linen(trees, cell), params)


def nnx_layers(name, layers, directions):
    modules = []
    for number in range(layers):
        size, rngs = D if number == 0 else directions * H, nnx.Rngs(number)
        pair = [
            nnx.RNN(getattr(nnx, name)(size, H, rngs=rngs), time_major=True)
            for _ in range(directions)
        ]
        modules.append(
            nnx.Bidirectional(*pair, time_major=True, rngs=rngs) if directions == 2 else pair[0]
        )
    return modules


@pytest.mark.parametrize("depth", cases.depths())
@pytest.mark.parametrize(("kind", "name"), FLAX)
def test_equals_nnx(kind, name, depth):
    ys, states, trees = jnp.asarray(cases.inputs()), [], []
    for number, module in enumerate(nnx_layers(name, *depth)):
        state = nnx.state(module, nnx.Param)
        nnx.replace_by_pure_dict(state, cases.randomize(nnx.to_pure_dict(state), number))
        nnx.update(module, state)
        ys = nnx.jit(lambda module, xs: module(xs))(module, ys)
        states.append(nnx.state(module))
        trees.append(jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(module, nnx.Param))))
    cell = cases.make_cell(kind, *depth)
    given = trees if depth[0] > 1 else trees[0]
    params = sm.weights.from_nnx(given, cell)
    cases.assert_equals(cell, params, ys)
    written = sm.weights.to_nnx(params, cell, optimized=name == "OptimizedLSTMCell")
    cases.assert_same_bits(written, given)
    cases.assert_same_bits(sm.weights.from_nnx(written, cell), params)
    # The state itself, with its variables and the counts of its rngs; a dict in a list's place.
    whole = dict(enumerate(states)) if depth[0] > 1 else states[0]
    cases.assert_same_bits(sm.weights.from_nnx(whole, cell), params)


def test_nnx_gru_has_no_place_for_b_n():
    cell = cases.make_cell("gru_after")
    params = cases.params_of(cell)
    with pytest.raises(ValueError, match="to_nnx: params: got values other than zero in b_n"):
        sm.weights.to_nnx(params, cell)
    zero = params._replace(b_n=jnp.zeros(H))
    cases.assert_same_bits(sm.weights.from_nnx(sm.weights.to_nnx(zero, cell), cell), zero)


def haiku_model(name, layers, directions):
    def run(xs):
        ys = xs
        for _ in range(layers):
            outputs = []
            for direction in range(directions):
                core = getattr(hk, name)(H)
                read = jnp.flip(ys, 0) if direction else ys
                out, _ = hk.dynamic_unroll(core, read, core.initial_state(cases.B))
                outputs.append(jnp.flip(out, 0) if direction else out)
            ys = jnp.concatenate(outputs, -1)
        return ys

    return hk.without_apply_rng(hk.transform(run))


@pytest.mark.parametrize("depth", cases.depths())
@pytest.mark.parametrize(
    ("kind", "name"), [("rnn_relu", "VanillaRNN"), ("lstm", "LSTM"), ("gru", "GRU")]
)
def test_equals_haiku(kind, name, depth):
    model, xs = haiku_model(name, *depth), jnp.asarray(cases.inputs())
    given = cases.randomize(jax.eval_shape(model.init, jax.random.key(0), xs))
    cell = cases.make_cell(kind, *depth)
    params = sm.weights.from_haiku(given, cell)
    apply = jax.jit(model.apply)
    want = apply(given, xs)
    cases.assert_equals(cell, params, want)
    written = sm.weights.to_haiku(params, cell)
    np.testing.assert_allclose(apply(written, xs), want, rtol=0, atol=1e-5)
    again = sm.weights.from_haiku(written, cell)
    if kind == "lstm":  # its forget bias is a sum
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-7), again, params)
        return
    cases.assert_same_bits(again, params)
    if kind == "gru":
        cases.assert_same_bits(written, given)


def test_haiku_with_names_of_ones_own_and_one_bias():
    cell = cases.make_cell("rnn_relu", 2)
    params = cases.params_of(cell)
    names = ["model/~/first", "second"]
    written = sm.weights.to_haiku(params, cell, names=names)
    assert list(written)[:2] == ["model/~/first/linear", "model/~/first/linear_1"]
    del written["second/linear_1"]["b"]
    cases.assert_same_bits(sm.weights.from_haiku(written, cell, names=names), params)
    with pytest.raises(ValueError, match=r"names: got \['a'\], expected 2 different names"):
        sm.weights.from_haiku(written, cell, names=["a"])
    with pytest.raises(ValueError, match=r"vanilla_rnn/linear/w: got nothing.*second/linear_1/w"):
        sm.weights.from_haiku(written, cell)


def equinox_layer(modules, ys):
    outputs = []
    for module, flipped in zip(modules, (False, True), strict=False):
        zeros = jnp.zeros((cases.B, H))
        state = (zeros, zeros) if isinstance(module, eqx.nn.LSTMCell) else zeros
        out = []
        for x_t in jnp.flip(ys, 0) if flipped else ys:
            state = jax.vmap(module)(x_t, state)
            out.append(state[0] if isinstance(state, tuple) else state)
        out = jnp.stack(out)
        outputs.append(jnp.flip(out, 0) if flipped else out)
    return jnp.concatenate(outputs, -1)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("depth", cases.depths())
@pytest.mark.parametrize(("kind", "name"), [("lstm", "LSTMCell"), ("gru_after", "GRUCell")])
def test_equals_equinox(kind, name, depth, use_bias):
    layers, directions = depth
    ys, given, trees = jnp.asarray(cases.inputs()), [], []
    for number in range(layers):
        size = D if number == 0 else directions * H
        pair = [
            getattr(eqx.nn, name)(size, H, use_bias=use_bias, key=jax.random.key(2 * number + n))
            for n in range(directions)
        ]
        ys = eqx.filter_jit(equinox_layer)(pair, ys)
        given.append(pair_of(pair))
        trees.append(pair_of([jax.tree.map(np.asarray, fields(module)) for module in pair]))
    cell = cases.make_cell(kind, *depth)
    params = sm.weights.from_equinox(given if layers > 1 else given[0], cell)
    cases.assert_equals(cell, params, ys)
    written = sm.weights.to_equinox(params, cell)
    cases.assert_same_bits(sm.weights.from_equinox(written, cell), params)
    if use_bias:
        cases.assert_same_bits(written, trees if layers > 1 else trees[0])


def pair_of(items):
    return items[0] if len(items) == 1 else dict(zip(("forward", "backward"), items, strict=True))


def fields(module):
    names = ("weight_ih", "weight_hh", "bias", "bias_n")
    return {name: getattr(module, name) for name in names if hasattr(module, name)}


def test_equinox_takes_what_is_written():
    cell = cases.make_cell("gru_after")
    params = cases.params_of(cell)
    leaves = sm.weights.to_equinox(params, cell)
    module = eqx.nn.GRUCell(D, H, key=jax.random.key(0))
    module = eqx.tree_at(lambda m: [getattr(m, n) for n in leaves], module, list(leaves.values()))
    cases.assert_same_bits(sm.weights.from_equinox(module, cell), params)
