"""The graph of a step: its operations against the equations, and its picture."""

import collections

import jax
import jax.numpy as jnp
import pytest

import seqmodels as sm
from seqmodels import plots
from seqmodels.analysis.step_graph import step_graph

B, D, H = 2, 3, 4


def graph_of(cell):
    params = jax.eval_shape(cell.init, jax.random.key(0))
    state = jax.eval_shape(lambda p: cell.initial_state(p, (B,)), params)
    return step_graph(cell, params, state, jax.ShapeDtypeStruct((B, D), "float32"))


def test_the_lstm_has_the_operations_of_its_equations():
    graph = graph_of(sm.lstm(D, H))
    counted = collections.Counter(node.label.split("\n")[0] for node in graph.nodes)
    # i, f, g, o = split(x W_x + h W_h + b); c = f c + i g; h = o tanh(c)
    assert counted == {
        "h": 1, "c": 1, "x": 1, "\u00d7 w_x": 1, "\u00d7 w_h": 1, "+": 2, "+ b": 1,
        "sigmoid": 3, "tanh": 2, "\u00d7": 3,
    }  # fmt: skip
    by_label = {node.label: node for node in graph.nodes}
    assert by_label["+ b"].shape == (B, 4 * H)
    assert by_label["sigmoid\npart 2 of 4"].shape == (B, H)
    # The new cell state is a sum; h and y are one node, o times tanh(c).
    assert graph.nodes[graph.state["c"]].label == "+"
    assert graph.outputs == (graph.state["h"],)
    last = graph.nodes[graph.state["h"]]
    assert {graph.nodes[s].label for s in last.sources} == {"sigmoid\npart 4 of 4", "tanh"}


def test_sources_come_first_and_inner_functions_are_read():
    for cell in (
        sm.gru(D, H),
        sm.lru(D, H),
        sm.lstm_variant(D, H, gate="relu", gate_recurrence=True),
        sm.stack([sm.rnn(D, H), sm.lstm(H, H)]),
    ):
        graph = graph_of(cell)
        assert all(s < n for n, node in enumerate(graph.nodes) for s in node.sources)
        ends = {*graph.state.values(), *graph.outputs}
        read = {s for node in graph.nodes for s in node.sources}
        assert read | ends == set(range(len(graph.nodes)))
    labels = [
        node.label.split("\n")[0] for node in graph_of(sm.lstm_variant(D, H, gate="relu")).nodes
    ]
    assert labels.count("relu") == 3


def test_a_constant_is_no_node():
    cell = sm.rnn(D, H)
    cell = cell._replace(step=lambda p, s, x: (s, jnp.ones(H)), stages=())
    with pytest.raises(ValueError, match="a step that returns a constant"):
        graph_of(cell)


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_picture_names_every_operation_and_shape(suffix, tmp_path):
    graph = graph_of(sm.gru(D, H))
    figure = plots.unrolled(
        graph.nodes, list(graph.state.items()), graph.outputs, num_steps=3, title="GRU, $5"
    )
    step, chain = figure.axes
    texts = [text.get_text() for text in step.texts]
    for node in graph.nodes:
        if node.kind not in ("input", "state"):
            shape = f"({', '.join(map(str, node.shape))})"
            assert f"{node.label}\n{shape}" in texts
    assert "h at t-1\n(2, 4)" in texts
    assert sum(text.get_text().startswith("x at ") for text in chain.texts) == 3
    assert plots.save(figure, tmp_path / f"a.{suffix}").stat().st_size > 5000
    with pytest.raises(ValueError, match="num_steps: got 9, expected 1 to 8"):
        plots.unrolled(graph.nodes, [], graph.outputs, num_steps=9, title="")
