"""Real digits, pixel by pixel, in splits that share no image."""

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

from seqmodels.tasks.digits import digits, load_splits


def test_splits_are_all_images_once():
    splits = load_splits()
    assert {name: len(labels) for name, (_, labels) in splits.items()} == {
        "train": 1257,
        "validation": 180,
        "test": 360,
    }
    images = np.concatenate([images for images, _ in splits.values()])
    want = load_digits().data / 16
    np.testing.assert_allclose(
        images[np.lexsort(images.T)], want[np.lexsort(want.T)].astype(np.float32)
    )
    for _, labels in splits.values():
        assert np.bincount(labels).min() > 0.08 * len(labels)


@pytest.mark.parametrize("distance", [0, 5])
def test_layout(distance):
    task = digits(distance)
    batch = task.sample(jax.random.key(0), 360, "test")
    inputs = np.asarray(batch.inputs)
    assert inputs.shape == (task.num_steps, 360, 2) == (65 + distance, 360, 2)
    images, labels = load_splits()["test"]
    np.testing.assert_array_equal(inputs[:64, :, 0].T, images)  # each test image once
    np.testing.assert_array_equal(batch.targets[0], labels)
    noise = inputs[64:-1, :, 0]
    assert noise.size == 0 or len(np.unique(noise)) > 0.9 * noise.size
    assert not inputs[:-1, :, 1].any()
    np.testing.assert_array_equal(inputs[-1], [[0, 1]] * 360)
    assert task.far_step == 63
    assert [task.limited("test", n) for n in (100, 1024)] == [100, 360]
    assert task.limited("validation", 256) == 180


def test_training_batches_are_drawn_from_the_training_images():
    images, labels = load_splits()["train"]
    rows = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    batch = digits(0).sample(jax.random.key(0), 200, "train")
    pixels = np.asarray(batch.inputs)[:64, :, 0].T
    for row, label in zip(pixels, np.asarray(batch.targets)[0], strict=True):
        assert rows[np.ascontiguousarray(row).tobytes()] == label
    assert len({row.tobytes() for row in pixels}) > 150
