"""Comparison of `seqmodels.nnx` with `flax.nnx`: values, gradients, graph state."""

import contextlib
import itertools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import seqmodels.nnx.rnn

D, H, T = 3, 4, 5
CELLS = {
    "simple": nnx.SimpleCell,
    "lstm": nnx.LSTMCell,
    "packed_lstm": nnx.OptimizedLSTMCell,
    "gru": nnx.GRUCell,
}
BATCHES = {0: (), 1: (3,), 2: (2, 3)}
OPTIONS = {
    "cell": list(CELLS),
    "num_axes": list(BATCHES),
    "lengths": [False, True],
    "reverse": [False, True],
    "keep_order": [False, True],
    "time_major": [False, True],
    "return_carry": [False, True],
    "initial_carry": [False, True],
}


def new_cell(name="lstm", seed=0, **options):
    return CELLS[name](D, H, rngs=nnx.Rngs(seed), **options)


def new_inputs(shape=(3,), seed=1):
    return jax.random.normal(jax.random.key(seed), (*shape, T, D))


def pairwise(options):
    """Returns few choices in which each pair of values of two options occurs."""
    names = list(options)
    choices = [
        dict(zip(names, values, strict=True)) for values in itertools.product(*options.values())
    ]
    covered = {c: pairs(choice) for c, choice in enumerate(choices)}
    missing, chosen = set().union(*covered.values()), []
    while missing:
        best = max(covered, key=lambda c: len(covered[c] & missing))
        missing -= covered[best]
        chosen.append(choices[best])
    return chosen


def pairs(choice):
    return set(itertools.combinations(choice.items(), 2))


def every(options):
    return [
        dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())
    ]


def assert_close(ours, flax, tolerance=1e-5):
    assert jax.tree.structure(ours) == jax.tree.structure(flax)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(flax), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = map(jax.random.key_data, (a, b))
        np.testing.assert_allclose(
            np.asarray(a, np.float64), np.asarray(b, np.float64), tolerance, tolerance
        )


def assert_same_state(*nodes):
    """Asserts that two nodes have the same paths, types and values, bit for bit."""
    ours, flax = (nnx.to_flat_state(nnx.state(node)) for node in nodes)
    assert [(path, type(v)) for path, v in ours] == [(path, type(v)) for path, v in flax]
    assert_close([v[...] for _, v in ours], [v[...] for _, v in flax], tolerance=0)


def weighted_sum(tree):
    """Returns a scalar that depends on every entry in another way."""
    total = 0.0
    for n, leaf in enumerate(jax.tree.leaves(tree)):
        leaf = leaf.astype(jnp.float32)
        weights = jnp.cos(jnp.arange(leaf.size, dtype=jnp.float32) + n).reshape(leaf.shape)
        total = total + jnp.sum(weights * leaf)
    return total


def values_and_gradients(call, *modules, arrays=()):
    """Returns, for each module, `call(module, *arrays)` and the gradients of its weighted sum.

    The gradients are those of the parameters and the arrays. All is one compiled program.
    """
    split = [nnx.split(module, nnx.Param, ...) for module in modules]

    def run(number, params, arrays):
        graphdef, _, rest = split[number]
        result = call(nnx.merge(graphdef, params, rest, copy=True), *arrays)
        return weighted_sum(result), result

    def run_all(params, arrays):
        results = []
        for number, own in enumerate(params):
            (_, result), gradients = jax.value_and_grad(run, (1, 2), has_aux=True)(
                number, own, arrays
            )
            results.append((result, *gradients))
        return results

    return jax.jit(run_all)([params for _, params, _ in split], tuple(arrays))


def flax_on_one_axis(rnn, inputs, num_axes, carry=None, lengths=None, time_major=False, **options):
    """Returns Flax's result with any number of batch axes, which Flax runs as one."""
    inputs = inputs if time_major else jnp.moveaxis(inputs, num_axes, 0)
    shape = inputs.shape[1 : 1 + num_axes]
    carry = jax.tree.map(lambda a: a.reshape((-1, *a.shape[num_axes:])), carry)
    result = rnn(
        inputs.reshape((len(inputs), -1, inputs.shape[-1])),
        initial_carry=carry,
        seq_lengths=None if lengths is None else lengths.reshape(-1),
        time_major=True,
        **options,
    )
    carry, ys = result if options.get("return_carry") else (None, result)
    ys = ys.reshape((len(inputs), *shape, ys.shape[-1]))
    ys = ys if time_major else jnp.moveaxis(ys, 0, num_axes)
    if carry is None:
        return ys
    return jax.tree.map(lambda a: a.reshape((*shape, a.shape[-1])), carry), ys


@contextlib.contextmanager
def counted_drivers():
    """Yields a list that gets an entry at every call that a driver runs."""
    calls, unroll_vmapped = [], seqmodels.nnx.rnn.unroll_vmapped

    def count(*args, **options):
        calls.append(args[0])
        return unroll_vmapped(*args, **options)

    with mock.patch.object(seqmodels.nnx.rnn, "unroll_vmapped", count):
        yield calls
