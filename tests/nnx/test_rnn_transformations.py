"""`seqmodels.nnx.RNN` under the transformations of NNX and JAX, against `flax.nnx.RNN`."""

import flax_nnx_checks as checks
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from seqmodels.nnx import RNN

KINDS = (RNN, nnx.RNN)


class Net(nnx.Module):
    """A recurrent layer and a readout of the width of the inputs."""

    def __init__(self, kind, rngs):
        self.rnn = kind(nnx.GRUCell(checks.D, checks.H, rngs=rngs), rngs=rngs)
        self.readout = nnx.Linear(checks.H, checks.D, rngs=rngs)

    def __call__(self, xs):
        return self.readout(self.rnn(xs))


class OwnNet(Net):
    def __init__(self, rngs):
        super().__init__(RNN, rngs)


class FlaxNet(Net):
    def __init__(self, rngs):
        super().__init__(nnx.RNN, rngs)


def loss(net, xs):
    return jnp.sum(jnp.square(net(xs)))


def nets():
    return [Net(kind, nnx.Rngs(0)) for kind in KINDS]


def test_jit_and_value_and_grad():
    @nnx.jit
    def step(net, xs):
        value, gradients = nnx.value_and_grad(loss)(net, xs)
        params = nnx.state(net, nnx.Param)
        nnx.update(net, jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients))
        return value

    ours, flax = nets()
    for _ in range(2):
        checks.assert_close(step(ours, checks.new_inputs()), step(flax, checks.new_inputs()))
    checks.assert_same_state(ours.rnn.rngs, flax.rnn.rngs)
    checks.assert_close(nnx.state(ours, nnx.Param), nnx.state(flax, nnx.Param))


def test_vmap_and_scan_over_layers():
    def deep(kind):
        @nnx.split_rngs(splits=2)
        @nnx.vmap
        def create(rngs):
            return Net(kind, rngs)

        @nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
        def forward(net, xs):
            return nnx.remat(lambda net, xs: net(xs))(net, xs)

        net = create(nnx.Rngs(0))
        ensemble = nnx.vmap(lambda net, xs: net(xs), in_axes=(0, None))(net, checks.new_inputs())
        value, gradients = nnx.jit(
            nnx.value_and_grad(lambda net, xs: jnp.sum(jnp.square(forward(net, xs))))
        )(net, checks.new_inputs())
        return ensemble, value, gradients, nnx.state(net, nnx.RngState)

    ours, flax = map(deep, KINDS)
    checks.assert_close(ours, flax)


def test_graph_operations():
    net = nets()[0]
    graphdef, state = nnx.split(net)
    assert hash(graphdef) == hash(nnx.graphdef(nnx.clone(net)))
    assert graphdef == nnx.graphdef(nnx.clone(net))
    merged = nnx.merge(graphdef, state)
    assert type(merged.rnn) is RNN
    assert merged.rnn.method == "auto"
    other = Net(RNN, nnx.Rngs(5))
    nnx.update(other, nnx.state(net))
    checks.assert_same_state(other, net)
    xs = checks.new_inputs()
    checks.assert_close(nnx.clone(net)(xs), other(xs), tolerance=0)
    abstract = nnx.eval_shape(lambda: Net(RNN, nnx.Rngs(0)))
    assert abstract.rnn.cell.dense_i.kernel.shape == (checks.D, 3 * checks.H)
    out = nnx.eval_shape(lambda net, xs: net(xs), net, xs)
    assert out.shape == xs.shape


def test_partition_specs_are_those_of_flax():
    metadata = {"kernel_metadata": {"out_sharding": ("model", None)}}
    with jax.set_mesh(jax.make_mesh((1,), ("model",), (jax.sharding.AxisType.Auto,))):
        rnns = [kind(checks.new_cell("gru", **metadata)) for kind in KINDS]
        ours, flax = (nnx.get_partition_spec(nnx.state(rnn)) for rnn in rnns)
        spec = ours["cell"]["dense_i"]["kernel"].get_value()
        assert spec == flax["cell"]["dense_i"]["kernel"].get_value()
        assert spec[0] == "model"


def test_bridge_to_linen():
    xs = checks.new_inputs()
    results = []
    for kind in (OwnNet, FlaxNet):
        module = nnx.bridge.to_linen(kind)
        variables = module.init({"params": jax.random.key(0), "carry": jax.random.key(1)}, xs)
        results.append((module.apply(variables, xs), variables["params"]))
    checks.assert_close(*results)


@pytest.mark.parametrize("jitted", [False, True])
def test_forward_mode(jitted):
    xs = checks.new_inputs()
    results = []
    for net in nets():
        graphdef, params, rest = nnx.split(net, nnx.Param, ...)

        def run(params, xs, graphdef=graphdef, rest=rest):
            return nnx.merge(graphdef, params, rest, copy=True)(xs)

        run = jax.jit(run) if jitted else run
        ys, tangents = jax.jvp(run, (params, xs), (params, jnp.cos(xs)))
        _, linear = jax.linearize(run, params, xs)
        results.append((ys, tangents, linear(params, jnp.cos(xs))))
    checks.assert_close(*results)


@pytest.mark.skipif(not hasattr(nnx, "jvp"), reason="this Flax has no nnx.jvp")
def test_nnx_jvp():
    xs = checks.new_inputs()
    checks.assert_close(
        *(
            nnx.jvp(lambda xs, net=net: nnx.clone(net)(xs), (xs,), (-xs,), graph=False)
            for net in nets()
        )
    )


@pytest.mark.slow
def test_hessian():
    xs = checks.new_inputs((1,))[:, :2]
    hessians = [
        jax.hessian(lambda xs, net=net: jnp.sum(jnp.square(nnx.clone(net)(xs))))(xs)
        for net in nets()
    ]
    checks.assert_close(*hessians)


@pytest.mark.parametrize("method", ["scan", "chunked"])
def test_method_selects_the_driver(method):
    cell, xs = checks.new_cell("gru"), checks.new_inputs()
    checks.assert_close(RNN(cell, method=method)(xs), nnx.RNN(cell)(xs))
