"""Splits of the user's rows: the part of a row depends only on the row and a seed.

A row is held out if its hash is small. So neither the order of a file nor added or removed rows
ever move another row from training into the test.
"""

import collections
import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from seqmodels.data.labeled_texts import LEAST_GROUPS, normalized_text

TRAIN = "train"
_SHARES = {"test": 0.2, "validation": 0.1}


def place(key: str, seed: int) -> float:
    """Returns a number in [0, 1) that depends on a text and a seed, the same on every machine."""
    digest = hashlib.sha256(f"{seed} {key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def assign(keys: Sequence[str], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Returns the part of every key: the first whose cumulative share exceeds its `place`.

    If a part would be empty, it gets the key with the next smallest place.

    Args:
      keys: at least as many different texts as there are parts, `TRAIN` included.
      shares: the shares of the parts that are held out, in the order of the places, smallest first.
      seed: the seed of the hash.

    Returns:
      The name of a part, of `shares` or `TRAIN`, by key.

    Raises:
      ValueError: if there are fewer keys than parts.
    """
    places = {key: place(key, seed) for key in keys}
    ordered = sorted(places, key=lambda key: (places[key], key))
    if len(ordered) <= len(shares):
        raise ValueError(f"split: got {len(ordered)} rows, expected at least {len(shares) + 1}")
    found: dict[str, str] = {}
    start, limit = 0, 0.0
    for number, (name, share) in enumerate(shares.items(), 1):
        limit += share
        below = sum(places[key] < limit for key in ordered)
        left = len(shares) - number + 1  # parts after this one, each with a key
        end = min(max(below, start + 1), len(ordered) - left)
        found |= dict.fromkeys(ordered[start:end], name)
        start = end
    return found | dict.fromkeys(ordered[start:], TRAIN)


def split_texts(
    texts: Sequence[str],
    labels: np.ndarray,
    seed: int = 0,
    *,
    describe: Callable[[int, int], str] | None = None,
) -> dict[str, np.ndarray]:
    """Returns a split of texts; texts with the same `normalized_text` are in one part.

    Every class has texts in all three parts. A fifth is the test, a tenth is for validation.

    Args:
      texts: N strings.
      labels: int (N,).
      seed: the seed of the hash.
      describe: `describe(label, row)` returns the name of a class for messages, given one of its
        rows; None for its number.

    Returns:
      For "train", "validation" and "test" ascending row numbers.

    Raises:
      ValueError: if a class has fewer than 10 different texts.
    """
    groups: dict[str, list[int]] = collections.defaultdict(list)
    for row, text in enumerate(texts):
        groups[normalized_text(text)].append(row)
    # Among equal texts with different labels the smallest label counts, not the first row.
    of_class: dict[int, list[str]] = {int(label): [] for label in np.unique(labels)}
    for form, rows in groups.items():
        of_class[min(int(labels[row]) for row in rows)].append(form)
    found: dict[str, list[int]] = {TRAIN: [], "validation": [], "test": []}
    for label, forms in of_class.items():
        if len(forms) < LEAST_GROUPS:
            row = min(row for form in forms for row in groups[form]) if forms else -1
            shown = str(label) if describe is None else describe(label, row)
            raise ValueError(
                f"labels: got class {shown} with {len(forms)} different texts, expected at least "
                f"{LEAST_GROUPS} of each class"
            )
        for form, name in assign(forms, _SHARES, seed).items():
            found[name].extend(groups[form])
    return {name: np.array(sorted(rows)) for name, rows in found.items()}
