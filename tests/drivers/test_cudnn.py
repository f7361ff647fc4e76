"""cuDNN's LSTM: the weights and the contract on any machine, the kernel where there is a GPU."""

import functools
import itertools

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn

import seqmodels as sm
from seqmodels.drivers import cudnn as driver
from seqmodels.drivers.contract import valid_steps, zero_unless

T, D, H = cases.T, cases.D, cases.H
CELL = sm.lstm(D, H, learn_initial_state=True)
GPU = jax.default_backend() == "gpu"
needs_gpu = pytest.mark.skipif(not GPU, reason="cuDNN needs an NVIDIA GPU")


def reference(x, h, c, weights, lengths):
    """JAX's own reference of what cuDNN computes, which runs anywhere."""
    parts = rnn.unpack_lstm_weights(weights, D, H, 1, False)
    return rnn.lstm_ref(x, h, c, *parts, lengths, D, H, 1, 0.0, False)


def by_reference(params, xs, state, lengths=None, reverse=False):
    """What `sm.unroll` would hand to the driver, with the reference in the place of cuDNN."""
    valid = None if lengths is None else valid_steps(jnp.asarray(lengths), xs.shape[0])
    contract = sm.Contract(valid, None, reverse)
    return driver.apply_contract(reference, params, zero_unless(valid, xs), state, contract)


def by_cudnn(params, xs, state, **contract):
    return sm.unroll(CELL, params, xs, state, method="cudnn", **contract)


PAIRWISE = [
    ((), False, True),
    ((), True, False),
    ((4,), False, False),
    ((4,), True, True),
    ((2, 2), False, True),
    ((2, 2), True, True),
]


@pytest.mark.parametrize("run", [by_reference, pytest.param(by_cudnn, marks=needs_gpu)])
@pytest.mark.parametrize(
    ("batch_shape", "reverse", "ragged"),
    [
        pytest.param(*case, marks=[] if case in PAIRWISE else pytest.mark.slow)
        for case in itertools.product([(), (4,), (2, 2)], [False, True], [False, True])
    ],
)
def test_values_and_gradients_are_those_of_scan(run, batch_shape, reverse, ragged):
    params, xs = cases.params_of(CELL), cases.inputs(batch_shape)
    state = cases.state_of(CELL, params, batch_shape)
    contract = {"reverse": reverse}
    if ragged:
        contract["lengths"] = cases.LENGTHS.reshape(batch_shape) if batch_shape else np.array(3)
        xs = cases.padded_with_nan(xs, contract["lengths"])

    def score(run, params, xs, state):
        final, ys = run(params, xs, state, **contract)
        weights = jnp.arange(1.0, ys.size + 1).reshape(ys.shape) / ys.size
        return jnp.sum(jnp.sin(ys) * weights) + jnp.sum(final.h**3) + jnp.sum(final.c**2), (
            final,
            ys,
        )

    scan = functools.partial(sm.unroll, CELL, method="scan")
    got, want = (
        jax.value_and_grad(functools.partial(score, r), (0, 1, 2), has_aux=True)(params, xs, state)
        for r in (run, scan)
    )
    cases.assert_close(got, want, 5e-6)


@pytest.mark.parametrize("num_steps", [0, 1])
def test_short(num_steps):
    params, xs = cases.params_of(CELL), cases.inputs((2,), num_steps)
    state = cases.state_of(CELL, params, (2,))
    got = by_reference(params, xs, state)
    cases.assert_close(got, sm.unroll(CELL, params, xs, state, method="scan"))
    assert by_reference(params, xs[:, :0], jax.tree.map(lambda a: a[:0], state))[1].size == 0


def test_weights_there_and_back():
    params = cases.params_of(sm.lstm(D, H))
    weights = driver.pack_lstm(params)
    assert weights.shape == (rnn.get_num_params_in_lstm(D, H, 1, False),)
    cases.assert_close(driver.unpack_lstm(weights, D, H), params, 0)
    other = rnn.init_lstm_weight(jax.random.key(0), D, H, 1, False)
    _, _, b_ih, b_hh = rnn.unpack_lstm_weights(other, D, H, 1, False)
    params = driver.unpack_lstm(other, D, H)
    cases.assert_close(params.b, b_ih[0] + b_hh[0], 0)
    x, zeros = cases.inputs((2,)).swapaxes(0, 1), jnp.zeros((1, 2, H))
    y, _, _ = reference(x, zeros, zeros, other, jnp.full(2, T, jnp.int32))
    _, ys = sm.unroll(sm.lstm(D, H), params, cases.inputs((2,)))
    cases.assert_close(y.swapaxes(0, 1), ys)
    with pytest.raises(ValueError, match=r"cudnn: weights: got shape \(144,\), expected \(160,\)"):
        driver.unpack_lstm(other, D + 1, H)


def mistakes():
    peephole, _ = cases.CELLS["peephole"]
    low = sm.lstm(D, H, dtype=jnp.bfloat16)
    (project, update), resets = CELL.stages[0], np.zeros((T, 2), bool)
    patched = CELL._replace(stages=((lambda p, s, x: project(p, s, x) / 2, update),))
    return {
        "gru": (sm.unroll, sm.gru(D, H), {}, TypeError, "got another cell, expected sm.lstm; for"),
        "own": (sm.unroll, peephole, {}, TypeError, "got another cell"),
        "patched": (sm.unroll, patched, {}, TypeError, "got another cell"),
        "mask": (sm.unroll, CELL, {"mask": ~resets}, ValueError, "cudnn: mask: not served"),
        "resets": (sm.unroll, CELL, {"resets": resets}, ValueError, "cudnn: resets: not served"),
        "states": (sm.unroll_full, CELL, {}, ValueError, "does not return the cell state of every"),
        "dtype": (sm.unroll, low, {}, ValueError, "got bfloat16, expected float32"),
    }


@pytest.mark.parametrize("name", mistakes())
def test_one_line_for_each_mistake(name):
    unroll, cell, contract, kind, line = mistakes()[name]
    params = cases.init(cell)
    with pytest.raises(kind, match=line) as error:
        unroll(cell, params, cases.inputs((2,)), method="cudnn", **contract)
    assert "\n" not in str(error.value)
    assert "'scan'" in str(error.value)


def test_a_precision_that_does_not_exist():
    line = "cudnn: precision: got 'bfloat16', expected one of float32, tf32"
    with pytest.raises(ValueError, match=line):
        sm.cudnn(precision="bfloat16")


@pytest.mark.skipif(GPU, reason="there is a GPU")
def test_one_line_where_there_is_no_gpu():
    params = cases.init(CELL)
    line = r"^cudnn: found cpu \(cpu\), expected an NVIDIA GPU; use method='scan', 'fused' or"
    with pytest.raises(RuntimeError, match=line):
        sm.unroll(CELL, params, cases.inputs((2,)), method=sm.cudnn(precision="tf32"))


def test_precision_reaches_cudnn(monkeypatch):
    """The default is full float32, which is not cuDNN's own."""
    seen = []
    monkeypatch.setattr(rnn, "lstm", lambda *a: seen.append(rnn._lstm_cudnn_allow_tf32(a[-1])))

    class Device:
        device_kind, platform = "a GPU", "gpu"

        class client:  # noqa: N801
            platform_version = "PJRT C API\ncuda 12090"

    monkeypatch.setattr(jax, "local_devices", lambda: [Device])
    params = cases.init(CELL)
    for settings in (sm.cudnn(), sm.cudnn(precision="tf32")):
        driver._kernel(CELL, params, **dict(settings.settings))(*[None] * 5)
    assert seen == [False, True]


@needs_gpu
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("tf32", 2e-2)])
def test_a_larger_lstm_on_the_gpu(precision, tolerance):
    cell = sm.lstm(64, 128)
    params = cases.init(cell)
    xs = jax.random.normal(jax.random.key(1), (100, 8, 64))
    lengths = np.array([100, 0, 1, 50, 99, 7, 100, 3])

    @functools.partial(jax.jit, static_argnums=1)
    def value_and_grad(params, method, lengths):
        def loss(params):
            return jnp.mean(sm.unroll(cell, params, xs, lengths=lengths, method=method)[1] ** 2)

        return jax.value_and_grad(loss)(params)

    with jax.default_matmul_precision("highest"):
        want = value_and_grad(params, "scan", lengths)
    cases.assert_close(
        value_and_grad(params, sm.cudnn(precision=precision), lengths), want, tolerance
    )
