"""Windows of a text: what they hold, and the model of pairs that they are compared with."""

import jax
import numpy as np
import pytest

from seqmodels.tasks.characters import characters

SPLITS = {
    "train": np.arange(50) % 7,
    "validation": np.arange(20) % 5,
    "test": np.array([0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 2]),
}


def test_a_window_is_text_and_its_targets_are_the_next_characters():
    task = characters(SPLITS, 7, 4)
    assert (task.num_steps, task.num_targets, task.vocabulary_size) == (4, 4, 7)
    assert [task.limited(split, 100) for split in ("validation", "test")] == [5, 2]
    batch = jax.jit(task.sample, static_argnums=(1, 2))(jax.random.key(0), 64, "train")
    np.testing.assert_array_equal(batch.targets, (batch.inputs + 1) % 7)
    np.testing.assert_array_equal(batch.inputs[1:], batch.targets[:-1])
    assert len(np.unique(batch.inputs[0])) == 7
    first, last = np.asarray(task.sample(jax.random.key(0), 2, "test").inputs).T
    np.testing.assert_array_equal(first, SPLITS["test"][:4])
    np.testing.assert_array_equal(last, SPLITS["test"][-5:-1])


def test_the_model_without_memory_is_the_table_of_pairs():
    task = characters(SPLITS, 7, 4)
    assert task.chance == pytest.approx(0.9)  # of the ten pairs, all but the last follow the rule
    pairs = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 0), (0, 1), (1, 2), (2, 2)]
    counts = np.ones((7, 7))
    for a, b in zip(SPLITS["train"][:-1], SPLITS["train"][1:], strict=True):
        counts[a, b] += 1
    loss = -np.mean([np.log(counts[a, b] / counts[a].sum()) for a, b in pairs])
    assert task.chance_loss == pytest.approx(loss)


@pytest.mark.parametrize(
    ("length", "message"),
    [(1, "length: got 1"), (11, "test: got 11 characters, expected more than 11")],
)
def test_windows_that_do_not_fit_are_refused(length, message):
    with pytest.raises(ValueError, match=message):
        characters(SPLITS, 7, length)
