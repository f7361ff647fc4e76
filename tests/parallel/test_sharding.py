"""A batch spread over devices: the numbers of the plain function, on any number of devices."""

import re

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm

D, H = cases.D, cases.H


def devices_of(count):
    return jax.devices()[:count]


@pytest.mark.parametrize(
    ("method", "num_steps", "numbers"),
    [
        ("scan", 7, [2]),
        (sm.fused(chunk=4), 7, [1, 2, 4]),
        (sm.fused(chunk=4), 8, [2]),
        (sm.chunked(segment=4), 7, [2]),
        (sm.newton(), 7, [2]),
    ],
)
def test_any_number_of_devices_gives_the_same(method, num_steps, numbers):
    """Loss and every gradient, with lengths, resets and a learned state."""
    cell = sm.lstm(D, H, learn_initial_state=True)
    params, xs = cases.params_of(cell), cases.inputs((4,), num_steps)
    resets = jnp.zeros((num_steps, 4), bool).at[3].set(True)
    lengths = jnp.array([num_steps, 0, 3, 5])

    def loss(params, xs, lengths, resets):
        run = {"lengths": lengths, "resets": resets, "method": method}
        return jnp.mean(sm.unroll(cell, params, xs, **run)[1] ** 2)

    gradient = jax.value_and_grad(loss)
    want = jax.jit(gradient)(params, xs, lengths, resets)
    for count in numbers:
        step = sm.data_parallel(gradient, in_axes=(None, 1, 0, 1), devices=devices_of(count))
        cases.assert_close(step(params, xs, lengths, resets), want, 1e-6)


def rows_loss(params, xs):
    """A loop of a user's own that begins with zeros, xs (T, B, D)."""

    def step(h, x_t):
        h = jnp.tanh(x_t @ params["w_x"] + h @ params["w_h"])
        return h, h

    return jnp.mean(jax.lax.scan(step, jnp.zeros((xs.shape[1], H), xs.dtype), xs)[1] ** 2)


def rows_params(dtype=jnp.float32):
    draw = np.random.default_rng(0).standard_normal
    return {"w_x": jnp.asarray(draw((D, H)), dtype), "w_h": jnp.asarray(draw((H, H)), dtype)}


def along_ones(gradient):
    """The derivative of the sum of a gradient."""
    return jax.grad(lambda p, xs: sum(jnp.sum(a) for a in jax.tree.leaves(gradient(p, xs))))


def over_seeds(gradient):
    return lambda params, xs: jax.vmap(gradient, (0, None))(
        jax.tree.map(lambda a: jnp.stack([a, 2 * a]), params), xs
    )


TRANSFORMED = {
    "outside": lambda spread: jax.grad(spread(rows_loss)),
    "inside, then outside": lambda spread: along_ones(spread(jax.grad(rows_loss))),
    "over seeds": lambda spread: over_seeds(spread(jax.grad(rows_loss))),
    "forward": lambda spread: lambda p, xs: jax.jvp(lambda p: spread(rows_loss)(p, xs), (p,), (p,)),
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_transformations(name):
    """Gradients inside and outside, of gradients, forward mode, vmap, in float64."""
    with jax.enable_x64(True):
        params, xs = cases.to64((rows_params(), cases.inputs()))
        want = jax.jit(TRANSFORMED[name](lambda function: function))(params, xs)
        spread = TRANSFORMED[name](lambda function: sm.data_parallel(function, batch_axis=1))
        cases.assert_close(jax.jit(spread)(params, xs), want, 1e-12)


def test_without_jit_and_in_bfloat16():
    """The mean over devices is taken in float32: in bfloat16, 256 + 1 is 256."""
    rows = jnp.array([[256, 1, 1, 1]], jnp.bfloat16)
    mean = sm.data_parallel(lambda scale, xs: jnp.mean(scale * xs), batch_axis=1)
    scale = jnp.ones((), jnp.bfloat16)
    got = mean(scale, rows)
    assert got.dtype == jnp.bfloat16
    assert got == jnp.bfloat16(259 / 4)
    # A CPU sums bfloat16 numbers of devices in float32 anyway; other backends are not asked to.
    sums = re.findall(r":(\w+)\[\] = psum", str(jax.make_jaxpr(mean)(scale, rows)))
    assert sums == ["f32"]


def masked_mean(params, xs, lengths):
    """A mean over valid steps; NaN where there are none."""
    valid = jnp.arange(xs.shape[0])[:, None] < lengths[None]
    return jnp.sum(jnp.where(valid, (xs @ params) ** 2, 0)) / jnp.sum(valid)


@pytest.mark.parametrize("lengths", [[7, 0, 1, 4], [0, 0, 7, 3], [0, 0, 0, 2]])
def test_rows_that_count_differently(lengths):
    """Devices with other numbers of valid steps, and without any."""
    params, xs, lengths = jnp.arange(1.0, D + 1), cases.inputs(), jnp.array(lengths)
    axes, want = (None, 1, 0), jax.value_and_grad(masked_mean)(params, xs, lengths)

    def count(params, xs, lengths):
        return jnp.sum(lengths)

    def total(params, xs, lengths):
        number = jnp.sum(lengths)
        return masked_mean(params, xs, lengths) * number, number

    step = sm.data_parallel(
        jax.value_and_grad(masked_mean), in_axes=axes, weight=count, devices=devices_of(2)
    )
    cases.assert_close(step(params, xs, lengths), want)
    if all(np.reshape(lengths, (2, 2)).sum(1)):
        sums = sm.data_parallel(
            jax.value_and_grad(total, has_aux=True),
            in_axes=axes,
            out_axes="sum",
            devices=devices_of(2),
        )
        (value, number), gradient = sums(params, xs, lengths)
        cases.assert_close((value / number, gradient / number), want)
    nothing = step(params, xs, jnp.zeros(4, int))
    cases.assert_close(nothing, jax.tree.map(jnp.zeros_like, want), 0)


def test_a_weight_that_is_nan_makes_the_mean_nan():
    mean = sm.data_parallel(
        lambda params, xs: params * xs.mean(),
        batch_axis=0,
        weight=lambda params, xs: xs[0],
        devices=devices_of(2),
    )
    assert np.isnan(mean(jnp.ones(()), jnp.array([5.0, jnp.nan])))


@pytest.mark.parametrize("rows", [0, 1, 5, 8])
def test_outputs_of_each_row_for_any_number_of_rows(rows):
    """Rows stay in order; repeated rows leave no trace, in values and in gradients outside."""
    params = {"w": jnp.arange(1.0, D + 1), "b": jnp.ones(())}
    xs = cases.inputs((rows,))
    lengths = jnp.arange(rows) % (cases.T + 1)

    def predict(params, batch):
        xs, lengths = batch
        valid = jnp.arange(xs.shape[0])[:, None] < lengths[None]
        ys = jnp.where(valid, xs @ params["w"] + params["b"], 0)
        # Of a row of zeros this would be infinite, and its gradient NaN.
        size = params["b"] * jnp.log(jnp.sum(xs**2, (0, 2)))
        return ys, {"size": size, "total": jnp.sum(ys, 0), "lengths": lengths}

    spread = sm.data_parallel(
        predict, in_axes=(None, (-2, 0)), out_axes=(-1, 0), devices=devices_of(4)
    )

    def score(predict):
        def of(params):
            outputs = predict(params, (xs, lengths))
            parts = outputs[0], outputs[1]["total"], outputs[1]["size"]
            return sum(jnp.sum(jnp.sin(part)) for part in parts), outputs

        return jax.grad(of, has_aux=True)(params)

    cases.assert_close(score(spread), score(predict))


def test_auxiliary_outputs_are_combined_one_by_one():
    params, xs = jnp.arange(1.0, D + 1), cases.inputs()

    def loss(params, xs):
        ys = xs @ params
        return jnp.mean(ys**2), {"ys": ys, "count": ys.size + jnp.int32(0), "mean": jnp.mean(ys)}

    gradient = jax.value_and_grad(loss, has_aux=True)
    axes = ("mean", {"ys": 1, "count": "sum", "mean": "mean"}), "mean"
    spread = sm.data_parallel(gradient, batch_axis=1, out_axes=axes, devices=devices_of(2))
    got, want = spread(params, xs), gradient(params, xs)
    cases.assert_close(got, want)
    assert got[0][1]["count"].dtype == jnp.int32


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey])
def test_a_key_is_folded_with_the_number_of_the_device(make):
    def draw(key, xs):
        return xs + jax.random.uniform(key, (1,))

    xs, key = jnp.zeros(4), make(3)
    for count in (2, 4):
        spread = sm.data_parallel(draw, in_axes=("key", 0), out_axes=0, devices=devices_of(count))
        keys = [jax.random.fold_in(key, number) for number in range(count)]
        want = [draw(k, xs[: 4 // count]) for k in keys]
        np.testing.assert_array_equal(spread(key, xs), jnp.concatenate(want))
    alone = sm.data_parallel(draw, in_axes=("key", 0), out_axes=0, devices=devices_of(1))
    np.testing.assert_array_equal(alone(key, xs), draw(key, xs))


@pytest.mark.parametrize("rows", [3, 4])
def test_keys_of_each_row(rows):
    keys = jax.random.split(jax.random.key(0), rows)
    draw = jax.vmap(lambda key: jax.random.uniform(key))
    spread = sm.data_parallel(draw, in_axes=(0,), out_axes=0, devices=devices_of(2))
    np.testing.assert_array_equal(spread(keys), draw(keys))


def test_one_device_runs_the_function_as_it_is(monkeypatch):
    monkeypatch.setattr(jax, "local_devices", lambda: devices_of(1))
    params, xs = jnp.arange(1.0, D + 1), cases.inputs((3,))
    spread = sm.data_parallel(lambda p, xs: jnp.mean(xs @ p), batch_axis=1)
    program = str(jax.make_jaxpr(spread)(params, xs))
    assert "dot_general" in program
    assert "shard_map" not in program
    assert float(spread(params, xs)) == float(jnp.mean(xs @ params))
    with pytest.raises(ValueError, match="got 'mean' for output, int32"):
        sm.data_parallel(lambda p, xs: jnp.argmax(xs), batch_axis=1)(params, xs)
    # A mean of weight 0 is 0, as on several devices.
    weighted = sm.data_parallel(
        masked_mean, in_axes=(None, 1, 0), weight=lambda params, xs, lengths: jnp.sum(lengths)
    )
    assert float(weighted(params, xs, jnp.zeros(3, int))) == 0
    lengths = jnp.array([2, 0, 7])
    cases.assert_close(weighted(params, xs, lengths), masked_mean(params, xs, lengths))


def mean(params, xs):
    return jnp.mean(xs @ params)


def call(function=mean, *arguments, **settings):
    settings = settings or {"batch_axis": 1}
    arguments = arguments or (jnp.ones(D), jnp.ones((7, 4, D)))
    return sm.data_parallel(function, **settings)(*arguments)


def rows(count):
    return jnp.ones(D), jnp.ones((7, count, D))


# Each name: the call, and its line from the first word to the last.
MISTAKES = {
    "rows": (
        lambda: call(mean, *rows(6)),
        "batch: got 6 rows, expected a multiple of the 4 devices",
    ),
    "no rows": (
        lambda: call(mean, *rows(0)),
        "batch: got 0 rows, expected a multiple of the 4 devices",
    ),
    "rows that differ": (
        lambda: call(mean, jnp.ones((4, D)), jnp.ones((7, 8, D)), in_axes=(0, 1)),
        "batch: got 4 and 8 rows, expected the same number in all arguments",
    ),
    "nothing to split": (
        lambda: call(in_axes=(None, None)),
        "batch: got no argument with rows, expected the same number in all arguments",
    ),
    "function": (lambda: call(3.0), "data_parallel: function: got a float, expected a function"),
    "neither": (
        lambda: call(out_axes="sum"),
        "data_parallel: got batch_axis=None and in_axes=None, expected one of the two",
    ),
    "both": (
        lambda: call(batch_axis=1, in_axes=(None, 1)),
        "data_parallel: got batch_axis=1 and in_axes=(None, 1), expected one of the two",
    ),
    "too many": (
        lambda: call(in_axes=(None, 1, 0)),
        "data_parallel: in_axes: got 3 entries, expected one for each of the 2 arguments",
    ),
    "not an entry": (
        lambda: call(in_axes=(None, "rows")),
        "data_parallel: in_axes: got 'rows', expected an integer or one of None, 'key'",
    ),
    "not an axis": (
        lambda: call(batch_axis=3),
        "data_parallel: batch_axis: got 3 for float32[7, 4, 3], expected one of its axes; in_axes "
        "has entries for each argument",
    ),
    "not a prefix": (
        lambda: call(mean, jnp.ones(D), {"a": jnp.ones(4)}, in_axes=(None, {"b": 0})),
        "data_parallel: in_axes[1]: got {'b': 0}, expected a prefix of {'a': '*'}",
    ),
    "not a key": (
        lambda: call(in_axes=("key", 1)),
        "data_parallel: in_axes: got 'key' for float32[3], expected one PRNG key",
    ),
    "not a way to combine": (
        lambda: call(batch_axis=1, out_axes="average"),
        "data_parallel: out_axes: got 'average', expected an integer or one of 'mean', 'sum'",
    ),
    "not a prefix of the outputs": (
        lambda: call(batch_axis=1, out_axes=("mean", 0)),
        "data_parallel: out_axes: got ('mean', 0), expected a prefix of '*'",
    ),
    "rows in a mean": (
        lambda: call(lambda p, xs: {"ys": xs @ p}),
        "data_parallel: out_axes: got 'mean' for output['ys'], float32[7, 4], whose shape depends "
        "on the number of rows, expected the axis of its rows",
    ),
    "other rows": (
        lambda: call(lambda p, xs: xs @ p, batch_axis=1, out_axes=0),
        "data_parallel: out_axes: got 0 for output, float32[7, 4], expected the axis that counts "
        "its rows, 'mean' or 'sum'",
    ),
    "a number has no axis": (
        lambda: call(batch_axis=1, out_axes=0),
        "data_parallel: out_axes: got 0 for output, float32[], expected one of its axes, 'mean' or "
        "'sum'",
    ),
    "a mean of integers": (
        lambda: call(lambda p, xs: jnp.sum(xs > 0)),
        "data_parallel: out_axes: got 'mean' for output, int32[], expected 'sum' or the axis of "
        "its rows",
    ),
    "a sum of booleans": (
        lambda: call(lambda p, xs: jnp.all(xs > 0), batch_axis=1, out_axes="sum"),
        "data_parallel: out_axes: got 'sum' for output, bool[], expected the axis of its rows",
    ),
    "weight": (
        lambda: call(batch_axis=1, weight=lambda p, xs: xs[0, :, 0]),
        "data_parallel: weight: got float32[1], expected a scalar",
    ),
    "devices": (
        lambda: call(batch_axis=1, devices=[]),
        "data_parallel: devices: got [], expected different devices of JAX, or None",
    ),
    "numbers of devices": (
        lambda: call(batch_axis=1, devices=[0, 1]),
        "data_parallel: devices: got [0, 1], expected different devices of JAX, or None",
    ),
    "a weight that is no function": (
        lambda: call(batch_axis=1, weight=2.0),
        "data_parallel: weight: got a float, expected a function",
    ),
    "one axis for all arguments": (
        lambda: call(in_axes=1),
        "data_parallel: in_axes: got 1, expected a tuple with one entry for each argument",
    ),
    "keywords": (
        lambda: sm.data_parallel(mean, batch_axis=1)(jnp.ones(D), xs=jnp.ones((7, 4, D))),
        "data_parallel: got xs as keyword arguments, expected positional arguments",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_one_line_for_each_mistake(name):
    mistake, line = MISTAKES[name]
    with pytest.raises((TypeError, ValueError)) as error:
        mistake()
    assert str(error.value) == line
