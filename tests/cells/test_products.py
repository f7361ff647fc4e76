"""Products in low precision, against NumPy products of rounded operands."""

import doctest
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import seqmodels as sm
from seqmodels.cells import products
from seqmodels.cells.catalog import CELLS

# XLA's optimizations choose the kernels, and some of its kernels refuse what they choose.
pytestmark = [pytest.mark.optimized, pytest.mark.usefixtures("low_products")]

K, N, S = 5, 3, 4


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def rounded(a, dtype):
    return np.asarray(a).astype(dtype).astype(np.float64)


def close(got, want):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def half_square(x, w, dtype):
    return 0.5 * jnp.sum(sm.matmul(x, w, dtype=dtype) ** 2)


def np_product(x, w, dtype):
    return rounded(x, dtype) @ rounded(w, dtype)


def np_gradients(x, w, g, dtype):
    """The cotangents of x and w for a cotangent g of the product."""
    rows = rounded(x, dtype).reshape(-1, K).T @ rounded(g, dtype).reshape(-1, N)
    return rounded(g, dtype) @ rounded(w, dtype).T, rows


@pytest.mark.parametrize("leading", [(2,), (6, 2)])
def test_operands_and_cotangents_are_rounded_and_sums_are_not(leading):
    dtype, x, w = jnp.bfloat16, draw(0, *leading, K), draw(1, K, N)
    product = sm.matmul(x, w, dtype=dtype)
    close(product, np_product(x, w, dtype))
    gradients = jax.jit(jax.grad(half_square, (0, 1)), static_argnums=2)(x, w, dtype)
    close(gradients, np_gradients(x, w, product, dtype))


@pytest.mark.parametrize(
    ("dtype", "leading", "least", "has_amx"),
    [
        (jnp.bfloat16, (), 0, True),
        (jnp.bfloat16, (1, 1), 0, True),
        (jnp.bfloat16, (2,), 2 * K * N + 1, True),
        (jnp.bfloat16, (2,), 0, False),
        (jnp.float16, (2,), 0, True),
    ],
)
def test_a_cpu_computes_other_products_in_float32(monkeypatch, dtype, leading, least, has_amx):
    """Small ones, of one row, in float16, without AMX; `info` says whether all of them are."""
    monkeypatch.undo()
    monkeypatch.setattr(products, "_has_amx", lambda: has_amx)
    monkeypatch.setattr(products, "MIN_PRODUCTS", least)
    x, w = draw(0, *leading, K), draw(1, K, N)
    product = jax.jit(lambda x, w: sm.matmul(x, w, dtype=dtype))(x, w)
    close(product, x.astype(np.float64) @ w)
    cell = sm.rnn(K, N, dtype=dtype)
    info = sm.unroll_full(cell, cell.init(jax.random.key(0)), draw(0, 2, 2, K)).info
    is_slow = not has_amx or dtype == jnp.float16
    assert ("run in float32, which this CPU multiplies faster" in info.reason) == is_slow


def test_derivatives_of_every_order():
    """Tangents are rounded too; second derivatives are products of the same kind."""
    dtype = jnp.bfloat16
    x, w, v = draw(0, 7, K), draw(1, K, N), draw(2, K, N)
    product, tangent = jax.jvp(lambda w: sm.matmul(x, w, dtype=dtype), (w,), (v,))
    close((product, tangent), (np_product(x, w, dtype), np_product(x, v, dtype)))
    cotangent = draw(3, 7, N)
    for argument, linear in enumerate(
        (lambda x: sm.matmul(x, w, dtype=dtype), lambda w: sm.matmul(x, w, dtype=dtype))
    ):
        got = jax.linear_transpose(linear, (x, w)[argument])(cotangent)[0]
        close(got, np_gradients(x, w, cotangent, dtype)[argument])

    gradient = jax.grad(functools.partial(half_square, x, dtype=dtype))
    want = np_gradients(x, w, tangent, dtype)[1]
    close(jax.jvp(gradient, (w,), (v,))[1], want)
    close(jax.grad(lambda u: jnp.vdot(gradient(u), v))(w), np_gradients(x, w, np_product(
        x, v, dtype), dtype)[1])  # fmt: skip


@pytest.mark.parametrize("w_axis", [None, 0, 1, 2])
@pytest.mark.parametrize("x_axis", [None, 0, 1, 2])
def test_vmap(x_axis, w_axis):
    """Of values and gradients, over any axis of one operand or of both."""
    if x_axis is None and w_axis is None:
        return
    dtype = jnp.bfloat16
    xs, ws = draw(0, S, 2, K), draw(1, S, K, N)
    x = xs[0] if x_axis is None else np.moveaxis(xs, 0, x_axis)
    w = ws[0] if w_axis is None else np.moveaxis(ws, 0, w_axis)
    mapped = jax.vmap(
        lambda x, w: (
            sm.matmul(x, w, dtype=dtype),
            *jax.grad(half_square, (0, 1))(x, w, dtype),
        ),
        in_axes=(x_axis, w_axis),
    )
    product, dx, dw = jax.jit(mapped)(x, w)
    for n in range(S):
        x_n, w_n = (
            (xs if x_axis is not None else xs[:1] * np.ones((S, 1, 1), np.float32))[n],
            (ws if w_axis is not None else ws[:1] * np.ones((S, 1, 1), np.float32))[n],
        )
        close(product[n], np_product(x_n, w_n, dtype))
        close((dx[n], dw[n]), np_gradients(x_n, w_n, product[n], dtype))


def test_vmap_of_vmap_and_of_second_derivatives():
    """A batched product is mapped once more, and differentiated."""
    dtype = jnp.bfloat16
    xs, ws, v = draw(0, 2, S, 7, K), draw(1, S, K, N), draw(2, K, N)

    def times_v(x, w):
        gradient = jax.grad(functools.partial(half_square, x, dtype=dtype))
        return jax.jvp(gradient, (w,), (v,))[1]

    got = jax.jit(jax.vmap(jax.vmap(times_v), in_axes=(0, None)))(xs, ws)
    for m in range(2):
        for n in range(S):
            tangent = np_product(xs[m, n], v, dtype)
            close(got[m, n], np_gradients(xs[m, n], ws[n], tangent, dtype)[1])


@pytest.mark.parametrize("varying", ["x", "w", "both"])
def test_inside_shard_map(varying):
    """An operand that is the same on all devices gets the sum of their gradients."""
    dtype, devices = jnp.bfloat16, jax.devices()[:2]
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=devices)
    xs, ws = draw(0, 2, 6, K), draw(1, 2, K, N)
    spread, same = PartitionSpec("data"), PartitionSpec()
    specs = {"x": (spread, same), "w": (same, spread), "both": (spread, spread)}[varying]
    x, w = (a if spec == spread else a[:1] for a, spec in zip((xs, ws), specs, strict=True))

    def loss(x, w):
        return jax.lax.psum(half_square(x[0], w[0], dtype), "data")

    sharded = jax.shard_map(jax.grad(loss, (0, 1)), mesh=mesh, in_specs=specs, out_specs=specs)
    got = jax.jit(sharded)(x, w)
    each = [
        np_gradients(x[n % len(x)], w[n % len(w)], np_product(x[n % len(x)], w[n % len(w)], dtype),
                     dtype)
        for n in range(2)
    ]  # fmt: skip
    for leaf, spec, pair in zip(got, specs, zip(*each, strict=True), strict=True):
        close(leaf, np.stack(pair) if spec == spread else sum(pair)[None])


@pytest.mark.parametrize("dtype", [None, jnp.float32])
def test_float32_is_the_plain_product(dtype):
    x, w = draw(0, 2, K), draw(1, K, N)
    np.testing.assert_array_equal(sm.matmul(x, w, dtype=dtype), jnp.asarray(x) @ w)
    assert "low_dot" not in str(jax.make_jaxpr(functools.partial(sm.matmul, dtype=dtype))(x, w))


def test_operands_of_other_dtypes():
    """Integers are cast; low operands are low products without being asked, with low gradients."""
    tokens, w = np.array([[1, 2, 3, 4, 257], [0, 1, 0, 1, 0]]), draw(1, K, N)
    close(sm.matmul(tokens, w, dtype=jnp.bfloat16), np_product(tokens, w, jnp.bfloat16))
    low = jnp.asarray(draw(0, 2, K), jnp.bfloat16), jnp.asarray(w, jnp.bfloat16)
    close(sm.matmul(*low), np_product(*low, jnp.bfloat16))
    gradients = jax.grad(half_square, (0, 1))(*low, None)
    assert [a.dtype for a in gradients] == [jnp.bfloat16] * 2


@pytest.mark.parametrize(
    ("x", "w", "dtype", "message"),
    [
        ((2, 3), (4, 2), None, r"matmul: got shapes \(2, 3\), \(4, 2\), expected"),
        ((), (4, 2), None, "matmul: got shapes"),
        ((4,), (4,), None, "matmul: got shapes"),
        ((2, 4), (4, 2), jnp.int32, "matmul: dtype: got int32, expected a floating dtype"),
    ],
)
def test_bad_arguments(x, w, dtype, message):
    with pytest.raises(ValueError, match=message):
        sm.matmul(jnp.ones(x), jnp.ones(w), dtype=dtype)


def test_complex_numbers_are_refused():
    with pytest.raises(ValueError, match="matmul: w: got complex64, expected real numbers"):
        sm.matmul(jnp.ones((2, 4)), jnp.ones((4, 2), jnp.complex64), dtype=jnp.bfloat16)


def operands_of_products(module):
    """The dtypes of the operands of every product of a module of StableHLO."""
    types = re.findall(r"dot_general.*: \(tensor<([^>]*)>, tensor<([^>]*)>\) ->", module)
    assert len(types) == module.count("stablehlo.dot_general")
    return {shape.split("x")[-1] for pair in types for shape in pair}


@pytest.mark.parametrize("name", CELLS)
def test_a_training_step_has_products_of_low_operands_alone(name):
    """Forward and backward, also the weight gradient of a chunk, on every backend."""
    cell = CELLS[name](K, N, dtype=jnp.bfloat16)
    params, xs = cell.init(jax.random.key(0)), draw(0, 6, 2, K)

    def loss(method, params, xs):
        return jnp.sum(sm.unroll(cell, params, xs, method=method)[1].astype(jnp.float32))

    for method in ("scan", "fused" if cell.stages else "associative"):
        step = jax.jit(jax.grad(functools.partial(loss, method), (0, 1)))
        module = jax.export.export(step, platforms=("cpu", "cuda", "tpu"))(params, xs).mlir_module()
        assert operands_of_products(module) == {"bf16"}


def test_the_examples():
    failed, tried = doctest.testmod(products)
    assert tried
    assert not failed
