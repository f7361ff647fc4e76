"""The entry: what it refuses, what it composes with, what precision it keeps."""

import functools
import gc
import importlib
import weakref

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm

CELL = sm.lstm(cases.D, cases.H)
PARAMS = functools.cache(lambda: cases.init(CELL))
T, D, H = cases.T, cases.D, cases.H


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"xs": np.zeros(3)}, r"xs: got shape \(3,\), expected \(T, \*batch, D\)"),
        ({"xs": np.zeros((T, 2, 9))}, r"lstm: x_t: got shape \(2, 9\), expected \(\.\.\., 3\)"),
        ({"lengths": [1, 2, 3]}, r"lengths: got int\d+\[3\], expected integers of shape \[2\]"),
        ({"lengths": [1.0, 2.0]}, r"lengths: got float64\[2\], expected integers"),
        ({"lengths": [1, -1]}, r"lengths: got -1, expected 0 <= length <= T = 7"),
        ({"lengths": jnp.array([8, 1])}, r"lengths: got 8, expected 0 <= length <= T = 7"),
        ({"resets": np.zeros((T, 3), bool)}, r"resets: got bool\[7, 3\], expected bool\[7, 2\]"),
        ({"resets": np.zeros((T, 2))}, r"resets: got float32\[7, 2\], expected bool\[7, 2\]"),
        ({"state": np.zeros(2)}, r"state: got float32\[2\], expected LSTMState\(h=float32\[2, 4\]"),
        (
            {"state": sm.cells.LSTMState(np.zeros((2, 4), np.float32), np.zeros((3, 4)))},
            r"state\.c: got float32\[3, 4\], expected float32\[2, 4\]",
        ),
        (
            {"state": sm.cells.LSTMState(*np.zeros((2, 2, 4), np.int32))},
            r"state\.h: got int32\[2, 4\], expected float32\[2, 4\]",
        ),
        ({"method": "scam"}, r"method: got 'scam', expected one of auto, scan.*mean 'scan'\?"),
        ({"mask": np.ones((T, 3), bool)}, r"mask: got bool\[7, 3\], expected bool\[7, 2\]"),
        ({"mask": np.ones((T, 2))}, r"mask: got float32\[7, 2\], expected bool\[7, 2\]"),
        ({"hold_outputs": True}, r"hold_outputs: got True without a mask, expected a mask"),
        ({"hold_outputs": 1}, r"hold_outputs: got 1, expected True or False"),
        ({"reverse": "False"}, r"reverse: got 'False', expected True or False"),
        ({"xs": np.zeros((T, 2, D), np.complex64)}, "lstm: x_t: got complex64, expected real"),
        ({"method": 3}, r"method: got 3, expected one of auto, scan"),
    ],
)
def test_one_line_for_each_mistake(arguments, line):
    xs = arguments.pop("xs", np.zeros((T, 2, D), np.float32))
    with pytest.raises(ValueError, match=line) as error:
        sm.unroll(CELL, PARAMS(), xs, **arguments)
    assert "\n" not in str(error.value)


def test_one_line_for_mistakes_in_a_cell_of_ones_own():
    def make(initial_state, update):
        cell = sm.make_cell(lambda key: (), initial_state, (lambda p, s, x_t: x_t + s, update))
        with pytest.raises(ValueError) as error:  # noqa: PT011
            sm.unroll(cell, (), jnp.zeros((T, 2, D)), lengths=[1, 2])
        assert "\n" not in str(error.value)
        return str(error.value)

    def zeros(params, batch_shape):
        return jnp.zeros((*batch_shape, D))

    assert "expected (state, y_t)" in make(zeros, lambda p, s, gates: gates)
    swapped = make(zeros, lambda p, s, gates: (jnp.sum(gates, -1), gates))
    assert swapped == "step: got the state float32[2], expected float32[2, 3]"
    forgotten = make(lambda p, batch_shape: jnp.zeros(D), lambda p, s, gates: (s, gates))
    assert forgotten == "state: got a leaf float32[3], expected leading axes [2] as in xs"
    flat = make(zeros, lambda p, s, gates: (gates, jnp.sum(gates)))
    assert flat == "y_t: got a leaf float32[], expected leading axes [2] as in xs"
    with pytest.raises(TypeError, match="unroll: cell: got a NoneType, expected a Cell"):
        sm.unroll(None, (), jnp.zeros((T, D)))


def test_state_and_key_exclude_each_other():
    state = CELL.initial_state(PARAMS(), (2,))
    with pytest.raises(ValueError, match="key: got with a state"):
        sm.unroll(CELL, PARAMS(), jnp.zeros((T, 2, D)), state, key=jax.random.key(0))


@pytest.mark.parametrize("key", [0, jax.random.PRNGKey, jax.random.split])
def test_a_key_is_one_typed_key(key):
    key = key if key == 0 else key(jax.random.key(0) if key is jax.random.split else 0)
    with pytest.raises(ValueError, match=r"key: got .*, expected one key of jax\.random\.key"):
        sm.unroll(CELL, PARAMS(), jnp.zeros((T, 2, D)), key=key)


def test_keys_of_any_implementation():
    cell = sm.dropout(CELL, 0.5)
    key = jax.random.key(0, impl="rbg")
    state, _ = sm.unroll(cell, PARAMS(), cases.inputs((2,)), key=key)
    again, _ = sm.unroll(cell, PARAMS(), cases.inputs((2,)), state)
    assert again.noise.dtype == state.noise.dtype == key.dtype


def test_an_eager_call_compiles_once():
    """The second call of a size must not trace, let alone compile."""
    traces = []

    def project(params, state, x_t):
        traces.append(1)
        return x_t + state

    def initial_state(params, batch_shape):
        traces.append(1)
        return jnp.zeros((*batch_shape, D))

    update = lambda params, state, gates: (jnp.tanh(gates), gates)  # noqa: E731
    cell = sm.make_cell(lambda key: (), initial_state, (project, update))
    xs = cases.inputs((2,))

    def calls(n):
        state, _ = sm.unroll(cell, (), xs + n, lengths=[n, 2])
        sm.unroll(cell, (), xs, state)
        sm.unroll(cell, (), xs, method=sm.scan())

    calls(1)
    traced = len(traces)
    for n in range(3):
        calls(n)
    assert len(traces) == traced > 0


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_compute_dtype_apart_from_parameter_dtype(dtype):
    cell = sm.stack([make(D, D, dtype=dtype) for make in (sm.rnn, sm.gru, sm.lstm)])
    params = cases.init(cell)
    state, ys = sm.unroll(cell, params, cases.inputs((2,)))
    assert ys.dtype == dtype
    assert {a.dtype for a in jax.tree.leaves((params, state))} == {jnp.dtype("float32")}
    reference = sm.stack([make(D, D) for make in (sm.rnn, sm.gru, sm.lstm)])
    cases.assert_close(ys, sm.unroll(reference, params, cases.inputs((2,)))[1], 0.02)


@pytest.mark.parametrize("make", [sm.rnn, sm.gru, sm.lstm])
def test_float64_throughout(make):
    with jax.enable_x64(True):
        cell = make(D, H, param_dtype=jnp.float64)
        params = cases.init(cell)
        state, ys = sm.unroll(cell, params, jnp.ones((T, 2, D)))
        assert {a.dtype for a in jax.tree.leaves((params, state, ys))} == {jnp.dtype("float64")}


def test_a_cell_of_a_step_alone_and_of_images():
    """A cell needs no stages, and x_t may have several feature axes."""

    def step(params, state, x_t):
        state = state + jnp.sum(x_t, axis=(-2, -1)) * params
        return state, state

    cell = sm.Cell(
        init=lambda key: jnp.ones(()),
        initial_state=lambda params, batch_shape: jnp.zeros(batch_shape),
        step=step,
        x_ndim=2,
    )
    xs = jnp.ones((T, 4, 2, 3))
    state, ys = sm.unroll(cell, jnp.ones(()), xs, lengths=cases.LENGTHS, resets=cases.RESETS)
    assert ys.shape == (T, 4)
    assert state.tolist() == [6.0, 0.0, 6.0, 12.0]
    with pytest.raises(ValueError, match=r"expected \(T, \*batch, D, D2\)"):
        sm.unroll(cell, jnp.ones(()), jnp.ones((T, 2)))


def test_a_step_without_a_derivative_at_zero():
    """The padding is computed with something, and that must not reach the parameters."""

    def project(params, state, x_t):
        return (x_t / jnp.linalg.norm(x_t, axis=-1, keepdims=True) + jnp.log(x_t)) @ params + state

    cell = sm.make_cell(
        lambda key: jnp.eye(D),
        lambda params, batch_shape: jnp.zeros((*batch_shape, D)),
        (project, lambda params, state, gates: (jnp.tanh(gates), jnp.tanh(gates))),
    )
    xs = 1 + jnp.abs(cases.inputs())

    def loss(params, lengths):
        return jnp.sum(sm.unroll(cell, params, xs, lengths=lengths)[1])

    gradient = jax.grad(loss)(jnp.eye(D), cases.LENGTHS)
    one_by_one = sum(
        jax.grad(lambda p, x=xs[:length, n]: jnp.sum(sm.unroll(cell, p, x)[1]))(jnp.eye(D))
        for n, length in enumerate(cases.LENGTHS)
    )
    cases.assert_close(gradient, one_by_one, 1e-5)


def test_a_reset_of_the_users_own():
    reset_to = sm.cells.RNNState(jnp.full((2, H), 0.5))
    cell = sm.rnn(D, H)._replace(reset=lambda params, state: reset_to)
    params, xs = cases.init(cell), cases.inputs((2,))
    resets = np.zeros((T, 2), bool)
    resets[3] = True
    _, ys = sm.unroll(cell, params, xs, resets=resets)
    cases.assert_close(ys[3:], sm.unroll(cell, params, xs[3:], reset_to)[1])
    staged = sm.make_cell(
        cell.init, cell.initial_state, *cell.stages, reset=lambda params, state: reset_to
    )
    cases.assert_close(sm.unroll(staged, params, xs, resets=resets)[1], ys)
    wrong = cell._replace(reset=lambda params, state: sm.cells.RNNState(jnp.zeros(H + 1)))
    with pytest.raises(ValueError, match=r"reset: got a state of shapes RNNState\(h=\(5,\)\)"):
        sm.unroll(wrong, params, xs, resets=resets)


def test_integer_leaves_are_carried():
    """A counter in the state: frozen in the padding, set back by a reset."""

    def update(params, state, gates):
        new = {"count": state["count"] + 1, "h": jnp.tanh(gates)}
        return new, new["h"]

    cell = sm.make_cell(
        lambda key: (),
        lambda params, batch: {"count": jnp.zeros(batch, jnp.int32), "h": jnp.zeros((*batch, D))},
        (lambda params, state, x_t: x_t + state["h"], update),
    )
    full = sm.unroll_full(cell, (), cases.inputs(), lengths=cases.LENGTHS, resets=cases.RESETS)
    assert full.final_state["count"].tolist() == [1, 0, 1, 2]
    assert full.states["count"][:, 3].tolist() == [1, 2, 1, 2, 2, 2, 2]


def test_info_says_what_ran():
    info = sm.unroll_full(CELL, PARAMS(), cases.inputs()).info
    assert info.method == "fused"
    assert info.reason.startswith("auto")
    assert info.plan == "chunk=32, save=True"
    step_alone = CELL._replace(stages=())
    for cell, kind in [(step_alone, "a step alone"), (sm.lru(D, H), "a linear recurrence")]:
        info = sm.unroll_full(cell, cases.init(cell), cases.inputs()).info
        assert info.method == "scan"
        assert kind in info.reason
    assert sm.unroll_full(CELL, PARAMS(), cases.inputs(), method="scan").info.reason == "asked for"


def test_a_cell_goes_with_its_program():
    """A program that is dropped keeps nothing of its cell alive, so memory is bounded."""
    programs = importlib.import_module("seqmodels.drivers.unroll")._compiled

    def use():
        cell = sm.rnn(2, 3)
        sm.unroll(cell, cell.init(jax.random.key(0)), jnp.ones((4, 2)))
        return weakref.ref(cell.step)

    step = use()
    assert programs.cache_info().maxsize == 64
    programs.cache_clear()
    gc.collect()
    assert step() is None
