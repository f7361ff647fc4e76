"""`seqmodels.linen.RNN` inside other modules and under the transformations of Flax and JAX."""

import importlib

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax.core import meta
from jax.sharding import PartitionSpec

import seqmodels as sm
import seqmodels.linen

B, T, D, H = 3, 5, 4, 4
KEY = jax.random.key
LIBRARIES = (nn, seqmodels.linen)


@pytest.fixture(scope="module")
def xs():
    return jax.random.normal(KEY(1), (B, T, D))


def check(models, unrolled, *args, **kwargs):
    """Same variables, outputs and gradients; the second model is ours, and returned is its loss."""
    variables = [model.init(KEY(0), *args, **kwargs) for model in models]
    chex.assert_trees_all_equal(*variables)
    assert not unrolled

    def loss(model, variables):
        out = model.apply(variables, *args, **kwargs)
        return sum(jnp.sum(jnp.sin(a)) for a in jax.tree.leaves(out)), out

    @jax.jit
    def grads(variables):
        return [jax.value_and_grad(loss, 1, has_aux=True)(model, variables) for model in models]

    expected, given = grads(variables[0])
    assert unrolled
    chex.assert_trees_all_close(given, expected, atol=1e-5)
    return variables[0]


def compact(library):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, xs):
            cell = nn.GRUCell(H)
            return library.RNN(cell)(xs) + library.RNN(cell, reverse=True)(xs)

    return Model()


def in_setup(library):
    class Model(nn.Module):
        def setup(self):
            self.rnns = [library.RNN(nn.SimpleCell(H)), library.RNN(nn.SimpleCell(H))]

        def __call__(self, xs):
            for number in (0, 1, 0):
                xs = self.rnns[number](xs)
            return xs

    return Model()


def scanned(library):
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, xs, _):
            return library.RNN(nn.GRUCell(H))(xs), None

    class Model(nn.Module):
        @nn.compact
        def __call__(self, xs):
            layers = nn.scan(
                Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=2
            )
            return layers()(xs, None)[0]

    return Model()


def remat(library):
    return nn.remat(library.RNN)(nn.GRUCell(H))


def ensemble(library):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, xs):
            many = nn.vmap(
                library.RNN,
                in_axes=None,
                variable_axes={"params": 0},
                split_rngs={"params": True},
                axis_size=2,
            )
            return many(nn.GRUCell(H))(xs)

    return Model()


def jitted(library):
    return nn.jit(library.RNN)(nn.LSTMCell(H), return_carry=True)


def pair(library):
    rnns = library.RNN(nn.LSTMCell(H)), library.RNN(nn.GRUCell(H))
    return library.Bidirectional(*rnns, return_carry=True, merge_fn=lambda a, b: a * b)


def nested_pair(library):
    """The options of the RNNs and the order given to the pair have no effect."""
    rnns = [library.RNN(nn.GRUCell(H), reverse=True, time_major=True) for _ in range(2)]
    return library.Bidirectional(*rnns)


@pytest.mark.parametrize(
    "make",
    [
        compact,
        in_setup,
        scanned,
        remat,
        ensemble,
        pair,
        pytest.param(jitted, marks=pytest.mark.slow),
        pytest.param(nested_pair, marks=pytest.mark.slow),
    ],
    ids=lambda make: make.__name__,
)
def test_inside_modules(make, xs, unrolled):
    check([make(library) for library in LIBRARIES], unrolled, xs)


def test_bidirectional_calls(xs, unrolled):
    lengths = jnp.array([5, 2, 3])
    cell = nn.LSTMCell(H, carry_init=nn.initializers.normal())
    models = [
        library.Bidirectional(library.RNN(cell), library.RNN(cell.clone())) for library in LIBRARIES
    ]
    options = {"seq_lengths": lengths, "return_carry": True, "reverse": True, "keep_order": False}
    variables = check(models, unrolled, xs, init_key=KEY(7), **options)
    carry, _ = models[1].apply(variables, xs, init_key=KEY(7), **options)
    given = [m.apply(variables, xs, initial_carry=carry, **options) for m in models]
    chex.assert_trees_all_close(*given, atol=1e-6)


def test_partitioned_parameters(xs, unrolled):
    cell = nn.GRUCell(
        H, kernel_init=nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model"))
    )
    models = [library.RNN(cell) for library in LIBRARIES]
    variables = check(models, unrolled, xs)
    assert isinstance(variables["params"]["cell"]["ir"]["kernel"], meta.Partitioned)
    spec = nn.get_partition_spec(variables)["params"]["cell"]["ir"]["kernel"]
    assert spec == PartitionSpec(None, "model")


def test_vmap_over_parameters_and_inputs(xs, unrolled):
    flax, ours = (library.RNN(nn.OptimizedLSTMCell(H)) for library in LIBRARIES)
    variables = jax.vmap(flax.init, (0, None))(jax.random.split(KEY(0), 2), xs)
    both = jnp.stack([xs, -xs])
    expected, given = (jax.vmap(model.apply)(variables, both) for model in (flax, ours))
    assert unrolled
    chex.assert_trees_all_close(given, expected, atol=1e-5)


def test_vmap_over_sequences(xs, unrolled):
    """Two mapped axes and a batch axis; the sum of gradients and the gradient of each example."""
    inputs = jnp.stack([xs, -xs, 2 * xs])[:, :, None]  # (3, B, 1, T, D)
    lengths = jnp.array([[[5], [2], [0]]] * 3)
    model = seqmodels.linen.RNN(nn.GRUCell(H), return_carry=True, zero_padding=True)
    variables = model.init(KEY(0), xs)

    def loss(variables, xs, lengths):
        out = model.apply(variables, xs, seq_lengths=lengths)
        return sum(jnp.sum(jnp.sin(a)) for a in jax.tree.leaves(out))

    @jax.jit
    def grads(variables):
        def mapped(variables):
            each = jax.vmap(jax.vmap(loss, (None, 0, 0)), (None, 1, 1), 1)
            return jnp.sum(each(variables, inputs, lengths))

        rows = jax.vmap(jax.grad(loss), (None, 0, 0))(variables, inputs, lengths)
        total = jax.tree.map(lambda a: a.sum(0), rows)
        return jax.grad(loss)(variables, inputs, lengths), jax.grad(mapped)(variables), total

    expected, *given = grads(variables)
    assert unrolled
    for tree in given:
        chex.assert_trees_all_close(tree, expected, atol=1e-5)


def test_shapes_without_arrays(xs):
    for make in (jitted, pair):
        shapes = [
            jax.eval_shape(make(library).init_with_output, KEY(0), xs) for library in LIBRARIES
        ]
        chex.assert_trees_all_equal(*shapes)


def test_modules_are_values():
    cell = nn.GRUCell(H)
    model = seqmodels.linen.RNN(cell, method=sm.chunked(memory_budget="1GiB"), zero_padding=True)
    assert model.clone() == model
    assert hash(model.clone()) == hash(model)
    assert model != seqmodels.linen.RNN(cell)
    assert type(model).__name__ == "RNN"
    assert isinstance(model, nn.RNN)
    assert not hasattr(nn.RNN(cell), "zero_padding")


def test_a_call_outside_of_jit_compiles_once(xs):
    model = seqmodels.linen.RNN(nn.GRUCell(H))
    variables = model.init(KEY(0), xs)
    model.apply(variables, xs)
    programs = importlib.import_module("seqmodels.drivers.unroll")._compiled
    before = programs.cache_info().misses
    for scale in (1, 2):
        seqmodels.linen.RNN(nn.GRUCell(H)).apply(variables, scale * xs)
    assert programs.cache_info().misses == before


METHODS = [pytest.param("scan", marks=pytest.mark.slow), "auto"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("jit", [False, True])
def test_forward_mode(method, jit, xs):
    flax = nn.RNN(nn.LSTMCell(H), return_carry=True)
    ours = seqmodels.linen.RNN(nn.LSTMCell(H), return_carry=True, method=method)
    variables = flax.init(KEY(0), xs)
    tangent = jax.tree.map(jnp.cos, variables)
    wrap = jax.jit if jit else lambda function: function

    def function(model):
        return wrap(lambda variables: model.apply(variables, xs))

    expected, given = (jax.jvp(function(model), (variables,), (tangent,)) for model in (flax, ours))
    chex.assert_trees_all_close(given, expected, atol=1e-5)
    out, linear = jax.linearize(function(ours), variables)
    chex.assert_trees_all_close((out, linear(tangent)), expected, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_jacobian_and_hessian(method, xs):
    flax = nn.RNN(nn.SimpleCell(2))
    ours = seqmodels.linen.RNN(nn.SimpleCell(2), method=method)
    variables = flax.init(KEY(0), xs)

    def output(model, bias):
        layer = {**variables["params"]["cell"]["i"], "bias": bias}
        tree = {"params": {"cell": {**variables["params"]["cell"], "i": layer}}}
        return jnp.sum(jnp.sin(model.apply(tree, xs)), axis=(0, 1))

    for derivative in (jax.jacfwd, jax.hessian):
        expected, given = (
            jax.jit(derivative(lambda bias, model=model: output(model, bias)))(jnp.array([0.1, -1]))
            for model in (flax, ours)
        )
        chex.assert_trees_all_close(given, expected, atol=1e-4)
