"""Vectors of words: against a dense loop, and words of the same use are near each other."""

import numpy as np
import pytest

from seqmodels.data.word_vectors import ppmi_vectors


def by_loops(rows, num_words, size, window):
    counts = np.zeros((num_words, num_words))
    for row in rows:
        for here, word in enumerate(row):
            for there, other in enumerate(row):
                if 0 < abs(here - there) <= window and word > 1 and other > 1:
                    counts[word, other] += 1 / abs(here - there)
    totals = counts.sum(axis=1)
    contexts = totals**0.75
    matrix = np.zeros_like(counts)
    for word, other in zip(*counts.nonzero(), strict=True):
        chance = totals[word] * contexts[other] / contexts.sum()
        matrix[word, other] = max(np.log(counts[word, other] / chance), 0)
    left, values, _ = np.linalg.svd(matrix)
    vectors = left[:, :size] * np.sqrt(values[:size])
    there = matrix.any(axis=1)
    vectors = vectors - vectors[there].mean(axis=0)
    vectors *= np.sqrt(size) / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(there[:, None], vectors, 0)


def test_against_loops():
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 9, length) for length in (30, 0, 1, 25, 40)]
    got = ppmi_vectors(rows, 10, 3, window=2)
    want = by_loops(rows, 10, 3, 2)
    # Singular vectors have no sign of their own; products of the words' vectors do.
    np.testing.assert_allclose(got @ got.T, want @ want.T, atol=1e-4)
    assert got.dtype == np.float32
    assert not got[[0, 1, 9]].any()
    np.testing.assert_allclose(np.linalg.norm(got[2:9], axis=1), np.sqrt(3), rtol=1e-5)
    np.testing.assert_array_equal(ppmi_vectors(rows, 10, 3, window=2), got)


def test_words_of_the_same_use_are_near():
    """2 and 3 stand between 4 and 5, 6 and 7 between 8 and 9."""
    rng = np.random.default_rng(1)
    rows = [
        np.array([4, 2 + rng.integers(2), 5] if n % 2 else [8, 6 + rng.integers(2), 9])
        for n in range(200)
    ]
    vectors = ppmi_vectors(rows, 12, 3)
    cosines = vectors @ vectors.T / 3
    assert cosines[2, 3] > 0.99
    assert cosines[6, 7] > 0.99
    assert cosines[2, 6] < 0.1


@pytest.mark.parametrize(
    ("rows", "size", "window", "line"),
    [
        ([np.array([2, 3])], 4, 5, "size: got 4 for 4 words, expected 1..3"),
        ([np.array([2, 3])], 0, 5, "size: got 0 for 4 words"),
        ([np.array([2, 3])], 2, 0, "window: got 0"),
        ([np.array([2]), np.array([1, 3])], 2, 5, "got no two neighboring words"),
        ([], 2, 5, "got no two neighboring words"),
    ],
)
def test_one_line(rows, size, window, line):
    with pytest.raises(ValueError, match=line):
        ppmi_vectors(rows, 4, size, window=window)


def test_words_that_stand_together_by_chance_alone():
    """Two words that only meet each other: n(w, c) Z = n(w) n(c)^.75 for none but them."""
    every_pair = [np.array([a, b]) for a in range(2, 6) for b in range(2, 6)]
    with pytest.raises(ValueError, match="rows: got no two words that stand together more often"):
        ppmi_vectors(every_pair, 6, 2, window=1)
    with pytest.raises(ValueError, match="rows: got <U2, expected integer labels"):
        ppmi_vectors(["ab"], 6, 2)
    with pytest.raises(ValueError, match="rows: got word 9, expected numbers below 6"):
        ppmi_vectors([np.array([2, 9])], 6, 2)
