"""Sequences of different lengths: every one once an epoch, with little padding."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batch_checks import assert_equal, assert_shares_make_the_whole, epoch_of
from hypothesis import given
from hypothesis import strategies as st

import seqmodels as sm
from seqmodels.data.buckets import SequenceBatch, best_boundaries, bucketed
from seqmodels.training.nonfinite import find_non_finite

RNG = np.random.default_rng(0)


def sequences_of(lengths):
    """Sequence n is n + 1 at every step, so that it differs from padding."""
    return [np.full((length, 2), n + 1, np.float32) for n, length in enumerate(lengths)]


def padding_of(batches, epoch=0):
    """The share of padded steps, counted one by one."""
    seen = epoch_of(batches, epoch)
    steps = sum(batch.xs.shape[0] * batch.xs.shape[1] for batch in seen)
    return 1 - sum(int(batch.lengths.sum()) for batch in seen) / steps


@given(
    lengths=st.lists(st.integers(0, 20), min_size=1, max_size=30),
    batch_size=st.integers(1, 8),
    boundaries=st.integers(1, 5) | st.just([3, 20]),
    seed=st.none() | st.integers(0, 2**64 - 1),
    epoch=st.integers(0, 1000),
)
def test_every_sequence_once_an_epoch(lengths, batch_size, boundaries, seed, epoch):
    numbers = np.arange(len(lengths)) + 1
    batches = bucketed(
        sequences_of(lengths), numbers, batch_size=batch_size, seed=seed, boundaries=boundaries
    )
    seen = epoch_of(batches, epoch)
    found = []
    for batch in seen:
        assert batch.xs.shape == (len(batch.xs), batch_size, 2)
        assert batch.lengths.dtype == np.int32
        assert len(batch.xs) >= max(1, batch.lengths.max())
        for row in range(batch_size):
            length, present = batch.lengths[row], batch.weights[row]
            assert present in (0, 1)
            assert not batch.xs[length:, row].any()
            if present:
                number = batch.targets[row]
                assert length == lengths[number - 1]
                assert (batch.xs[:length, row] == number).all()
                found.append(number)
            else:
                assert not length
    assert sorted(found) == numbers.tolist()
    most = len(boundaries) if isinstance(boundaries, list) else boundaries
    assert len({len(batch.xs) for batch in seen}) <= most
    assert batches.per_epoch == -(-len(lengths) // batch_size)
    assert batches.padding == pytest.approx(padding_of(batches, epoch))


def test_far_less_padding_than_plain_shuffling():
    """Lengths from a log-normal distribution, as those of sentences and of clicks are."""
    lengths = np.clip(np.exp(RNG.normal(3, 1, 2000)), 1, 500).astype(int)
    order = RNG.permutation(2000).reshape(-1, 20)
    plain = 1 - lengths.sum() / (20 * lengths[order].max(axis=1).sum())
    assert plain > 0.7
    for boundaries, most in [(8, 0.25), (16, 0.15)]:
        batches = bucketed(sequences_of(lengths), batch_size=20, seed=0, boundaries=boundaries)
        assert batches.padding < most
        assert len({len(batches.at(n).xs) for n in range(batches.per_epoch)}) <= boundaries


def test_company_and_order_change_with_the_epoch_and_the_seed():
    """No two lengths are equal, so that a sort alone would always give the same batches."""
    sequences = sequences_of(RNG.permutation(64) + 1)  # 8 batches, 2 boundaries

    def run(seed, epoch):
        return epoch_of(bucketed(sequences, np.arange(64), batch_size=8, seed=seed), epoch)

    runs = [run(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    company = [{frozenset(batch.targets) for batch in batches} for batches in runs]
    order = [[len(batch.xs) for batch in batches] for batches in runs]
    for one, other in itertools.combinations(range(4), 2):
        assert not company[one] & company[other]
        assert order[one] != order[other]
        assert sorted(order[one]) == sorted(order[other]) != order[one]
    for first, second in zip(run(0, 1), runs[1], strict=True):
        assert_equal(first, second)


def test_an_evaluation_has_no_chance_in_it():
    batches = bucketed(sequences_of([3, 1, 2, 9, 0]), np.arange(5), batch_size=2, seed=None)
    for first, second in zip(epoch_of(batches, 0), epoch_of(batches, 7), strict=True):
        assert_equal(first, second)
    assert [batch.targets.tolist() for batch in epoch_of(batches, 0)] == [[0, 4], [1, 2], [0, 3]]
    assert batches.at(0).weights.tolist() == [0, 1]


def test_shares_of_processes_make_the_whole():
    sequences = sequences_of(RNG.integers(0, 40, 37))
    assert_shares_make_the_whole(
        lambda **of: bucketed(sequences, np.arange(37), batch_size=8, seed=3, **of), range(12)
    )


def test_structures():
    """Several arrays a step, several targets a sequence."""
    sequences = [{"tokens": np.arange(n), "tags": np.arange(n) % 2 == 0} for n in (2, 3)]
    targets = {"label": np.array([4, 5]), "vector": np.ones((2, 3))}
    batch = bucketed(sequences, targets, batch_size=2, seed=None).at(0)
    np.testing.assert_array_equal(batch.xs["tokens"], [[0, 0], [1, 1], [0, 2]])
    np.testing.assert_array_equal(batch.xs["tags"], [[True, True], [False, False], [False, True]])
    assert batch.xs["tags"].dtype == bool
    assert batch.targets["label"].tolist() == [4, 5]
    assert batch.targets["vector"].shape == (2, 3)
    assert bucketed(sequences, batch_size=2, seed=0).at(0).targets is None


def test_weights_leave_a_mean_over_devices_as_it_is():
    """The axes fit `data_parallel`, and empty rows add nothing to the gradient on any device."""
    batches = bucketed(
        sequences_of([1, 2, 3, 4, 5, 6]), np.arange(6.0), batch_size=8, seed=0, boundaries=2
    )

    def loss(params, xs, lengths, targets, weights):
        sums = jnp.sum(xs[..., 0], 0) * params
        return jnp.mean(weights * (sums - targets) ** 2) + 0 * jnp.sum(lengths)

    batch = batches.at(0)
    step = sm.data_parallel(jax.grad(loss), in_axes=(None, *batches.batch_axes))
    gradient = step(jnp.asarray(0.5), *batch)
    n = np.arange(6.0)
    sums = (n + 1) ** 2  # n + 1 steps, each n + 1
    want = np.sum(2 * (0.5 * sums - n) * sums) / 8
    assert float(gradient) == pytest.approx(want, rel=1e-5)


@given(lengths=st.lists(st.integers(0, 15), min_size=1, max_size=20), count=st.integers(1, 6))
def test_boundaries_leave_the_least_padding(lengths, count):
    lengths = np.array(lengths)
    distinct = np.unique(np.maximum(lengths, 1))

    def steps(boundaries):
        return sum(min(b for b in boundaries if b >= length) for length in lengths)

    got = best_boundaries(lengths, count)
    assert list(got) == sorted(set(got))
    assert len(got) <= count
    others = itertools.combinations(distinct[:-1], min(count, len(distinct)) - 1)
    assert steps(got) == min(steps((*other, distinct[-1])) for other in others)


def test_boundaries_of_very_many_lengths():
    lengths = np.arange(5000)
    got = best_boundaries(lengths, 4)
    assert got[-1] == 4999
    assert np.diff([0, *got]) == pytest.approx(1250, abs=10)


WRONG = [
    (lambda: bucketed([], batch_size=1, seed=0), "sequences: got none, expected at least one"),
    (
        lambda: bucketed([np.zeros((2, 3)), np.zeros((2, 4))], batch_size=1, seed=0),
        "sequences[1]: got float64 (2, 4), expected float64 (T, 3) as the first has it",
    ),
    (
        lambda: bucketed([np.zeros(2), np.zeros(2, int)], batch_size=1, seed=0),
        "sequences[1]: got int64 (2,), expected float64 (T) as the first has it",
    ),
    (
        lambda: bucketed([np.zeros(2), (np.zeros(2),)], batch_size=1, seed=0),
        "sequences[1]: got another structure than the first, expected the same",
    ),
    (
        lambda: bucketed([(np.zeros(2), np.zeros(3))], batch_size=1, seed=0),
        "sequences[0]: got lengths [2, 3], expected one length",
    ),
    (lambda: bucketed([[1, 2]], batch_size=1, seed=0), "sequences[0]: got [1, 2], expected an arr"),
    (
        lambda: bucketed({"tokens": [np.zeros(2)]}, batch_size=1, seed=0),
        "sequences[0]: got 'tokens', expected an array (T, ...)",
    ),
    (lambda: bucketed([()], batch_size=1, seed=0), "sequences[0]: got (), expected an array (T, "),
    (
        lambda: bucketed([np.zeros(2)], {"y": np.zeros(2)}, batch_size=1, seed=0),
        "targets['y']: got shape (2,), expected (1, ...), a row for each sequence",
    ),
    (
        lambda: bucketed([np.zeros(9)], batch_size=1, seed=0, boundaries=[4, 8]),
        "boundaries: got [4, 8], expected ascending lengths up to at least 9, the longest sequence",
    ),
    (
        lambda: bucketed([np.zeros(1)], batch_size=1, seed=0, boundaries=[8, 4]),
        "boundaries: got [8, 4], expected ascending lengths up to at least 1",
    ),
    (
        lambda: bucketed([np.zeros(1)], batch_size=1, seed=0, boundaries=[]),
        "boundaries: got [], expected ascending lengths",
    ),
    (
        lambda: bucketed([np.zeros(1)], batch_size=1, seed=0, boundaries=0),
        "boundaries: got 0, expected a whole number at least 1",
    ),
    (
        lambda: bucketed([np.zeros(1)], batch_size=7, seed=0, num_processes=2),
        "batch_size: got 7, expected a multiple of the 2 processes",
    ),
    (
        lambda: bucketed([np.zeros(1)], batch_size=1, seed=0).at(-1),
        "cursor: got -1, expected a whole number at least 0",
    ),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message for _, message in WRONG])
def test_mistakes_get_one_line(make, message):
    with pytest.raises(ValueError, match=r".*") as caught:
        make()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def at(index, value, shape=(4, 8, 2), dtype=np.float32):
    array = np.zeros(shape, dtype)
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("tree", "want"),
    [
        (SequenceBatch(at((3, 7, 0), np.nan), at(2, 1, 4), None, 0.0), "xs[3, 7, 0] is nan"),
        ({"a": np.zeros(3), "b": (1, at(2, -np.inf, 5))}, "batch['b'][1][2] is -inf"),
        (at((0, 1), np.inf, (2, 2)), "batch[0, 1] is inf"),
        (float("nan"), "batch is nan"),
        (jnp.array([0, jnp.inf], jnp.bfloat16), "batch[1] is inf"),
        (at(1, complex(0, np.inf), 2, np.complex64), "batch[1] is infj"),
        ({"n": np.arange(3), "t": True, "e": np.zeros((0, 2)), "k": jax.random.key(0)}, None),
        (None, None),
    ],
)
def test_what_is_not_finite_is_named(tree, want):
    assert find_non_finite(tree) == want
