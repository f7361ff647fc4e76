"""`seqmodels.nnx.Bidirectional` against `flax.nnx.Bidirectional`."""

import flax_nnx_checks as checks
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqmodels.nnx

LENGTHS = jnp.array([1, 5, 3])
KINDS = (seqmodels.nnx, nnx)


def pair(kind, inner=None, cells=("lstm", "gru"), **options):
    rnns = [(inner or kind).RNN(checks.new_cell(c, seed=n)) for n, c in enumerate(cells)]
    return kind.Bidirectional(*rnns, **options)


def add(forward, backward):
    return forward + 2 * backward


@pytest.mark.parametrize(
    ("lengths", "return_carry"), [(None, False), (LENGTHS, False), (LENGTHS, True)]
)
def test_options(lengths, return_carry):
    time_major = lengths is None
    xs = jnp.moveaxis(checks.new_inputs(), 1, 0) if time_major else checks.new_inputs()
    h = jax.random.normal(jax.random.key(3), (3, checks.H))
    carry = ((h, -h), h[::-1]) if return_carry else None
    options = {"time_major": time_major, "merge_fn": add if return_carry else jnp.maximum}
    pairs = [pair(kind, **options) for kind in KINDS]

    def call(pair, xs, carry):
        return pair(xs, initial_carry=carry, seq_lengths=lengths, return_carry=return_carry)

    with checks.counted_drivers() as calls:
        ours, flax = checks.values_and_gradients(call, *pairs, arrays=(xs, carry))
    assert len(calls) == 2
    checks.assert_close(ours, flax)


@pytest.mark.parametrize("rngs", [True, False, "rngs", "stream"])
def test_streams_advance_as_in_flax(rngs):
    def use(kind):
        source = {"rngs": nnx.Rngs(3), "stream": nnx.RngStream(3, tag="carry")}.get(rngs, rngs)
        caller, stream = nnx.Rngs(7, carry=8), nnx.RngStream(9, tag="carry")
        made = pair(kind, cells=("gru", "gru"), rngs=source)
        for given in (None, caller, stream):
            made(checks.new_inputs(), rngs=given)
        given = [source] if isinstance(source, nnx.Rngs | nnx.RngStream) else []
        return nnx.List([made, caller, stream, *given])

    checks.assert_same_state(*map(use, KINDS))


def test_modules_of_flax_inside_ours_and_ours_inside_flax():
    xs = checks.new_inputs()
    expected = pair(nnx)(xs, seq_lengths=LENGTHS)
    for outer, inner in (KINDS, KINDS[::-1]):
        checks.assert_close(pair(outer, inner)(xs, seq_lengths=LENGTHS), expected)


def test_one_module_for_both_directions(caplog):
    shared = [kind.RNN(checks.new_cell("gru")) for kind in KINDS]
    ours, flax = (
        kind.Bidirectional(rnn, rnn)(checks.new_inputs())
        for kind, rnn in zip(KINDS, shared, strict=True)
    )
    checks.assert_close(ours, flax)
    assert caplog.text.count("same object") == 2


def test_zero_padding():
    rnns = [seqmodels.nnx.RNN(checks.new_cell("gru", n), zero_padding=True) for n in (0, 1)]
    xs = checks.new_inputs()
    ys = seqmodels.nnx.Bidirectional(*rnns)(xs.at[0, 1:].set(jnp.nan), seq_lengths=LENGTHS)
    alone = seqmodels.nnx.Bidirectional(*rnns)(xs[:1, :1])
    assert not np.any(ys[0, 1:])
    np.testing.assert_allclose(ys[:1, :1], alone, 1e-6, 1e-6)
