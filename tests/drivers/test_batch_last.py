"""Loops that store the batch axis last: the same results, in another layout, where it pays."""

import functools

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import seqmodels as sm
from seqmodels.drivers.fused.batch_last import batch_last

pytestmark = pytest.mark.optimized

D, H = cases.D, cases.H
LAST = sm.fused(chunk=3, batch_last=True)
CELLS = {
    "two stages": sm.gru(D, H),
    "gates that are a pytree": sm.gru(D, H, reset_after=True),
    "an update with parameters": cases.peephole_lstm(),
    "a learned state": sm.lstm(D, H, learn_initial_state=True),
    "masks in the state": sm.dropout(sm.lstm(D, H), 0.5),
    "one activation": sm.rnn(D, H),
}
CONTRACTS = {
    "plain": {},
    "contract": {"lengths": cases.LENGTHS, "resets": cases.RESETS},
    "reverse": {"lengths": cases.LENGTHS, "resets": cases.RESETS, "reverse": True},
}


def value_and_gradients(cell, method, params, xs, **contract):
    def loss(params, xs):
        key = jax.random.key(3)
        full = sm.unroll_full(cell, params, xs, key=key, method=method, **contract)
        results = jax.tree.leaves((full.final_state, full.ys, full.states))
        reals = [a for a in results if jnp.issubdtype(a.dtype, jnp.floating)]
        return sum((n + 1.5) * jnp.sum(jnp.sin(a)) for n, a in enumerate(reals))

    return jax.jit(jax.value_and_grad(loss, (0, 1)))(params, xs)


@pytest.mark.parametrize(
    ("name", "contract", "save"),
    [
        ("two stages", "contract", True),
        pytest.param("two stages", "plain", False, marks=pytest.mark.slow),
        ("gates that are a pytree", "reverse", True),
        ("an update with parameters", "contract", True),
        ("a learned state", "contract", False),
        ("masks in the state", "reverse", True),
        pytest.param("one activation", "contract", False, marks=pytest.mark.slow),
    ],
)
def test_values_and_gradients_are_those_of_scan(name, contract, save):
    cell, contract = CELLS[name], CONTRACTS[contract]
    params, xs = cases.init(cell), cases.inputs()
    last = sm.fused(chunk=3, save=save, batch_last=True)
    got, want = (value_and_gradients(cell, m, params, xs, **contract) for m in (last, "scan"))
    cases.assert_close(got, want, 1e-5)


def test_seeds_and_second_derivatives():
    cell = CELLS["one activation"]
    params = jax.vmap(cell.init)(jax.random.split(jax.random.key(0), 2))

    def curvature(method):
        def loss(params):
            return jnp.sum(sm.unroll(cell, params, cases.inputs(), method=method)[1] ** 2)

        def slope(params):
            return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(jax.grad(loss)(params)))

        return jax.jit(jax.vmap(jax.grad(slope)))(params)

    cases.assert_close(curvature(LAST), curvature("scan"), 1e-4)


def test_two_devices():
    cell = CELLS["gates that are a pytree"]
    params, xs = cases.init(cell), cases.inputs()
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    batch = PartitionSpec(None, "data")

    def total(method, params, xs):
        return jnp.sum(sm.unroll(cell, params, xs, method=method)[1] ** 2)

    spread = jax.shard_map(
        lambda p, x: jax.lax.psum(total(LAST, p, x), "data"),
        mesh=mesh,
        in_specs=(PartitionSpec(), batch),
        out_specs=PartitionSpec(),
    )
    got = jax.jit(jax.value_and_grad(spread))(params, xs)
    cases.assert_close(got, jax.value_and_grad(functools.partial(total, "scan"))(params, xs), 1e-5)


def step_of_many_operations(known, h, rows):
    """Products on either side, parts, calls, and operations that have no rule of their own."""
    x, word = rows
    w, u, b = known
    left = h @ w + (w.T @ x.T).T
    i, f = jnp.split(left + b[None], 2, axis=-1)
    joined = jnp.concatenate([jax.nn.relu(i), -f, 2.0 * h[:, :2]], axis=-1)
    top, bottom = jnp.split(h, 2, axis=0)
    halves = jnp.concatenate([bottom, top], axis=0)
    return {
        "joined": jax.jit(jnp.sin)(joined),
        "words": u[word] + jnp.broadcast_to(b[:3], (4, 3)),
        "sum": jnp.sum(halves @ w, axis=-1),
        "known": jnp.outer(jnp.arange(4.0), b),
        "sorted": jnp.sort(jnp.cumsum(h, axis=-1), axis=0),
    }


def test_any_operation_of_a_step():
    keys = jax.random.split(jax.random.key(0), 5)
    w, u, b = (jax.random.normal(k, s) for k, s in zip(keys, [(6, 6), (5, 3), (6,)], strict=False))
    h, x = jax.random.normal(keys[3], (4, 6)), jax.random.normal(keys[4], (4, 6))
    rows = (x, jnp.array([1, 0, 4, 4]))
    run = batch_last(step_of_many_operations, (w, u, b), h, rows)
    got = run(h.T, rows)
    want = step_of_many_operations((w, u, b), h, rows)
    for name, value in want.items():
        np.testing.assert_allclose(np.moveaxis(got[name], -1, 0), value, rtol=1e-5, atol=1e-6)


def products_of(function, *arguments):
    """The products in the loops of a function: for each the shapes of both operands."""
    found = []

    def visit(jaxpr, in_loop):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "dot_general" and in_loop:
                found.append(tuple(var.aval.shape for var in equation.invars))
            for value in jax.tree.leaves(equation.params, is_leaf=lambda a: hasattr(a, "eqns")):
                inner = getattr(value, "jaxpr", value)
                if hasattr(inner, "eqns"):
                    visit(inner, in_loop or equation.primitive.name == "scan")

    visit(jax.make_jaxpr(function)(*arguments).jaxpr, False)
    return found


def test_weights_are_the_left_operand_of_every_step():
    cell, B, K = sm.lstm(3, 16), 2, 4
    params, xs = cell.init(jax.random.key(0)), jnp.ones((2 * K, B, 3))

    def loss(params):
        method = sm.fused(chunk=K, save=True, batch_last=True)
        return jnp.sum(sm.unroll(cell, params, xs, method=method)[1])

    forward, gradient = products_of(loss, params), products_of(jax.grad(loss), params)
    assert forward == [((64, 3), (B, 3)), ((64, 16), (16, B))]
    assert ((16, 64), (64, B)) in gradient
    assert not any(operands[0][0] == B for operands in gradient)


@pytest.mark.parametrize(
    ("make", "batch_size", "expected"),
    [
        (lambda: sm.lstm(64, 512), 32, True),
        (lambda: sm.gru(64, 512), 32, True),
        (lambda: sm.lstm(64, 128), 32, False),
        (lambda: sm.lstm(64, 512), 1, False),
        (lambda: sm.lstm(64, 512), 256, False),
        (lambda: sm.lstm(64, 512, dtype=jnp.bfloat16), 32, False),
        (lambda: sm.lstm(64, 512, param_dtype=jnp.bfloat16), 32, False),
    ],
)
def test_where_it_is_chosen(make, batch_size, expected):
    cell = make()
    params = jax.eval_shape(cell.init, jax.random.key(0))
    xs = jax.ShapeDtypeStruct((40, batch_size, 64), jnp.float32)
    info = jax.eval_shape(lambda p, x: sm.unroll_full(cell, p, x).info, params, xs)
    assert ("batch_last=True" in info.plan) == expected


def test_a_wrong_setting_is_named():
    with pytest.raises(ValueError, match="fused: batch_last: got 1, expected True, False or None"):
        sm.fused(batch_last=1)
