"""N-grams against counting in plain Python."""

import collections
import math

import numpy as np
import pytest

from seqmodels.models.ngrams import bits_by_order


def by_counting(train, text, vocabulary_size, orders):
    """The recursion itself, one token at a time."""
    follows = collections.defaultdict(collections.Counter)
    for order in range(1, orders + 1):
        for n in range(len(train) - order + 1):
            follows[tuple(train[n : n + order - 1])][train[n + order - 1]] += 1

    def p(context, token, length):
        if length < 0:
            return 1 / vocabulary_size
        shorter = p(context, token, length - 1)
        if length > len(context):
            return shorter
        seen = follows.get(tuple(context[len(context) - length :]))
        if not seen:
            return shorter
        return (seen[token] + len(seen) * shorter) / (sum(seen.values()) + len(seen))

    return [
        -sum(math.log2(p(text[:n], text[n], order - 1)) for n in range(len(text))) / len(text)
        for order in range(orders + 1)
    ]


def test_by_hand():
    # n(a) = 2, n(b) = 1 of 3 tokens, two kinds: p(a) = (2 + 2 / 4) / 5 = 1 / 2.
    uniform, unigrams = bits_by_order(np.array([0, 0, 1]), np.array([0]), 4, 1)
    assert uniform == 2
    assert unigrams == pytest.approx(1)


@pytest.mark.parametrize("sizes", [(60, 20), (1, 5), (5, 1), (3, 2)])
def test_against_counting(sizes):
    rng = np.random.default_rng(0)
    train, text = (rng.integers(0, 3, size) for size in sizes)
    got = bits_by_order(train, text, 5, 4)
    np.testing.assert_allclose(got, by_counting(train.tolist(), text.tolist(), 5, 4), rtol=1e-12)


def test_probabilities_add_up_to_one():
    train = np.random.default_rng(1).integers(0, 3, 40)
    text = np.array([0, 1, 2, 0])
    before = len(text) * bits_by_order(train, text, 3, 3)[3]
    total = sum(
        2 ** (before - 5 * bits_by_order(train, np.append(text, token), 3, 3)[3])
        for token in range(3)
    )
    assert total == pytest.approx(1)


def test_what_will_not_do():
    one = np.array([0])
    with pytest.raises(ValueError, match=r"train: got .*, expected .*"):
        bits_by_order(np.array([], int), one, 5, 2)
    with pytest.raises(ValueError, match=r"text: got .*, expected .*"):
        bits_by_order(one, np.array([5]), 5, 2)
    with pytest.raises(ValueError, match="orders: got 40, expected n-grams that 63 bits"):
        bits_by_order(one, one, 5, 40)
