"""Parameters, values, carries and gradients of `seqmodels.linen.RNN` are Flax's."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import linen_cases
import pytest
from linen_cases import CELLS, D, H, T

import seqmodels.linen


def compare(runs):
    """(outputs, gradients) of several runs (module, variables, inputs, keyword arguments)."""

    def loss(traced, fixed):
        carry = traced["carry"]
        options = fixed["call"] | ({} if carry is None else {"initial_carry": carry})
        inputs = traced.get("inputs", fixed.get("inputs"))
        out = fixed["module"].apply(traced["variables"], inputs, **options)
        return linen_cases.leaves_sum(out), out

    traced, fixed = [], []
    for module, variables, inputs, call in runs:
        call = dict(call)
        traced.append({"variables": variables, "carry": call.pop("initial_carry", None)})
        fixed.append({"module": module, "call": call})
        is_float = jnp.issubdtype(inputs.dtype, jnp.floating)
        (traced if is_float else fixed)[-1]["inputs"] = inputs
    grad = jax.value_and_grad(loss, has_aux=True)
    return jax.jit(lambda traced: [grad(*pair) for pair in zip(traced, fixed, strict=True)])(traced)


@functools.cache
def parameters(cell):
    """Flax's parameters of a cell, checked to be ours bit for bit."""
    xs = jnp.ones((3, T, D))
    variables, ours = (
        library.RNN(CELLS[cell]()).init(jax.random.key(0), xs) for library in (nn, seqmodels.linen)
    )
    chex.assert_trees_all_equal(ours, variables)
    return variables


def check(case, unrolled):
    flax, ours, inputs, call = linen_cases.problem(case)
    key = jax.random.key(0)
    expected_call, expected_inputs = call, inputs
    needs_flat = case.lengths and case.return_carry and len(case.batch) != 1
    if needs_flat and case.carry != "drawn":
        expected_call, expected_inputs = linen_cases.flat_batch(case, call, inputs)
    elif needs_flat:  # the carry is drawn for all batch axes
        carry = flax.cell.initialize_carry(call["init_key"], (*case.batch, D))
        expected_call = {k: v for k, v in call.items() if k != "init_key"}
        expected_call, expected_inputs = linen_cases.flat_batch(
            case, {**expected_call, "initial_carry": carry}, inputs
        )
        call = {k: v for k, v in call.items() if k != "init_key"} | {"initial_carry": carry}
    variables = parameters(case.cell)
    tree = jax.eval_shape(lambda: ours.init(key, inputs, **call))
    chex.assert_trees_all_equal_shapes_and_dtypes(tree, variables)
    assert not unrolled
    expected, given = compare(
        [
            (flax, variables, jnp.asarray(expected_inputs), expected_call),
            (ours, variables, jnp.asarray(inputs), call),
        ]
    )
    assert len(unrolled) == 1
    if needs_flat:
        given = jax.tree.map(lambda a, b: a.reshape(b.shape), given, expected)
    chex.assert_trees_all_equal_shapes_and_dtypes(given, expected)
    chex.assert_trees_all_close(given, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", linen_cases.pairwise(), ids=linen_cases.name)
def test_pairs_of_options(case, unrolled):
    check(case, unrolled)


@pytest.mark.slow
@pytest.mark.parametrize("case", linen_cases.every(), ids=linen_cases.name)
def test_all_options(case, unrolled):
    check(case, unrolled)


@pytest.mark.parametrize("cell", ["optimized", "gru"])
@pytest.mark.parametrize("dtypes", [("bfloat16", "float32"), ("float32", "bfloat16")], ids=str)
def test_low_precision(cell, dtypes, unrolled):
    dtype, carry_dtype = (jnp.dtype(name) for name in dtypes)
    xs = jax.random.normal(jax.random.key(1), (3, T, D))
    inner = CELLS[cell](dtype=dtype)
    carry = inner.initialize_carry(jax.random.key(0), (3, D))
    carry = jax.tree.map(lambda a: a.astype(carry_dtype), carry)
    flax = nn.RNN(inner, return_carry=True)
    variables = flax.init(jax.random.key(0), xs)
    if carry_dtype != jnp.float32:  # the step returns another dtype: Flax's own error
        for module in (flax, seqmodels.linen.RNN(inner, return_carry=True)):
            with pytest.raises(TypeError, match="carry"):
                module.apply(variables, xs, initial_carry=carry)
        return
    expected = flax.apply(variables, xs, initial_carry=carry)
    given = seqmodels.linen.RNN(inner, return_carry=True).apply(variables, xs, initial_carry=carry)
    assert unrolled
    chex.assert_trees_all_equal_shapes_and_dtypes(given, expected)
    chex.assert_trees_all_close(given, expected, atol=0.02)


def test_parameters_in_another_dtype_than_the_inputs(unrolled):
    """None as dtype promotes; a carry in bfloat16 stays so if everything is."""
    xs = jax.random.normal(jax.random.key(1), (3, T, D), jnp.bfloat16)
    kernel_init = nn.initializers.normal(0.3)
    inner = nn.GRUCell(
        H, param_dtype=jnp.bfloat16, kernel_init=kernel_init, recurrent_kernel_init=kernel_init
    )
    variables = nn.RNN(inner).init(jax.random.key(0), xs)
    expected = nn.RNN(inner).apply(variables, xs)
    given = seqmodels.linen.RNN(inner).apply(variables, xs)
    assert unrolled
    chex.assert_trees_all_equal_shapes_and_dtypes(given, expected)
    assert given.dtype == jnp.bfloat16
    chex.assert_trees_all_close(given, expected, atol=0.03)


@pytest.mark.parametrize("method", ["scan", "chunked"])
def test_method(method, unrolled):
    xs = jax.random.normal(jax.random.key(1), (3, T, D))
    model = seqmodels.linen.RNN(CELLS["lstm"](), method=method)
    variables = model.init(jax.random.key(0), xs)
    expected = nn.RNN(CELLS["lstm"]()).apply(variables, xs)
    chex.assert_trees_all_close(model.apply(variables, xs), expected, atol=1e-6)
    assert unrolled[0]["method"] == method


def test_a_method_that_is_not_known():
    with pytest.raises(ValueError, match="method: got 'fussed'"):
        seqmodels.linen.RNN(CELLS["lstm"](), method="fussed").init(
            jax.random.key(0), jnp.ones((3, T, D))
        )
