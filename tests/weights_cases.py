"""Cells, parameters and comparisons that the tests of `seqmodels.weights` share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm

T, B, D, H = 5, 3, 2, 3
FACTORIES = {
    "rnn": sm.rnn,
    "rnn_relu": functools.partial(sm.rnn, activation="relu"),
    "lstm": sm.lstm,
    "gru": sm.gru,
    "gru_after": functools.partial(sm.gru, reset_after=True),
}
LENGTHS = np.array([T, 1, 3])


def depths():
    """(layers, directions): each number of both by default, all pairs in the slow tier."""
    fast = {(1, 1), (2, 2), (3, 1)}
    return [
        pytest.param(
            (layers, directions),
            id=f"{layers}x{directions}",
            marks=() if (layers, directions) in fast else pytest.mark.slow,
        )
        for layers in (1, 2, 3)
        for directions in (1, 2)
    ]


@functools.cache  # one cell has its programs compiled once
def make_cell(kind, layers=1, directions=1, **options):
    """A cell of layers and directions, with dropout where it may be; a single layer is no stack."""
    factory = functools.partial(FACTORIES[kind], **options)
    cells = []
    for number in range(layers):
        sizes = (D if number == 0 else directions * H), H
        cell = sm.dropout(factory(*sizes), 0.2, recurrent=number > 0)
        if directions == 2:
            cell = sm.bidirectional(cell, factory(*sizes))
        cells.append(sm.dropout(cell, 0.3) if number < layers - 1 else cell)
    if layers == 3:  # a stack in a stack
        return sm.stack([sm.stack(cells[:2]), cells[2]])
    return sm.stack(cells) if layers > 1 else cells[0]


def params_of(cell, seed=0):
    """Random parameters: no bias is zero."""
    random = np.random.default_rng(seed)
    shapes = jax.eval_shape(cell.init, jax.random.key(0))
    return jax.tree.map(lambda a: jnp.asarray(random.normal(0, 0.5, a.shape), a.dtype), shapes)


def randomize(tree, seed=0):
    """The tree with random arrays in the place of its own."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda a: random.normal(0, 0.5, np.shape(a)).astype(np.float32), tree)


def inputs(seed=0):
    return np.random.default_rng(seed).normal(size=(T, B, D)).astype(np.float32)


def outputs(cell, params, xs, lengths=None, state=None):
    """(final_state, ys) of the plainest driver."""
    return sm.unroll(cell, params, xs, state, lengths=lengths, method="scan")


def assert_equals(cell, params, want, tolerance=1e-5, lengths=None):
    """Outputs equal the framework's; in the padding they are zero, whatever it gives there."""
    _, ys = outputs(cell, params, inputs(), lengths)
    want = np.array(want)
    if lengths is not None:
        padding = np.arange(T)[:, None] >= lengths
        assert not np.any(np.asarray(ys)[padding])
        want[padding] = 0
    np.testing.assert_allclose(ys, want, rtol=0, atol=tolerance)


def assert_same_bits(given, want):
    """Equal trees of equal arrays, to the sign of a zero."""
    assert jax.tree.structure(given) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(given), jax.tree.leaves(want), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.tobytes() == b.tobytes()
