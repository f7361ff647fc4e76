"""Batches of pairs: every pair once an epoch, its own tokens, few shapes."""

import batch_checks
import numpy as np
import pytest

from seqmodels.data.paired_buckets import paired_buckets


def made_up(number=101, seed=0):
    rng = np.random.default_rng(seed)
    sources = [rng.integers(4, 99, n) for n in rng.integers(0, 12, number)]
    targets = [rng.integers(4, 99, 1 + len(s) + n) for s, n in zip(sources, rng.integers(0, 9, number), strict=True)]  # fmt: skip # noqa: E501
    return sources, targets


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("epoch", [0, 5])
def test_every_pair_once_with_its_own_tokens(seed, epoch):
    sources, targets = made_up()
    batches = paired_buckets(sources, targets, batch_size=8, seed=seed)
    seen, real, steps = [], 0, 0
    for batch in batch_checks.epoch_of(batches, epoch):
        assert batch.sources.shape[1] == batch.targets.shape[1] == 8
        for column in range(8):
            source = batch.sources[: batch.source_lengths[column], column]
            target = batch.targets[: batch.target_lengths[column], column]
            assert not batch.sources[len(source) :, column].any()
            assert not batch.targets[len(target) :, column].any()
            if batch.weights[column]:
                seen.append(int(batch.rows[column]))
                np.testing.assert_array_equal(source, sources[seen[-1]])
                np.testing.assert_array_equal(target, targets[seen[-1]])
            else:
                assert len(source) == len(target) == 0
            real += len(source) + len(target)
        steps += batch.sources.size + batch.targets.size
    assert sorted(seen) == list(range(len(sources)))
    assert batches.padding == pytest.approx(1 - real / steps)


def test_few_shapes_the_same_in_every_epoch():
    sources, targets = made_up(400)
    batches = paired_buckets(
        sources, targets, batch_size=10, seed=1, source_boundaries=2, target_boundaries=3
    )
    shapes = [
        sorted((b.sources.shape, b.targets.shape) for b in batch_checks.epoch_of(batches, epoch))
        for epoch in range(4)
    ]
    assert all(each == shapes[0] for each in shapes)
    assert 3 <= len(set(shapes[0])) <= 6
    one = paired_buckets(
        sources, targets, batch_size=10, seed=1, source_boundaries=1, target_boundaries=1
    )
    assert batches.padding < 0.75 * one.padding


def test_orders_differ_by_epoch_and_seed_and_nothing_else():
    sources, targets = made_up(300)

    def rows(seed, epoch):
        batches = paired_buckets(sources, targets, batch_size=6, seed=seed)
        return [batch.rows.tolist() for batch in batch_checks.epoch_of(batches, epoch)]

    assert rows(0, 1) == rows(0, 1)
    together = [{frozenset(b) for b in rows(*which)} for which in ((0, 0), (0, 1), (1, 0))]
    for one, other in ((0, 1), (0, 2)):  # not the same pairs side by side each time
        assert len(together[one] & together[other]) < 5
    assert rows(None, 0) == rows(None, 7)


def test_shares_of_processes_make_the_whole():
    sources, targets = made_up()
    batch_checks.assert_shares_make_the_whole(
        lambda **kw: paired_buckets(sources, targets, batch_size=8, seed=2, **kw), [0, 5, 40]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": []}, "targets: got 101 for 0 sources"),
        ({"sources": [], "targets": []}, "targets: got 0 for 0 sources, expected one each"),
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"seed": -1}, "seed: got -1"),
        ({"source_boundaries": 0}, "source_boundaries: got 0"),
        ({"sources": [np.ones((2, 2), int)] * 101}, r"sources: got int64 \(2, 2\), expected whole"),
        ({"targets": [np.ones(2)] * 101}, r"targets: got float64 \(2,\), expected whole"),
    ],
)
def test_what_will_not_do(change, message):
    sources, targets = made_up()
    given = {"sources": sources, "targets": targets, "batch_size": 8, "seed": 0} | change
    with pytest.raises(ValueError, match=message):
        paired_buckets(given.pop("sources"), given.pop("targets"), **given)


def test_cursors_are_not_negative():
    with pytest.raises(ValueError, match="cursor: got -1"):
        paired_buckets(*made_up(), batch_size=8, seed=0).at(-1)
