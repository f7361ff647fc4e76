"""Images in fixed splits that share none, and augmentation that only moves."""

import gzip
import hashlib

import jax
import numpy as np
import pytest

from seqmodels.datasets import digit_images, fetching
from seqmodels.datasets.digit_images import Images, parse, random_shift, split


def csv(rows):
    return "\n".join(",".join(map(str, row)) for row in rows).encode()


def test_digits():
    splits = digit_images.load("digits")
    assert {name: one.images.shape for name, one in splits.items()} == {
        "train": (1257, 8, 8, 1),
        "validation": (180, 8, 8, 1),
        "test": (360, 8, 8, 1),
    }
    for images, labels in splits.values():
        assert (images.dtype, labels.dtype) == (np.float32, np.int32)
        assert (images.min(), images.max()) == (0, 1)


def test_mnist_from_a_made_up_table(monkeypatch, tmp_path):
    random = np.random.default_rng(0)
    rows = [[*random.integers(0, 256, 784), number % 10] for number in range(1500)]
    content = gzip.compress(csv(rows))
    (tmp_path / "mnist.csv.gz").write_bytes(content)
    monkeypatch.setattr(fetching, "fetch", lambda *_, **__: tmp_path / "mnist.csv.gz")
    splits = digit_images.load("mnist")
    assert {name: len(one.labels) for name, one in splits.items()} == {
        "train": 100,
        "validation": 400,
        "test": 1000,
    }
    for _, labels in splits.values():
        assert (np.bincount(labels) == len(labels) // 10).all()
    seen = {
        hashlib.sha256(image.tobytes()).digest() for one in splits.values() for image in one.images
    }
    assert len(seen) == 1500
    again = digit_images.load("mnist")
    for name in splits:
        np.testing.assert_array_equal(splits[name].images, again[name].images)


def test_parse():
    row = list(range(0, 256, 2)) + [0] * 655 + [255, 7]
    images, labels = parse(csv([row, row]))
    assert images.shape == (2, 28, 28, 1)
    assert labels.tolist() == [7, 7]
    np.testing.assert_allclose(images[1, 0, :3, 0], [0, 2 / 255, 4 / 255], rtol=1e-6)
    assert images[0, 27, 27, 0] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"1,2,3", "got 3 columns, expected 785"),
        (b"a,b", "is no table of numbers"),
        ("é".encode(), "is no table of numbers"),
        (csv([[0] * 784 + [10]]), "classes from 0 to 9"),
        (csv([[256] + [0] * 784]), "pixels from 0 to 255"),
    ],
)
def test_parse_mistakes(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_the_order_of_the_rows_is_the_only_thing_a_split_changes():
    labels = np.arange(60, dtype=np.int32) % 3
    images = np.arange(60, dtype=np.float32).reshape(60, 1, 1, 1)
    splits = split(Images(images, labels), num_test=15, num_validation=9)
    found = np.concatenate([one.images.ravel() for one in splits.values()])
    np.testing.assert_array_equal(np.sort(found), np.arange(60))
    for one in splits.values():
        np.testing.assert_array_equal(one.labels, one.images.ravel() % 3)
        assert len(set(np.bincount(one.labels))) == 1


def test_shifts():
    image = np.arange(1, 13, dtype=np.float32).reshape(3, 4, 1)
    images = np.stack([image] * 400)
    moved = np.asarray(random_shift(jax.random.key(0), images, 1))
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    want = {(y, x): padded[y : y + 3, x : x + 4] for y in range(3) for x in range(3)}
    counts = dict.fromkeys(want, 0)
    for one in moved:
        (found,) = [step for step, array in want.items() if np.array_equal(array, one)]
        counts[found] += 1
    assert min(counts.values()) > 20
    np.testing.assert_array_equal(random_shift(jax.random.key(0), images, 0), images)


def test_mistakes():
    with pytest.raises(ValueError, match="data: got 'cifar', expected one of digits, mnist"):
        digit_images.load("cifar")
