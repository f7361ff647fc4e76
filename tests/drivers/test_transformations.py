"""Every driver under JAX's transformations: jit, vmap, checkpoint, shard_map, derivatives, bf16."""

import functools
import re

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import seqmodels as sm

T, D, H = cases.T, cases.D, cases.H
every_driver = pytest.mark.parametrize("method", cases.METHODS)
CONTRACT = {"lengths": cases.LENGTHS, "resets": cases.RESETS}


def directional(gradient, params):
    """The sum of a gradient, its product with a vector of ones."""
    return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(gradient(params)))


def loss_of_seed(cell, method, params):
    return jnp.sum(sm.unroll(cell, params, cases.inputs(), method=method, **CONTRACT)[1] ** 2)


@functools.cache
def gradients_of_three_seeds(name):
    """Parameters, and their gradients under `scan`, of one seed at a time."""
    cell, _ = cases.ALL[name]
    gradient = jax.jit(jax.grad(functools.partial(loss_of_seed, cell, "scan")))
    params = [cases.init(cell, seed) for seed in range(3)]
    return [
        jax.tree.map(lambda *a: jnp.stack(a), *trees)
        for trees in (params, [gradient(p) for p in params])
    ]


@every_driver
def test_jit_vmap_grad_and_checkpoint(method):
    name = cases.ONE_CELL[method]
    params, want = gradients_of_three_seeds(name)
    loss = functools.partial(loss_of_seed, cases.ALL[name][0], cases.METHODS[method])
    got = jax.jit(jax.vmap(jax.grad(jax.checkpoint(loss))))(params)
    cases.assert_close(got, want, 1e-5)


def mesh_of(num_devices):
    devices = jax.devices()[:num_devices]
    return jax.make_mesh((num_devices,), ("data",), axis_types=(AxisType.Auto,), devices=devices)


# Cells whose products are in bfloat16, and how far two orders of one sum may be apart, since the
# last digit of a bfloat16 number may be rounded the other way.
LOW_CELLS = {
    "lstm, bfloat16": sm.lstm(D, H, dtype=jnp.bfloat16),
    "gru, bfloat16": sm.gru(D, H, dtype=jnp.bfloat16),
}
LOW_TOLERANCE = 2e-2


def cell_of(name):
    return LOW_CELLS[name] if name in LOW_CELLS else cases.ALL[name][0]


def tolerance_of(name, tolerance=1e-5):
    return LOW_TOLERANCE if name in LOW_CELLS else tolerance


SHARDED = {
    "scan": ("scan", "lstm_learned", T),
    # With whole chunks alone, and with a rest: other code runs.
    "fused": (sm.fused(chunk=4), "lstm_learned", 8),
    "fused, a rest": (sm.fused(chunk=4), "lstm_learned", 11),
    "fused, bfloat16": (sm.fused(chunk=4), "gru, bfloat16", 11),
    "chunked": (sm.chunked(segment=4), "lstm_learned", 8),
    "chunked, a rest": (sm.chunked(segment=4), "lstm_learned", 11),
    "associative": ("associative", "min_gru", T),
    "associative, complex": ("associative", "lru", T),
    "newton": (sm.newton(), "lstm_learned", T),
    "newton, diagonal": (sm.newton(jacobian="diagonal"), "lstm_learned", T),
}


def loss_of_all(cell, method, params, xs, contract):
    full = sm.unroll_full(cell, params, xs, method=method, **contract)
    states = cases.reals(full.states)
    return jnp.sum(full.ys.astype(jnp.float32) ** 2) + sum(jnp.sum(jnp.sin(a)) for a in states)


@functools.cache
def on_one_device(cell):
    return jax.jit(jax.value_and_grad(functools.partial(loss_of_all, cell, "scan")))


@pytest.mark.parametrize("case", SHARDED)
@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.usefixtures("low_products")
def test_inside_shard_map(case, masks):
    """Gradients of replicated parameters are summed over the devices once."""
    method, name, num_steps = SHARDED[case]
    cell = cell_of(name)
    params, xs = cases.params_of(cell), cases.inputs((4,), num_steps)
    over, contract, specs = PartitionSpec(None, "data"), {}, {}
    if masks:
        lengths = jnp.array([num_steps, 0, 1, 4])
        contract = {"lengths": lengths, "resets": jnp.zeros((num_steps, 4), bool).at[3].set(True)}
        specs = {"lengths": PartitionSpec("data"), "resets": over}

    sharded = jax.shard_map(
        jax.value_and_grad(lambda *a: jax.lax.psum(loss_of_all(cell, method, *a), "data")),
        mesh=mesh_of(2),
        in_specs=(PartitionSpec(), over, specs),
        out_specs=PartitionSpec(),
    )
    want = on_one_device(cell)(params, xs, contract)
    cases.assert_close(jax.jit(sharded)(params, xs, contract), want, tolerance_of(name))


@pytest.mark.parametrize("num_devices", [1, 2, 4])
def test_combinators_inside_shard_map(num_devices):
    """Every sequence has a mask of its own, so devices need their part of the keys."""
    cell = sm.bidirectional(sm.lstm(D, H), sm.dropout(sm.gru(D, H), 0.5))
    params = cases.init(cell)
    state = cell.initial_state(params, (4,), key=jax.random.key(1))

    def loss(params, xs, state, lengths, resets):
        return jnp.sum(sm.unroll(cell, params, xs, state, lengths=lengths, resets=resets)[1] ** 2)

    over, rows = PartitionSpec(None, "data"), PartitionSpec("data")
    sharded = jax.shard_map(
        jax.value_and_grad(lambda *a: jax.lax.psum(loss(*a), "data")),
        mesh=mesh_of(num_devices),
        in_specs=(PartitionSpec(), over, rows, rows, over),
        out_specs=PartitionSpec(),
    )
    lengths, resets = jnp.asarray(cases.LENGTHS), jnp.asarray(cases.RESETS)
    arguments = (params, cases.inputs(), state, lengths, resets)
    want = jax.jit(jax.value_and_grad(loss))(*arguments)
    cases.assert_close(jax.jit(sharded)(*arguments), want, 1e-5)


def test_drawing_masks_inside_shard_map():
    """A state without a key is made inside; the initial state is the same on every device."""
    cell = sm.dropout(sm.gru(D, H), 0.5)
    params, xs = cases.init(cell), cases.inputs()

    def part(params, xs):
        key = jax.random.fold_in(jax.random.key(1), jax.lax.axis_index("data"))
        return sm.unroll(cell, params, xs, key=key)[1]

    over = PartitionSpec(None, "data")
    sharded = jax.shard_map(part, mesh=mesh_of(2), in_specs=(PartitionSpec(), over), out_specs=over)
    want = [
        sm.unroll(cell, params, xs[:, 2 * n :][:, :2], key=jax.random.fold_in(jax.random.key(1), n))
        for n in range(2)
    ]
    cases.assert_close(
        jax.jit(sharded)(params, xs), jnp.concatenate([ys for _, ys in want], axis=1)
    )


@functools.cache
def numeric_hessian_times_ones(name):
    """By central differences of the gradient under `scan`, float64."""
    cell, _ = cases.ALL[name]
    params, xs = cases.to64((cases.params_of(cell), cases.inputs()))

    @jax.jit
    @jax.grad
    def gradient(params):
        return jnp.sum(sm.unroll(cell, params, xs, method="scan", **CONTRACT)[1] ** 2)

    step = 1e-5
    ahead, behind = (gradient(jax.tree.map(lambda a, s=s: a + s * step, params)) for s in (1, -1))
    return jax.tree.map(lambda a, b: (a - b) / (2 * step), ahead, behind)


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name == "newton" else [])
        for name in cases.METHODS
    ],
)
def test_second_derivatives_by_reverse_over_reverse(method):
    name = cases.ONE_CELL[method]
    cell, _ = cases.ALL[name]
    with jax.enable_x64(True):
        params, xs = cases.to64((cases.params_of(cell), cases.inputs()))

        def loss(params):
            ys = sm.unroll(cell, params, xs, method=cases.METHODS[method], **CONTRACT)[1]
            return jnp.sum(ys**2)

        second = jax.jit(jax.grad(functools.partial(directional, jax.grad(loss))))(params)
        cases.assert_close(second, numeric_hessian_times_ones(name), 1e-7)


@pytest.mark.parametrize("method", ["auto", *cases.METHODS])
def test_forward_mode(method):
    """Under reverse mode too, and of a function compiled before anyone asks for a derivative."""
    name = cases.ONE_CELL.get(method, "lstm")
    cell, _ = cases.ALL[name]
    with jax.enable_x64(True):
        params, xs = cases.to64((cases.params_of(cell), cases.inputs()))
        ones = jax.tree.map(jnp.ones_like, params)

        def loss(params):
            driver = cases.METHODS.get(method, method)
            return jnp.sum(sm.unroll(cell, params, xs, method=driver, **CONTRACT)[1] ** 2)

        def slope(params):
            return jax.jvp(loss, (params,), (ones,))[1]

        loss = jax.jit(loss)
        got = jax.jit(jax.value_and_grad(slope))(params)
        reverse = jax.jit(jax.grad(loss))
        cases.assert_close(got[0], directional(reverse, params), 1e-11)
        cases.assert_close(got[1], numeric_hessian_times_ones(name), 1e-7)
        forward = jax.jit(lambda p: jax.jvp(jax.grad(loss), (p,), (ones,))[1])(params)
        cases.assert_close(forward, numeric_hessian_times_ones(name), 1e-7)


@pytest.mark.parametrize(
    "name", ["gru, bfloat16", pytest.param("lstm, bfloat16", marks=pytest.mark.slow)]
)
@pytest.mark.usefixtures("low_products")
def test_low_products_under_every_transformation(name):
    """Values, gradients and Hessian-vector products of two seeds, close to those in float32."""
    cell, method = LOW_CELLS[name], sm.fused(chunk=3)
    high = {"lstm, bfloat16": sm.lstm, "gru, bfloat16": sm.gru}[name](D, H)
    params = [cases.params_of(high, seed) for seed in range(2)]
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *params)
    ones = jax.tree.map(jnp.ones_like, params[0])

    def of_seed(cell, method, params):
        def loss(params):
            ys = sm.unroll(cell, params, cases.inputs(), method=method, **CONTRACT)[1]
            return jnp.sum(ys.astype(jnp.float32) ** 2)

        gradient = jax.grad(loss)
        return {
            "value and slope": jax.jvp(loss, (params,), (ones,)),
            "forward over reverse": jax.jvp(gradient, (params,), (ones,)),
            "reverse over reverse": jax.grad(functools.partial(directional, gradient))(params),
        }

    got = jax.jit(jax.vmap(functools.partial(of_seed, cell, method)))(stacked)
    want = jax.jit(jax.vmap(functools.partial(of_seed, high, "scan")))(stacked)
    assert sm.unroll(cell, params[0], cases.inputs())[1].dtype == jnp.bfloat16
    for key, tree in want.items():
        pairs = zip(jax.tree.leaves(got[key]), jax.tree.leaves(tree), strict=True)
        for a, b in pairs:
            assert jnp.linalg.norm(a - b) < 0.03 * jnp.linalg.norm(b), key


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (sm.lstm, 16),
        (sm.gru, 16),
        pytest.param(sm.lstm, 128, marks=pytest.mark.slow),
        pytest.param(sm.gru, 128, marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("low_products")
def test_low_products_in_a_long_sequence(make, size):
    """The gradient over 2,048 steps of float32 parameters is within 2 % of the one in float32."""
    params = cases.init(make(size, size))
    xs = jax.random.normal(jax.random.key(1), (2048, 4, size))

    def loss(dtype, params):
        ys = sm.unroll(make(size, size, dtype=dtype), params, xs, method=sm.fused())[1]
        return jnp.mean(ys.astype(jnp.float32) ** 2)

    @jax.jit
    def both(params):
        return [jax.grad(functools.partial(loss, d))(params) for d in ("bfloat16", "float32")]

    for a, b in zip(*map(jax.tree.leaves, both(params)), strict=True):
        assert a.dtype == jnp.float32
        assert 0 < jnp.linalg.norm(a - b) < 0.02 * jnp.linalg.norm(b)


LOW = {
    "scan": ("scan", sm.lstm),
    "scan, two stages": ("scan", sm.gru),
    "fused": (sm.fused(), sm.lstm),
    "fused, two stages": (sm.fused(), sm.gru),
    "fused, gates saved": (sm.fused(save=True), sm.lstm),
    "chunked": (sm.chunked(segment=64), sm.lstm),
    "associative": ("associative", sm.min_gru),
    "associative, complex": ("associative", sm.lru),
    "newton": (sm.newton(max_iterations=1), sm.rnn),  # and then the loop
}


def long_gradient(cell, method, dtype, params, size):
    """Of bfloat16 numbers in a dtype; they are made outside of jit, which may not round them."""
    xs = jax.random.normal(jax.random.key(1), (2048, 2, size), jnp.bfloat16).astype(dtype)

    def loss(params, xs):
        ys = sm.unroll(cell, params, xs, method=method)[1].astype(jnp.float32)
        return jnp.mean((ys - (0 if cell.stages else 1)) ** 2)

    return jax.jit(jax.grad(loss)), (jax.tree.map(lambda a: a.astype(dtype), params), xs)


@functools.cache
def high_gradient(make, size):
    """In float32 under `scan`."""
    params = cases.init(make(size, size, param_dtype=jnp.bfloat16))
    gradient, arguments = long_gradient(make(size, size), "scan", jnp.float32, params, size)
    return gradient(*arguments)


# Two stages are a structure of the contract suite; newton ends in the loop of `scan` here.
SLOW_LOW = ("scan, two stages", "fused, two stages", "newton")


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[pytest.mark.slow] if case in SLOW_LOW else []) for case in LOW],
)
@pytest.mark.usefixtures("low_products")
def test_weight_gradients_accumulate_in_float32(case):
    """Of bfloat16 parameters over 2,048 steps, against the same numbers in float32."""
    method, make = LOW[case]
    size = 4 if case == "newton" else 16
    low = make(size, size, param_dtype=jnp.bfloat16)
    gradient, arguments = long_gradient(low, method, jnp.bfloat16, cases.init(low), size)
    got = jax.tree.map(lambda a: a.astype(jnp.float32), gradient(*arguments))
    want = high_gradient(make, size)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert jnp.linalg.norm(a - b) < 0.02 * jnp.linalg.norm(b)
    if method == "associative":
        # A CPU adds bfloat16 numbers up in float32 anyway; other backends are not asked to.
        text = str(jax.make_jaxpr(gradient)(*arguments))
        assert "reduce_sum" in text
        assert not re.search(r"bf16\[\S*\] = reduce_sum", text)


def test_lengths_under_jit_are_not_checked_but_hold():
    cell = sm.lstm(D, H)
    params, xs = cases.init(cell), cases.inputs((2,))
    run = jax.jit(lambda lengths: sm.unroll(cell, params, xs, lengths=lengths)[1])
    cases.assert_close(run(jnp.array([T + 5, -1]))[:, 0], sm.unroll(cell, params, xs[:, 0])[1])
    assert not np.any(run(jnp.array([T, -1]))[:, 1])
