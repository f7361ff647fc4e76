"""Calls that fail or give a wrong result in Flax, on the path of a driver and on Flax's own."""

import flax_nnx_checks as checks
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from seqmodels.nnx import RNN


class OwnCell(nnx.LSTMCell):
    """A cell that only Flax can run."""


@pytest.fixture(params=[nnx.LSTMCell, OwnCell], ids=["driver", "flax"])
def cell(request):
    return request.param(checks.D, checks.H, rngs=nnx.Rngs(0))


def new_carry(shape=(3,)):
    c, h = jax.random.normal(jax.random.key(3), (2, *shape, checks.H))
    return c, h


def test_lengths_from_zero_to_above_num_steps(cell):
    """Each row equals Flax's result for that row alone, cut to its length."""
    xs, carry, lengths = checks.new_inputs((4,)), new_carry((4,)), np.array([0, 2, 3, 9])
    zero_padding = type(cell) is OwnCell
    rnn = RNN(cell, reverse=True, return_carry=True, zero_padding=zero_padding)
    final, ys = rnn(xs, initial_carry=carry, seq_lengths=lengths)
    checks.assert_close(*(jax.tree.map(lambda a: a[0], tree) for tree in (final, carry)))
    for row, length in [(1, 2), (3, 5)]:
        before = jax.tree.map(lambda a, row=row: a[row : row + 1], carry)
        expected = nnx.RNN(cell, reverse=True, return_carry=True)(
            xs[row : row + 1, :length], initial_carry=before
        )
        got = jax.tree.map(lambda a, row=row: a[row : row + 1], (final, ys[:, :length]))
        checks.assert_close(got, expected)
    if zero_padding:
        assert not ys[0].any()
        assert not ys[1, 2:].any()


def test_no_steps(cell):
    carry = new_carry()
    final, ys = RNN(cell, return_carry=True, reverse=True)(
        checks.new_inputs()[:, :0], initial_carry=carry, seq_lengths=jnp.zeros(3, int)
    )
    assert ys.shape == (3, 0, checks.H)
    checks.assert_close(final, carry, tolerance=0)


@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_lengths_and_carry_with_any_batch_axes(cell, shape):
    xs, num_axes = checks.new_inputs(shape), len(shape)
    lengths = jnp.array([[1, 5, 3], [4, 2, 5]]) if shape else jnp.array(3)
    ours = RNN(cell, return_carry=True)(xs, seq_lengths=lengths)
    flax = checks.flax_on_one_axis(nnx.RNN(cell), xs, num_axes, lengths=lengths, return_carry=True)
    checks.assert_close(ours, flax)


def test_nan_in_the_padding_is_harmless(cell):
    reverse = type(cell) is OwnCell
    lengths = jnp.array([2, 5, 0])
    valid = jnp.arange(checks.T)[None] < lengths[:, None]
    xs = checks.new_inputs()
    rnn = RNN(cell, zero_padding=True, return_carry=True, reverse=reverse, keep_order=True)

    def call(rnn, xs):
        return rnn(xs, seq_lengths=lengths)

    (clean,) = checks.values_and_gradients(call, rnn, arrays=(xs,))
    (dirty,) = checks.values_and_gradients(
        call, rnn, arrays=(jnp.where(valid[..., None], xs, jnp.nan),)
    )
    checks.assert_close(dirty, clean, tolerance=0)
    (_, ys), _, (d_xs,) = dirty
    assert not jnp.where(valid[..., None], 0, ys).any()
    assert not jnp.where(valid[..., None], 0, d_xs).any()


def test_streams_and_no_streams():
    xs, stream = checks.new_inputs(), nnx.RngStream(3, tag="carry")
    rnn = RNN(checks.new_cell(), rngs=stream)
    assert stream.count[...] == 1
    assert rnn.rngs is not stream
    expected = nnx.RNN(checks.new_cell())(xs)
    checks.assert_close(rnn(xs), expected)
    checks.assert_close(RNN(checks.new_cell(), rngs=False)(xs), expected)
    assert RNN(checks.new_cell(), state_axes={...: nnx.Carry})(xs).shape == expected.shape


@pytest.mark.parametrize(
    ("kind", "param_dtype"),
    [("simple", jnp.float32), ("lstm", jnp.float32), ("gru", jnp.bfloat16)],
)
def test_low_precision(kind, param_dtype):
    """The dtype is the one that steps of the cell keep; values are near those in float32."""
    options = {"recurrent_kernel_init": nnx.initializers.lecun_normal()}
    cell = checks.new_cell(kind, dtype=jnp.bfloat16, param_dtype=param_dtype, **options)
    wide = checks.new_cell(kind, dtype=jnp.float32, param_dtype=param_dtype, **options)
    xs = checks.new_inputs()
    carry, ys = RNN(cell, return_carry=True)(xs)
    assert {leaf.dtype for leaf in jax.tree.leaves((carry, ys))} == {ys.dtype}
    new, y = cell(jax.tree.map(lambda a: a[:1], carry), xs[:1, 0])
    assert y.dtype == ys.dtype
    assert {leaf.dtype for leaf in jax.tree.leaves(new)} == {ys.dtype}
    np.testing.assert_allclose(ys.astype(jnp.float32), RNN(wide)(xs).astype(jnp.float32), atol=0.05)


@pytest.mark.parametrize("convert", [np.asarray, lambda xs: jnp.round(3 * xs).astype(jnp.int32)])
def test_numpy_and_integer_inputs(convert):
    xs = convert(checks.new_inputs())
    checks.assert_close(RNN(checks.new_cell())(xs), nnx.RNN(checks.new_cell())(xs))


def test_complex_inputs_lose_nothing_silently():
    xs = checks.new_inputs() * (1 + 1j)
    with pytest.raises(ValueError, match=r"inputs: got complex64, expected real numbers"):
        RNN(checks.new_cell(dtype=jnp.float32))(xs)


def test_zero_padding_needs_lengths_of_each_sequence():
    rnn = RNN(checks.new_cell(), zero_padding=True)
    with pytest.raises(ValueError, match=r"seq_lengths: got shape \(2,\), expected .* \(3,\)"):
        rnn(checks.new_inputs(), seq_lengths=jnp.array([1, 2]))
