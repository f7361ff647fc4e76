"""Schedules, clipping, accumulation, averaging and skipping, against loops by hand."""

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import seqmodels as sm
from seqmodels.training.accumulation import accumulate_gradients, decay_mask
from seqmodels.training.optimizers import (
    OptimizerSettings,
    average_params,
    averaged_params,
    make_optimizer,
    make_schedule,
)

PARAMS = {"w": jnp.array([[1.0, -2.0]]), "b": jnp.array(0.5)}
PLAIN = OptimizerSettings(learning_rate=0.1, steps=20)


def gradient(step, scale=1.0):
    return jax.tree.map(lambda a: scale * jnp.cos(a + step), PARAMS)


def run(settings, gradients):
    """Returns the parameters after every step, and the last state."""
    optimizer = make_optimizer(settings)
    params, state, visited = PARAMS, optimizer.init(PARAMS), []
    for one in gradients:
        updates, state = jax.jit(optimizer.update)(one, state, params)
        params = optax.apply_updates(params, updates)
        visited.append(params)
    return visited, state


def adamw_by_hand(gradients, rates, decay=0.0):
    """AdamW as the paper has it, in NumPy."""
    params = {name: np.asarray(value, np.float64) for name, value in PARAMS.items()}
    m = {name: np.zeros_like(value) for name, value in params.items()}
    v = {name: np.zeros_like(value) for name, value in params.items()}
    visited = []
    for t, (one, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        for name, value in one.items():
            g = np.asarray(value, np.float64)
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g**2
            step = (m[name] / (1 - 0.9**t)) / (np.sqrt(v[name] / (1 - 0.999**t)) + 1e-8)
            decayed = decay * params[name] if params[name].ndim >= 2 else 0.0
            params[name] = params[name] - rate * (step + decayed)
        visited.append(dict(params))
    return visited


def test_adamw():
    gradients = [gradient(step) for step in range(6)]
    visited, _ = run(PLAIN._replace(weight_decay=0.3), gradients)
    want = adamw_by_hand(gradients, [0.1] * 6, decay=0.3)
    for got, expected in zip(visited, want, strict=True):
        cases.assert_close(got, expected, 1e-5)


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", [0.0, 0.05, 0.1, 0.1, 0.1, 0.1, 0.1]),
        ("linear", [0.0, 0.05, 0.1, 0.075, 0.05, 0.025, 0.0]),
        ("cosine", [0.0, 0.05, *(0.05 * (1 + np.cos(np.pi * np.arange(5) / 4)))]),
    ],
)
def test_schedules(schedule, rates):
    settings = OptimizerSettings(0.1, steps=6, warmup=2, schedule=schedule)
    got = [float(make_schedule(settings)(step)) for step in range(7)]
    assert got == pytest.approx(rates, abs=1e-7)


def test_no_warmup_starts_at_the_rate_and_a_long_one_reaches_it_at_the_end():
    assert float(make_schedule(PLAIN)(0)) == pytest.approx(0.1)
    everything = PLAIN._replace(warmup=20, schedule="cosine")
    assert float(make_schedule(everything)(20)) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (PLAIN._replace(schedule="cosin"), "schedule: got 'cosin', expected one of constant, lin"),
        (PLAIN._replace(accumulate=21), "accumulate: got 21 steps, expected 1 to the 20 of the"),
        (PLAIN._replace(accumulate=0), "accumulate: got 0 steps, expected 1 to the 20 of the"),
        (PLAIN._replace(accumulate=3), "accumulate: got 3 steps, expected a divisor of the 20 of"),
        (PLAIN._replace(warmup=21), "warmup: got 21 steps, expected at most the 20 of the train"),
    ],
)
def test_settings_that_cannot_be(settings, line):
    with pytest.raises(ValueError, match=line):
        make_optimizer(settings)


def test_clipping_is_by_global_norm_and_happens_before_adam():
    large = [gradient(step, 100.0) for step in range(4)]
    clipped = [jax.tree.map(lambda a, g=g: a / optax.tree.norm(g), g) for g in large]
    visited, _ = run(PLAIN._replace(clip_norm=1.0), large)
    for got, expected in zip(visited, adamw_by_hand(clipped, [0.1] * 4), strict=True):
        cases.assert_close(got, expected, 1e-5)


def test_accumulation_is_one_update_of_the_mean_and_warms_up_by_steps():
    gradients = [gradient(step) for step in range(8)]
    means = [jax.tree.map(lambda a, b: (a + b) / 2, *gradients[n : n + 2]) for n in range(0, 8, 2)]
    visited, _ = run(PLAIN._replace(accumulate=2, warmup=4), gradients)
    want = adamw_by_hand(means, [0.0, 0.05, 0.1, 0.1])
    for n, expected in enumerate(want):
        cases.assert_close(visited[2 * n + 1], expected, 1e-5)
        cases.assert_close(visited[2 * n], want[n - 1] if n else PARAMS, 1e-5)


@pytest.mark.parametrize("skip", [False, True])
def test_accumulated_gradients_count_by_their_weights(skip):
    """Three steps of 1, 4 and 0 items, then three of other weights, under plain descent."""
    optimizer = accumulate_gradients(optax.sgd(1.0), 3, skip=skip)
    weights, gradients = [1.0, 4.0, 0.0, 2.0, 0.5, 0.5], [gradient(n) for n in range(6)]
    state, updates = optimizer.init(PARAMS), []
    update = jax.jit(optimizer.update)
    for one, weight in zip(gradients, weights, strict=True):
        changes, state = update(one, state, PARAMS, weight=weight)
        updates.append(changes)
    for last in (2, 5):
        share = slice(last - 2, last + 1)
        want = jax.tree.map(
            lambda *g, w=weights[share]: -np.average(np.stack(g), axis=0, weights=w),
            *gradients[share],
        )
        cases.assert_close(updates[last], want, 1e-6)
    for waiting in (0, 1, 3, 4):
        cases.assert_close(updates[waiting], jax.tree.map(jnp.zeros_like, PARAMS), 0)
    broken = gradient(0) | {"b": jnp.array(jnp.inf)}
    for _ in range(3):
        changes, state = update(broken, state, PARAMS)
    assert np.isfinite(changes["b"]) == skip
    for n in range(3):
        changes, state = update(gradient(n), state, PARAMS)
    assert np.isfinite(changes["b"])  # nothing of it stays


def test_what_is_decayed():
    params = {
        "embedding": jnp.ones((3, 2)),
        "cell": sm.lstm(2, 2).init(jax.random.key(0)),
        "layers": [{"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2), "gain": jnp.ones(2)}],
        "word_embeddings": {"table": jnp.ones((3, 2))},
        "variant": sm.lstm_variant(2, 2, peepholes=True).init(jax.random.key(0)),
    }
    mask = decay_mask(params)
    assert mask["cell"] == sm.cells.LSTMParams(w_x=True, w_h=True, b=False, initial=None)
    assert mask["layers"] == [{"kernel": True, "bias": False, "gain": False}]
    assert not mask["embedding"]
    assert not mask["word_embeddings"]["table"]
    assert mask["variant"].w_h
    assert not mask["variant"].peepholes


def test_average_is_the_weighted_mean_of_what_was_visited():
    decay, gradients = 0.8, [gradient(step) for step in range(5)]
    visited, state = run(PLAIN._replace(average=decay), gradients)
    weights = decay ** np.arange(4, -1, -1)
    want = jax.tree.map(
        lambda *leaves: np.average(np.stack(leaves), axis=0, weights=weights), *visited
    )
    cases.assert_close(averaged_params(state, visited[-1], decay), want, 1e-5)


@pytest.mark.parametrize(("skip", "accumulate"), [(False, 1), (True, 1), (True, 2)])
def test_average_before_the_first_update_and_without_one(skip, accumulate):
    settings = PLAIN._replace(average=0.9, skip=skip, accumulate=accumulate, clip_norm=1.0)
    state = make_optimizer(settings).init(PARAMS)
    cases.assert_close(averaged_params(state, PARAMS, 0.9), PARAMS, 0)
    visited, state = run(settings, [gradient(step) for step in range(4)])
    different = averaged_params(state, visited[-1], 0.9)["w"] - visited[-1]["w"]
    assert np.all(np.abs(different) > 1e-4)
    assert averaged_params(make_optimizer(PLAIN).init(PARAMS), PARAMS, 0.0) is PARAMS


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_update_that_is_not_finite_is_left_out(bad, accumulate):
    settings = PLAIN._replace(skip=True, clip_norm=1.0, accumulate=accumulate)
    broken = gradient(9) | {"b": jnp.array(bad)}
    good = [gradient(step) for step in range(2 * accumulate)]
    with_bad = [*good[:accumulate], *[broken] * accumulate, *good[accumulate:]]
    got, _ = run(settings, with_bad)
    want, _ = run(settings, good)
    cases.assert_close(got[-1], want[-1], 0)


def test_however_many_in_a_row():
    broken = [gradient(0) | {"b": jnp.array(jnp.nan)}] * 20
    visited, _ = run(PLAIN._replace(skip=True), broken)
    cases.assert_close(visited[-1], PARAMS, 0)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("decay", [0.9, 0.9999, 0.999999])
def test_average_of_a_constant_is_the_constant(dtype, decay):
    params = {"w": jnp.ones(2, dtype)}
    transformation = average_params(decay)

    def step(state, _):
        return transformation.update(jax.tree.map(jnp.zeros_like, params), state, params)[1], None

    first = transformation.init(jax.tree.map(jnp.zeros_like, params))
    state, _ = jax.lax.scan(step, first, length=5000)
    got = averaged_params(state, params, decay)["w"]
    assert got.dtype == dtype
    np.testing.assert_allclose(np.asarray(got, np.float32), 1.0, rtol=1e-5)
