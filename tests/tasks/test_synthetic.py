"""The long-lag problems are what the papers define, and chance is what is claimed."""

import jax
import numpy as np
import pytest

from seqmodels.tasks.adding import adding
from seqmodels.tasks.copy import copy
from seqmodels.tasks.task import accuracy
from seqmodels.tasks.temporal_order import temporal_order


def draw(task, size=4000, split="train", seed=0):
    batch = task.sample(jax.random.key(seed), size, split)
    return np.asarray(batch.inputs), np.asarray(batch.targets)


@pytest.mark.parametrize("distance", [2, 3, 50])
def test_adding(distance):
    task = adding(distance)
    inputs, targets = draw(task)
    values, marks = inputs[..., 0], inputs[..., 1]
    assert inputs.shape == (distance, 4000, task.input_size)
    assert values.min() >= 0
    assert values.max() < 1
    half = distance // 2
    np.testing.assert_array_equal(marks[:half].sum(0), 1)
    np.testing.assert_array_equal(marks[half:].sum(0), 1)
    assert marks[: task.far_step + 1].sum(0).min() == 1  # every first mark has been read by then
    np.testing.assert_allclose(targets[0, :, 0], (values * marks).sum(0), rtol=1e-6)
    one = np.ones_like(targets)
    assert np.mean((targets - one) ** 2) == pytest.approx(task.chance_loss, rel=0.1)
    assert float(accuracy(task, one, targets)) == pytest.approx(task.chance, abs=0.02)


@pytest.mark.parametrize("distance", [1, 30])
def test_copy(distance):
    task = copy(distance)
    inputs, targets = draw(task, 500)
    assert inputs.shape == targets.shape == (distance + 20, 500)
    symbols = inputs[:10]
    assert set(np.unique(symbols)) == set(range(1, 9))
    assert not inputs[10 : 9 + distance].any()
    np.testing.assert_array_equal(inputs[9 + distance], 9)
    assert not inputs[10 + distance :].any()
    assert not targets[:-10].any()
    np.testing.assert_array_equal(targets[-10:], symbols)
    # Without memory: certain of the blanks, one of eight for each symbol.
    loss = 10 * np.log(8) / (distance + 20)
    assert task.chance_loss == pytest.approx(loss)
    assert copy(100).chance_loss == pytest.approx(0.173, abs=5e-4)  # as published
    outputs = np.zeros((*targets.shape, 9))
    outputs[..., 3] = 1
    assert float(accuracy(task, outputs, targets)) == pytest.approx(task.chance, abs=0.02)


@pytest.mark.parametrize("distance", [10, 100])
def test_temporal_order(distance):
    task = temporal_order(distance)
    inputs, targets = draw(task, 3000)
    tenth = distance // 10
    lengths, firsts, seconds = set(), set(), set()
    for row, target in zip(inputs.T, targets[0], strict=True):
        assert np.isin(row[: task.far_step + 1], [6, 7]).any()
        row = row[row != 8]
        assert row[0] == 4
        assert row[-1] == 5
        relevant = np.flatnonzero((row == 6) | (row == 7))
        assert len(relevant) == 2
        assert target == 2 * (row[relevant[0]] == 7) + (row[relevant[1]] == 7)
        rest = np.delete(row, [0, len(row) - 1, *relevant])
        assert rest.max(initial=0) <= 3
        lengths.add(len(row))
        firsts.add(relevant[0])
        seconds.add(relevant[1])
    assert (min(lengths), max(lengths)) == (distance, distance + tenth)
    assert (min(firsts), max(firsts)) == (tenth, 2 * tenth)
    assert (min(seconds), max(seconds)) == (5 * tenth, 6 * tenth)
    assert np.bincount(targets[0]) / 3000 == pytest.approx([task.chance] * 4, abs=0.03)


@pytest.mark.parametrize(("make", "least"), [(adding, 2), (copy, 1), (temporal_order, 10)])
def test_too_short(make, least):
    with pytest.raises(ValueError, match=rf"distance: got {least - 1}, expected at least {least}"):
        make(least - 1)


@pytest.mark.parametrize("make", [adding, copy, temporal_order])
def test_a_key_decides(make):
    task = make(20)
    np.testing.assert_array_equal(draw(task, 5)[0], draw(task, 5)[0])
    assert not np.array_equal(draw(task, 5)[0], draw(task, 5, seed=1)[0])
