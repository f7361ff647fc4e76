"""Long sequences in little memory: the plan, its prediction, and what it computes."""

import functools
import re

import contract_cases as cases
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm
from seqmodels.drivers.memory_plan import parse_bytes

pytestmark = pytest.mark.optimized

D, H = 32, 64


def gradient_step(cell, method):
    def loss(params, xs):
        return jnp.sum(sm.unroll(cell, params, xs, method=method)[1] ** 2)

    return jax.jit(jax.value_and_grad(loss))


def shapes_of(cell, num_steps, batch):
    params = jax.eval_shape(cell.init, jax.random.key(0))
    return params, jax.ShapeDtypeStruct((num_steps, batch, D), jnp.float32)


def plan_of(cell, method, params, xs, **contract):
    def run(params, xs):
        return sm.unroll_full(cell, params, xs, method=method, **contract).info

    return jax.eval_shape(run, params, xs).plan


def compiled_bytes(cell, method, params, xs):
    analysis = gradient_step(cell, method).lower(params, xs).compile().memory_analysis()
    return analysis.temp_size_in_bytes + analysis.output_size_in_bytes


def predicted_bytes(plan):
    return float(plan.split("predicted peak ")[1].split(" MB")[0]) * 1e6


PLANS = [
    (65536, 8, "2GiB", "the whole sequence"),
    (65536, 8, None, "segments"),
    (16384, 8, None, "segments"),
    (1_000_000, 1, "900MB", ""),
]
FAST_PLANS = [(sm.gru, PLANS[1]), (sm.rnn, PLANS[3]), (sm.rnn, PLANS[0])]


@pytest.mark.parametrize(
    ("make", "num_steps", "batch", "budget", "way"),
    [
        pytest.param(
            make,
            *plan,
            marks=[] if make is sm.lstm or (make, plan) in FAST_PLANS else pytest.mark.slow,
        )
        for make in (sm.lstm, sm.gru, sm.rnn)
        for plan in PLANS
    ],
)
def test_prediction_is_what_the_compiler_says(make, num_steps, batch, budget, way):
    cell, method = make(D, H), sm.chunked(memory_budget=budget)
    params, xs = shapes_of(cell, num_steps, batch)
    plan = plan_of(cell, method, params, xs)
    if make is sm.lstm:
        assert way in plan
    taken = compiled_bytes(cell, method, params, xs)
    assert 0.9 < predicted_bytes(plan) / taken < 1.1
    if budget:
        assert taken < parse_bytes(budget)


@pytest.mark.parametrize(
    ("case", "budget"),
    [
        ("lengths and resets", None),
        ("lengths", "2GiB"),
        ("inputs", None),
        ("inputs", "2GiB"),
        ("prime", None),
        pytest.param("lengths", None, marks=pytest.mark.slow),
        pytest.param("lengths and resets", "2GiB", marks=pytest.mark.slow),
        pytest.param("prime", "2GiB", marks=pytest.mark.slow),
    ],
)
def test_prediction_under_the_contract(case, budget):
    cell = sm.lstm(D, H)
    inputs = case == "inputs"
    method = sm.chunked(memory_budget=budget, inputs_gradient=inputs)
    num_steps = 16381 if case == "prime" else 16384
    params, xs = shapes_of(cell, num_steps, 8)
    contract = {"lengths": jnp.full(8, num_steps)} if "lengths" in case else {}
    if "resets" in case:
        contract["resets"] = jnp.zeros((num_steps, 8), bool)

    def loss(params, xs):
        return jnp.sum(sm.unroll(cell, params, xs, method=method, **contract)[1] ** 2)

    step = jax.jit(jax.value_and_grad(loss, (0, 1) if inputs else 0))
    analysis = step.lower(params, xs).compile().memory_analysis()
    taken = analysis.temp_size_in_bytes + analysis.output_size_in_bytes
    plan = plan_of(cell, method, params, xs, **contract)
    assert 0.75 < predicted_bytes(plan) / taken < 1.25, plan


def test_a_million_steps_fit_a_gibibyte():
    cell, method = sm.lstm(D, H), sm.chunked(memory_budget="1GiB")
    assert compiled_bytes(cell, method, *shapes_of(cell, 1_000_000, 1)) < 2**30


def test_too_small_a_budget_names_the_smallest():
    cell = sm.lstm(D, H)
    params, xs = shapes_of(cell, 65536, 8)
    line = (
        r"chunked: memory_budget: got 1\.0 MB, expected at least (\d+\.\d) MB: \d+ segments of "
        r"\d+ steps, predicted peak \d+\.\d MB, of which outputs and their cotangents 268\.4 MB"
    )
    with pytest.raises(ValueError, match=line) as error:
        plan_of(cell, sm.chunked(memory_budget=10**6), params, xs)
    smallest = float(str(error.value).split("at least ")[1].split(" MB")[0])
    plan = plan_of(cell, sm.chunked(memory_budget=f"{smallest:.1f} MB"), params, xs)
    assert "segments" in plan
    with pytest.raises(ValueError, match="expected at least"):
        plan_of(cell, sm.chunked(memory_budget=f"{smallest - 0.1:.1f}MB"), params, xs)


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(st.tuples(*[st.integers(1, most) for most in (3000, 9, 40, 40)]))
def test_the_budget_that_is_named_is_enough(sizes):
    num_steps, batch, inputs, hidden = sizes
    cell = sm.rnn(inputs, hidden)
    params, _ = shapes_of(cell, 1, 1)
    xs = jax.ShapeDtypeStruct((num_steps, batch, inputs), jnp.float32)
    with pytest.raises(ValueError, match="expected at least") as error:
        plan_of(cell, sm.chunked(memory_budget=1), params, xs)
    named = re.search(r"at least ([\d.]+ \w+)", str(error.value))[1]
    assert plan_of(cell, sm.chunked(memory_budget=named), params, xs)


@functools.cache
def gradient_over_a_prime(method, reverse):
    """Gradients and values of a GRU over 13 steps, with lengths and resets."""
    cell = sm.gru(cases.D, cases.H)
    resets = np.zeros((13, 3, 1), bool)
    resets[[0, 5, 12], [0, 1, 2]] = True
    contract = {"lengths": np.array([[13], [0], [7]]), "resets": resets, "reverse": reverse}

    def loss(params, xs):
        full = sm.unroll_full(cell, params, xs, method=method, **contract)
        return jnp.sum(jnp.sin(full.ys)) + jnp.sum(full.states.h**2), full[:3]

    gradient = jax.grad(loss, (0, 1), has_aux=True)  # with optimizations, quicker outside of jit
    return gradient(cases.params_of(cell), cases.inputs((3, 1), 13))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("segment", [1, 5, 12, 50])
def test_any_segment(segment, reverse):
    """T = 13 is prime: what is left over is a segment of its own."""
    got = gradient_over_a_prime(sm.chunked(segment=segment), reverse)
    cases.assert_close(got, gradient_over_a_prime("scan", reverse), 1e-5)


def test_auto_takes_segments_where_the_states_are_too_large():
    cell = sm.lstm(D, H)
    for batch, method in [(8, "fused"), (256, "chunked")]:
        params, xs = shapes_of(cell, 65536, batch)
        info = jax.eval_shape(lambda p, x: sm.unroll_full(cell, p, x).info, params, xs)
        assert info.method == method
    assert info.reason == "auto: to keep every step would take 8.0 GiB"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (1024, 1024),
        ("300MB", 300e6),
        ("2GiB", 2**31),
        (" 1.5 kib ", 1536),
        ("7", 7),
        ("1TB", 1e12),
        ("1e9", 1e9),
        ("5000 bytes", 5000),
        (np.float32(0.5e6), 5e5),
    ],
)
def test_bytes(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"memory_budget": "2 pounds"}, "memory_budget: got '2 pounds', expected bytes"),
        ({"memory_budget": 0}, "memory_budget: got 0, expected bytes"),
        ({"memory_budget": -5}, "memory_budget: got -5, expected bytes"),
        ({"memory_budget": "1e999"}, "memory_budget: got '1e999', expected bytes"),
        ({"memory_budget": True}, "memory_budget: got True, expected bytes"),
        ({"segment": 0}, "segment: got 0, expected a positive integer"),
        ({"segment": 2, "memory_budget": 9}, "segment: got with a memory_budget"),
    ],
)
def test_settings_are_checked(settings, line):
    with pytest.raises(ValueError, match=f"chunked: {line}"):
        sm.chunked(**settings)
