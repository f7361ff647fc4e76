"""Derivative rules of a cell's own (`custom_jvp`, `custom_vjp`, `stop_gradient`) under each driver.

The oracle is `scan`, which JAX differentiates, in float64.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import seqmodels as sm

T, B, D, H = 7, 2, 3, 4


@jax.custom_jvp
def damped(x):
    return x


damped.defjvp(lambda primals, tangents: (primals[0], 0.25 * tangents[0]))


@jax.custom_jvp
def rounded(x):
    return jnp.round(4 * x) / 4


rounded.defjvp(lambda primals, tangents: (rounded(primals[0]), 2.0 * tangents[0]))


@jax.custom_jvp
def bent(x):
    return x


bent.defjvp(lambda primals, tangents: (primals[0], jnp.cos(3 * primals[0]) * tangents[0]))


@jax.custom_vjp
def reversed_gradient(x):
    return x


reversed_gradient.defvjp(lambda x: (x, None), lambda _, d: (-0.5 * d,))


@jax.custom_vjp
def clipped(x):
    return x


clipped.defvjp(lambda x: (x, None), lambda _, d: (jnp.clip(d, -0.05, 0.05),))


@jax.custom_vjp
def ones_back(x):
    return x


ones_back.defvjp(lambda x: (x, None), lambda _, d: (jnp.ones_like(d),))


def half_stopped(x):
    return 0.5 * x + lax.stop_gradient(jnp.tanh(x))


def in_cond(x):
    return lax.cond(x.ndim > 1, lambda x: damped(2 * x), lambda x: x, x)


def in_scan(x):
    return lax.scan(lambda x, factor: (damped(factor * x), None), x, jnp.arange(1.0, 3.0))[0]


def composed(*rules):
    def rule(x):
        for one in rules:
            x = one(x)
        return x

    return rule


RULES = {
    "own rules": composed(rounded, damped, reversed_gradient, half_stopped),
    "control flow": composed(in_cond, in_scan),
    "calls": composed(
        jax.checkpoint(damped), jax.jit(lambda x: jax.jit(rounded)(x) + lax.stop_gradient(x))
    ),
    "clipped": clipped,
}


def cell_with(in_project=lambda a: a, in_update=lambda a: a, in_params=lambda a: a):
    """A cell of two stages whose functions pass the state, the gates or the matrix through."""

    def init(key):
        keys = jax.random.split(key, 4)
        shapes = [(D, H), (H, H), (H, H), (H,)]
        return [0.8 * jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)]

    def initial_state(params, batch_shape=()):
        return jnp.full((*batch_shape, H), 0.3)

    def first(params, s, x_t):
        return in_project(x_t) @ params[0] + in_project(s)

    def middle(params, s, gates):
        return in_update(s) * jax.nn.sigmoid(in_update(gates)) + params[3][(None,) * (s.ndim - 1)]

    def second(params, s, x_t):
        return in_project(s) @ in_params(params[1]) + in_project(x_t) @ params[0]

    def last(params, s, gates):
        new = jnp.tanh(in_update(gates) + s)
        return new, in_update(new)

    return sm.make_cell(init, initial_state, (first, middle), (second, last))


def gradients(cell, *methods):
    """Gradients with respect to parameters, inputs and the state, and the method that ran."""
    with jax.enable_x64(True):
        params = cell.init(jax.random.key(0))
        xs = jax.random.normal(jax.random.key(1), (T, B, D))
        weights = jax.random.normal(jax.random.key(2), (T, B, H))
        lengths = jnp.array([T, T - 2])
        state = cell.initial_state(params, (B,))

        def loss(params, xs, state, method):
            final, ys = sm.unroll(cell, params, xs, state, lengths=lengths, method=method)
            return jnp.sum(weights * ys) + jnp.sum(final**2)

        found = [
            jax.jit(jax.grad(loss, (0, 1, 2)), static_argnums=3)(params, xs, state, method)
            for method in methods
        ]
        return [np.concatenate([np.ravel(a) for a in jax.tree.leaves(one)]) for one in found]


def chosen(cell):
    return sm.unroll_full(cell, cell.init(jax.random.key(0)), jnp.zeros((T, B, D))).info


@pytest.mark.parametrize("name", RULES)
def test_the_gradient_follows_the_rule(name):
    cell = cell_with(RULES[name], RULES[name])
    drivers = [sm.fused(chunk=3), *([sm.chunked(segment=4)] if name == "own rules" else [])]
    scan, *others = gradients(cell, "scan", *drivers)
    for other in others:
        np.testing.assert_allclose(other, scan, rtol=1e-11, atol=1e-12)
    assert chosen(cell).method == "fused"


def test_a_rule_that_ignores_the_cotangent_is_followed_in_update():
    cell = cell_with(in_update=ones_back)
    xs = jnp.ones((T, B, D))
    with jax.enable_x64(True):
        params = cell.init(jax.random.key(0))

        def loss(params, method):
            return jnp.sum(sm.unroll(cell, params, xs, method=method)[1])

        scan, fused = (jax.grad(loss)(params, method)[1] for method in ("scan", sm.fused(chunk=3)))
    np.testing.assert_allclose(fused, scan, rtol=1e-11)


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        (cell_with(in_project=bent), "stage 0: project is not affine in the state and x_t"),
        (
            cell_with(in_params=clipped),
            "stage 1: project has a derivative rule that is not linear in the cotangent",
        ),
    ],
    ids=["depends on the state", "clips the parameters' gradient"],
)
def test_a_rule_that_no_fused_pass_can_follow_is_refused(cell, line):
    params, xs = cell.init(jax.random.key(0)), jnp.zeros((T, B, D))
    for method in ("fused", "chunked"):
        with pytest.raises(TypeError, match=line) as caught:
            sm.unroll(cell, params, xs, method=method)
        assert "\n" not in str(caught.value)
    assert chosen(cell).method == "scan"
    assert line in chosen(cell).reason
    scan, auto = gradients(cell, "scan", "auto")
    np.testing.assert_array_equal(auto, scan)


def test_a_rule_of_the_parameters_in_update_is_checked():
    def update(params, s, gates):
        bias = clipped(params[3])
        new = jnp.tanh(gates + bias[(None,) * (s.ndim - 1)])
        return new, new

    cell = cell_with()
    cell = sm.make_cell(cell.init, cell.initial_state, (cell.stages[0][0], update))
    assert "stage 0: update has a derivative rule" in chosen(cell).reason
