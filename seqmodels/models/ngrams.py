"""N-gram model of a text: the baseline of a recurrent one.

Let n(h, c) be the number of times that c followed the context h. n(h) is its sum over c, and d(h)
the number of different c after h. The probability backs off from each context to the one that is a
token shorter:

    p(c | h) = (n(h, c) + d(h) p(c | h')) / (n(h) + d(h)),    p(c | no context) from 1 / V

Witten, Bell 1991, "The zero-frequency problem", IEEE Transactions on Information Theory 37(4).
"""

import math

import numpy as np

from seqmodels.arrays import as_labels


def bits_by_order(
    train: np.ndarray, text: np.ndarray, vocabulary_size: int, orders: int
) -> list[float]:
    """Returns the mean of -log2 p(c | context) over a text, for n-grams of order 0 to `orders`.

    Args:
      train: int (N,), the tokens that are counted, N at least 1.
      text: int (M,), the tokens that are predicted, M at least 1. Those at the beginning have
        shorter contexts.
      vocabulary_size: V, above every token.
      orders: the longest n-gram: the token and orders - 1 before it.

    Returns:
      orders + 1 numbers: of order 0 (log2 V), 1 (unigrams), 2, ...

    Raises:
      ValueError: if a text is empty or has tokens out of range, or if the n-grams are too long.

    Examples:
      >>> text = np.tile([0, 1], 50)  # alternates, so that one token determines the next
      >>> [round(bits, 2) for bits in bits_by_order(text, text, vocabulary_size=2, orders=2)]
      [1.0, 1.0, 0.02]
    """
    train, text = as_labels("train", train), as_labels("text", text)
    for name, tokens in (("train", train), ("text", text)):
        if tokens.ndim != 1 or not len(tokens):
            raise ValueError(f"{name}: got shape {tokens.shape}, expected one or more tokens (N,)")
        if np.min(tokens) < 0 or np.max(tokens) >= vocabulary_size:
            raise ValueError(
                f"{name}: got tokens from {np.min(tokens)} to {np.max(tokens)}, expected 0 to "
                f"{vocabulary_size - 1}"
            )
    if orders < 0 or orders * math.log2(vocabulary_size) >= 63:
        raise ValueError(f"orders: got {orders}, expected n-grams that 63 bits can number")
    probability = np.full(len(text), 1 / vocabulary_size)
    bits = [math.log2(vocabulary_size)]
    for order in range(1, orders + 1):
        seen, counts = np.unique(_grams(train, order, vocabulary_size), return_counts=True)
        contexts, first = np.unique(seen // vocabulary_size, return_index=True)
        asked = _grams(text, order, vocabulary_size)
        if len(seen) and len(asked):
            together = _at(seen, counts, asked)
            totals = _at(contexts, np.add.reduceat(counts, first), asked // vocabulary_size)
            kinds = np.diff(np.append(first, len(seen)))
            different = _at(contexts, kinds, asked // vocabulary_size)
            shorter = probability[order - 1 :]
            mixed = (together + different * shorter) / np.maximum(totals + different, 1)
            probability[order - 1 :] = np.where(totals > 0, mixed, shorter)
        bits.append(float(-np.mean(np.log2(probability))))
    return bits


def _grams(tokens: np.ndarray, order: int, vocabulary_size: int) -> np.ndarray:
    """Returns a number for each n-gram, (N - order + 1,); its quotient by V is its context."""
    count = max(len(tokens) - order + 1, 0)
    grams = np.zeros(count, np.int64)
    for offset in range(order):
        grams = grams * vocabulary_size + tokens[offset : offset + count]
    return grams


def _at(keys: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Returns the values of the keys `asked`, 0 for a key that is missing; `keys` ascend."""
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[place] == asked, values[place], 0)
