"""Batches are a pure function of a cursor: each row once, the same on any machine."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np
import pytest
from batch_checks import assert_equal, assert_shares_make_the_whole, epoch_of
from hypothesis import given
from hypothesis import strategies as st

from seqmodels.data.batches import ordered, shuffled
from seqmodels.data.shuffling import random_order
from seqmodels.data.streams import contiguous

MASK = 2**64 - 1
GOLDEN = [  # random_order(10, seed, epoch) for (0, 0), (0, 1) and (1, 0)
    [0, 2, 9, 1, 8, 5, 4, 3, 6, 7],
    [5, 3, 7, 8, 2, 4, 1, 0, 6, 9],
    [3, 5, 2, 9, 7, 0, 8, 6, 1, 4],
]


class Labeled(NamedTuple):
    xs: np.ndarray
    labels: np.ndarray


def data(num_rows, num_steps=3):
    """Row n of every array holds n."""
    rows = np.arange(num_rows)
    return Labeled(np.tile(rows[None, :, None], (num_steps, 1, 2)).astype(np.float32), rows)


def philox_4x64_10(key, counter, size):
    """The generator as its paper defines it, in Python's integers; NumPy counts before it draws."""
    drawn = []
    while len(drawn) < size:
        number = sum(word << 64 * n for n, word in enumerate(counter)) + 1
        counter = [number >> 64 * n & MASK for n in range(4)]
        x, k = list(counter), list(key)
        for _ in range(10):
            high_0, low_0 = divmod(x[0] * 0xD2E7470EE14C6C93, 2**64)
            high_1, low_1 = divmod(x[2] * 0xCA5A826395121157, 2**64)
            x = [high_1 ^ x[1] ^ k[0], low_1, high_0 ^ x[3] ^ k[1], low_0]
            k = [k[0] + 0x9E3779B97F4A7C15 & MASK, k[1] + 0xBB67AE8584CAA73B & MASK]
        drawn += x
    return drawn[:size]


@pytest.mark.parametrize(("seed", "epoch", "stream"), [(0, 0, 0), (7, 3, 1), (MASK, 2**40, 5)])
def test_orders_are_those_of_the_paper(seed, epoch, stream):
    drawn = philox_4x64_10([seed, epoch], [0, 0, 0, stream], 23)
    want = sorted(range(23), key=drawn.__getitem__)
    assert random_order(23, seed, epoch, stream).tolist() == want


def test_orders_stay_as_they_are():
    """Written down once, so that no version of anything changes the batches of an old seed."""
    assert random_order(10, seed=0, epoch=0).tolist() == GOLDEN[0]
    assert random_order(10, seed=0, epoch=1).tolist() == GOLDEN[1]
    assert random_order(10, seed=1, epoch=0).tolist() == GOLDEN[2]


def test_orders_are_uniform():
    """All 24 orders of four things about equally often: chi-squared, 23 degrees of freedom."""
    seen = [tuple(random_order(4, seed=3, epoch=epoch)) for epoch in range(4800)]
    counts = [seen.count(order) for order in set(seen)]
    assert len(counts) == 24
    assert sum((count - 200) ** 2 / 200 for count in counts) < 49.7  # the .999 quantile


@given(
    num_rows=st.integers(1, 40),
    batch_size=st.integers(1, 40),
    rest=st.sampled_from(["drop", "keep"]),
    seed=st.integers(0, MASK),
    epoch=st.integers(0, 2**30),
)
def test_every_row_once_an_epoch(num_rows, batch_size, rest, seed, epoch):
    batch_size = min(batch_size, num_rows)
    batches = shuffled(data(num_rows), batch_size, seed=seed, axis=Labeled(1, 0), rest=rest)
    seen = epoch_of(batches, epoch)
    sizes = [len(batch.labels) for batch in seen]
    rows = np.concatenate([batch.labels for batch in seen])
    full, left_over = divmod(num_rows, batch_size)
    kept = [left_over] if left_over and rest == "keep" else []
    assert sizes == [batch_size] * full + kept
    assert len(set(rows)) == len(rows) == batch_size * full + sum(kept)
    for batch in seen:  # the rows of a pytree stay together, each leaf along its own axis
        assert batch.xs.shape == (3, len(batch.labels), 2)
        assert (batch.xs == batch.labels[None, :, None]).all()


def test_shuffled_anew_in_every_epoch_and_for_every_seed():
    orders = {
        tuple(np.concatenate(epoch_of(shuffled(np.arange(20), 5, seed=seed), epoch)))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9
    assert tuple(range(20)) not in orders


def test_what_is_dropped_differs_by_epoch():
    batches = shuffled(np.arange(11), 5, seed=0)
    rows = set(range(11))
    dropped = [rows - set(np.concatenate(epoch_of(batches, n)).tolist()) for n in range(40)]
    assert all(len(one) == 1 for one in dropped)
    assert len(set.union(*dropped)) > 5


def test_a_cursor_is_all_there_is_to_know():
    """Any order of calls, threads, and a new object give the same; so does a huge cursor."""
    batches = shuffled(np.arange(17), 4, seed=5)
    want = {cursor: batches.at(cursor) for cursor in range(40)}
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(40), 5))
    again = shuffled(np.arange(17), 4, seed=5)
    with ThreadPoolExecutor(4) as pool:
        for cursor, got in zip(order, pool.map(again.at, order), strict=True):
            np.testing.assert_array_equal(got, want[int(cursor)])
    assert batches.at(10**15).shape == (4,)


def test_a_batch_is_a_copy():
    array = np.arange(6.0)
    for batches in (shuffled(array, 6, seed=0), ordered(array, 6), contiguous(array, 1, 5)):
        for leaf in jax.tree.leaves(batches.at(0)):
            leaf[...] = 0
    assert array.tolist() == [0, 1, 2, 3, 4, 5]


@given(num_rows=st.integers(1, 30), batch_size=st.integers(1, 40))
def test_an_evaluation_sees_every_row_once_and_in_order(num_rows, batch_size):
    batches = ordered(data(num_rows), batch_size, axis=Labeled(1, 0))
    seen = epoch_of(batches, 0)
    weights = np.concatenate([batch.weights for batch in seen])
    rows = np.concatenate([batch.rows.labels for batch in seen])
    assert {batch.rows.xs.shape for batch in seen} == {(3, batch_size, 2)}
    assert weights.tolist() == [1.0] * num_rows + [0.0] * (len(weights) - num_rows)
    assert rows[weights == 1].tolist() == list(range(num_rows))
    assert (rows[weights == 0] == num_rows - 1).all()
    assert batches.padding == pytest.approx(np.mean(weights == 0))
    assert len(weights) - num_rows < batch_size
    assert_equal(batches.at(batches.per_epoch), batches.at(0))


def test_shares_of_processes_make_the_whole():
    for num_rows, rest in [(13, "drop"), (16, "keep"), (12, "keep")]:
        assert_shares_make_the_whole(
            lambda num_rows=num_rows, rest=rest, **of: shuffled(
                data(num_rows), 8, seed=1, axis=Labeled(1, 0), rest=rest, **of
            ),
            range(7),
        )
    assert_shares_make_the_whole(
        lambda **of: ordered(data(13), 8, axis=Labeled(1, 0), **of), range(4)
    )
    assert_shares_make_the_whole(
        lambda **of: contiguous(np.arange(67), 8, 3, rest="keep", **of), range(7)
    )


@given(
    num_steps=st.integers(2, 60),
    batch_size=st.integers(1, 8),
    length=st.integers(1, 12),
    rest=st.sampled_from(["drop", "keep"]),
)
def test_streams_are_contiguous(num_steps, batch_size, length, rest):
    series = 100 + np.arange(num_steps)
    steps = (num_steps - 1) // batch_size
    if not steps or (rest == "drop" and length > steps):
        with pytest.raises(ValueError, match=r"got \d+, expected at most the \d+ steps"):
            contiguous(series, batch_size, length, rest=rest)
        return
    batches = contiguous(series, batch_size, length, rest=rest)
    seen = epoch_of(batches, 2)
    assert [bool(piece.begins.all()) for piece in seen] == [True] + [False] * (len(seen) - 1)
    assert not any(piece.begins.any() for piece in seen[1:])
    whole = np.concatenate([piece.inputs for piece in seen])
    kept = steps if rest == "keep" else steps - steps % length
    assert {len(piece.inputs) for piece in seen[:-1]} <= {length}
    for stream in range(batch_size):  # each goes on in the next batch where it ended
        want = series[stream * steps : stream * steps + kept]
        np.testing.assert_array_equal(whole[:, stream], want)
    np.testing.assert_array_equal(np.concatenate([piece.targets for piece in seen]), whole + 1)
    assert batches.per_epoch == -(-kept // length)


def test_streams_of_features():
    series = np.arange(22.0).reshape(11, 2)
    piece = contiguous(series, 2, 5).at(0)
    assert piece.inputs.shape == piece.targets.shape == (5, 2, 2)
    np.testing.assert_array_equal(piece.inputs[:, 1], series[5:10])
    np.testing.assert_array_equal(piece.targets[:, 1], series[6:11])


ONE = np.zeros((4, 3))
WRONG = [
    (lambda: shuffled(ONE, 0, seed=0), "batch_size: got 0, expected a whole number at least 1"),
    (lambda: shuffled(ONE, 2.0, seed=0), "batch_size: got 2.0, expected a whole number at least"),
    (lambda: shuffled(ONE, 5, seed=0), "batch_size: got 5, expected at most the 4 rows"),
    (
        lambda: shuffled(ONE, 3, seed=0, num_processes=2),
        "batch_size: got 3, expected a multiple of the 2 processes",
    ),
    (
        lambda: shuffled(ONE, 3, seed=0, num_processes=3, rest="keep"),
        "rest: got keep with 1 rows left over, expected a multiple of the 3 processes, or drop",
    ),
    (
        lambda: shuffled(ONE, 4, seed=0, process=2, num_processes=2),
        "process: got 2, expected a whole number from 0 to 1",
    ),
    (lambda: ordered(ONE, 4, num_processes=0), "num_processes: got 0, expected a whole number at"),
    (lambda: shuffled(ONE, 2, seed=-1), "seed: got -1, expected a whole number from 0 to 18446744"),
    (lambda: shuffled(ONE, 2, seed=0, rest="pad"), "rest: got 'pad', expected one of drop, keep"),
    (lambda: shuffled(ONE, 2, seed=0).at(-1), "cursor: got -1, expected a whole number at least 0"),
    (lambda: shuffled(ONE, 2, seed=0).at(0.5), "cursor: got 0.5, expected a whole number at least"),
    (lambda: ordered(ONE, 2).at(-1), "cursor: got -1, expected a whole number at least 0"),
    (lambda: contiguous(ONE, 1, 1).at(-1), "cursor: got -1, expected a whole number at least 0"),
    (lambda: shuffled({}, 2, seed=0), "arrays: got no rows, expected at least one"),
    (lambda: ordered(np.zeros((0, 3)), 2), "arrays: got no rows, expected at least one"),
    (
        lambda: ordered({"x": ONE, "y": np.zeros(5)}, 2),
        "arrays['y']: got 5 rows, expected the 4 of arrays['x']",
    ),
    (lambda: ordered([[1, 2], [3]], 2), "arrays[0][0]: got shape (), expected rows along axis 0"),
    (lambda: ordered(ONE, 2, axis=2), "arrays: got shape (4, 3), expected rows along axis 2"),
    (lambda: ordered(ONE, 2, axis=-1), "axis: got -1, expected a whole number at least 0"),
    (
        lambda: ordered((ONE, ONE), 2, axis=(0, 0, 1)),
        "axis: got (0, 0, 1), expected a number, or numbers in the structure of the arrays",
    ),
    (lambda: contiguous(np.zeros(1), 1, 1), "series: got shape (1,), expected (N, ...) with N at"),
    (lambda: contiguous(3, 1, 1), "series: got shape (), expected (N, ...) with N at least 2"),
    (lambda: contiguous(ONE, 1, 0), "length: got 0, expected a whole number at least 1"),
    (lambda: contiguous(ONE, 1, 4), "length: got 4, expected at most the 3 steps of a stream"),
    (lambda: contiguous(ONE, 4, 1), "batch_size: got 4, expected at most the 3 steps of the ser"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message for _, message in WRONG])
def test_mistakes_get_one_line(make, message):
    with pytest.raises(ValueError, match=r".*") as caught:
        make()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
