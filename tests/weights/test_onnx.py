"""ONNX models as onnxruntime runs them: outputs and final states of `sm.unroll`."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import weights_cases as cases

import seqmodels as sm

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
D, H = cases.D, cases.H
LENGTHS = np.array([cases.T, 0, 3], np.int32)


def session_of(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # inputs that may be left out are warned of
    content = model.SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def assert_runs(cell, params, model, *, lengths=None, state=None, reverse=False):
    session, feeds = session_of(model), {"xs": cases.inputs()}
    if lengths is not None:
        feeds["lengths"] = lengths
    if state is not None:
        names = [i.name for i in session.get_overridable_initializers() if i.name != "lengths"]
        leaves = map(np.asarray, jax.tree.leaves(state))
        feeds |= dict(zip(names, leaves, strict=True))
    got_ys, *got_state = session.run(None, feeds)
    final, ys = sm.unroll(
        cell, params, cases.inputs(), state, lengths=lengths, reverse=reverse, method="scan"
    )
    if lengths is not None:
        assert not got_ys[np.arange(cases.T)[:, None] >= lengths].any()
    for got, want in zip([got_ys, *got_state], [ys, *jax.tree.leaves(final)], strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("depth", cases.depths())
@pytest.mark.parametrize("kind", list(cases.FACTORIES))
def test_equals_unroll(kind, depth):
    cell = cases.make_cell(kind, *depth)
    params = cases.params_of(cell)
    model = sm.weights.to_onnx(params, cell)
    state = cases.randomize(cell.initial_state(params, (cases.B,)), 3)
    assert_runs(cell, params, model, lengths=LENGTHS, state=jax.tree.map(jnp.asarray, state))


@pytest.mark.parametrize("directions", [1, 2])
def test_reverse_and_no_optional_inputs(directions):
    cell = cases.make_cell("lstm", 1, directions)
    params = cases.params_of(cell)
    make = functools.partial(sm.weights.to_onnx, params, cell, reverse=True)
    assert_runs(cell, params, make(), lengths=LENGTHS, reverse=True)
    model = make(lengths=False, initial_state=False)
    assert [value.name for value in model.graph.input] == ["xs"]
    assert_runs(cell, params, model, reverse=True)


def test_a_learned_initial_state_and_a_pair_of_two_kinds():
    cell = sm.bidirectional(sm.lstm(D, H, learn_initial_state=True), sm.gru(D, 2))
    params = cases.params_of(cell)
    assert_runs(cell, params, sm.weights.to_onnx(params, cell), lengths=LENGTHS)


def test_names_operators_and_file(tmp_path):
    cell = sm.stack([sm.bidirectional(sm.lstm(D, H), sm.lstm(D, H)), sm.gru(2 * H, H)])
    model = sm.weights.to_onnx(cases.params_of(cell), cell, tmp_path / "model.onnx")
    assert onnx.load(tmp_path / "model.onnx") == model
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    operators = [node.op_type for node in model.graph.node]
    assert [name for name in operators if name in ("LSTM", "GRU", "RNN")] == ["LSTM", "GRU"]
    states = ["0.forward.h", "0.forward.c", "0.backward.h", "0.backward.c", "1.h"]
    inputs = [value.name for value in model.graph.input]
    assert inputs == ["xs", "lengths", *(f"state.{name}" for name in states)]
    outputs = [value.name for value in model.graph.output]
    assert outputs == ["ys", *(f"final_state.{name}" for name in states)]


def test_mistakes(monkeypatch):
    cell = sm.lstm(D, H)
    params = cases.params_of(cell)
    with pytest.raises(TypeError, match=r"to_onnx: cell: got sm.rnn.*which onnx lacks"):
        sm.weights.to_onnx(params, sm.rnn(D, H, activation=jnp.sin))
    with pytest.raises(ValueError, match="to_onnx: params: w_x: got "):
        sm.weights.to_onnx(params, sm.lstm(D + 1, H))
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"to_onnx: the package onnx is missing; pip install"):
        sm.weights.to_onnx(params, cell)
