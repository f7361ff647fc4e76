"""Splits of sentence pairs in which near-duplicates do not leak from training into the test.

Two sources are near-duplicates if the cosine of their TF-IDF word vectors is at least 0.6, or if
they differ in one word. Whole connected components of these links are held out. Further sources are
held out singly and are reported by similarity to the nearest training source.
"""

import collections
import hashlib
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from seqmodels.data import hashed_splits
from seqmodels.data.sentence_pairs import Pair
from seqmodels.texts import bare_words, caseless

NEAR = 0.6  # the smallest cosine of near-duplicates
LARGEST_COMPONENT = 0.01  # of all pairs; a component that is larger belongs to training
ROWS_AT_ONCE = 1024  # rows in one product of sparse matrices


class Splits(NamedTuple):
    """Pairs whose sources all differ, normalized.

    Attributes:
      train: pairs for training.
      validation: whole components, to select a model by.
      components: whole components, the primary test: nothing in training is near.
      sources: single sources, a test by distance from training.
    """

    train: list[Pair]
    validation: list[Pair]
    components: list[Pair]
    sources: list[Pair]


def normalized_text(text: str) -> str:
    """Returns the text in lower case, numbers as 0, without punctuation, spaces single.

    Combining marks stay, because they distinguish words.
    """
    return bare_words(re.sub(r"\d+", "0", caseless(text)))


def unique(pairs: Sequence[Pair]) -> list[Pair]:
    """Returns the first pair of every normalized source, leaving out empty ones."""
    first: dict[str, Pair] = {}
    for pair in pairs:
        first.setdefault(normalized_text(pair.source), pair)
    first.pop("", None)
    return list(first.values())


def split(
    pairs: Sequence[Pair], *, validation: float, components: float, sources: float, seed: int = 0
) -> Splits:
    """Returns the splits, the same for the same pairs in any order, on any machine.

    Components are held out in the order of a hash of their sources until the shares are reached.
    Then single remaining sources are held out, in the order of their hashes. Components of more
    than 1 % of all pairs are never held out whole.

    Args:
      pairs: pairs; of those with the same normalized source the first in alphabetical order is
        kept. For another choice, pass `unique(pairs)`.
      validation: the share of the pairs in the split of this name, in (0, 1).
      components: the share of the pairs in this split.
      sources: the share of the pairs in this split.
      seed: the seed of the hash, and so of the order.

    Returns:
      `Splits`.

    Raises:
      ValueError: if a split would be empty.
    """
    pairs = unique(sorted(pairs))
    texts = [normalized_text(pair.source) for pair in pairs]
    shares = {"validation": validation, "components": components, "sources": sources}
    sizes = {name: round(share * len(pairs)) for name, share in shares.items()}
    hashes = [hashlib.sha256(f"{seed} {text}".encode()).hexdigest() for text in texts]
    members: dict[int, list[int]] = collections.defaultdict(list)
    for number, label in enumerate(component_labels(texts) if texts else []):
        members[int(label)].append(number)
    held: dict[str, list[int]] = {name: [] for name in shares}
    left: list[int] = []
    groups = [sorted(group, key=hashes.__getitem__) for group in members.values()]
    for group in sorted(groups, key=lambda group: hashes[group[0]]):
        wanting = [name for name in ("validation", "components") if len(held[name]) < sizes[name]]
        small = len(group) <= max(LARGEST_COMPONENT * len(pairs), 1)
        (held[wanting[-1]] if wanting and small else left).extend(group)
    left.sort(key=hashes.__getitem__)
    held["sources"], train = left[: sizes["sources"]], left[sizes["sources"] :]
    chosen = {"train": train, **held}
    for name, numbers in chosen.items():
        if not numbers:
            raise ValueError(
                f"split: got {len(pairs)} pairs of different sources, expected enough for {name}"
            )
    return Splits(**{name: [pairs[n] for n in numbers] for name, numbers in chosen.items()})


def split_by_row(
    pairs: Sequence[Pair], *, validation: float, components: float, sources: float, seed: int = 0
) -> Splits:
    """Returns the splits of the user's pairs, in which each source is assigned independently.

    The part of a source depends only on the source and the seed. So added or removed rows never
    move a training source into a test. Near-duplicates of sources of validation and `components`
    are left out of training.

    Arguments and errors are those of `split`. Of pairs with the same normalized source the first in
    alphabetical order is kept.
    """
    pairs = unique(sorted(pairs))
    texts = [normalized_text(pair.source) for pair in pairs]
    shares = {"validation": validation, "components": components, "sources": sources}
    if len(texts) <= len(shares):
        raise ValueError(
            f"split: got {len(pairs)} pairs of different sources, expected enough for "
            f"{', '.join(shares)} and train"
        )
    parts = hashed_splits.assign(texts, shares, seed)
    held = np.array([parts[text] in ("validation", "components") for text in texts])
    row, column = _links(texts)
    near = np.zeros(len(texts), bool)
    for one, other in ((row, column), (column, row)):
        near[one[held[other]]] = True
    chosen: dict[str, list[Pair]] = {name: [] for name in (*shares, hashed_splits.TRAIN)}
    for number, (pair, text) in enumerate(zip(pairs, texts, strict=True)):
        if parts[text] != hashed_splits.TRAIN or not near[number]:
            chosen[parts[text]].append(pair)
    if not chosen[hashed_splits.TRAIN]:
        raise ValueError(
            f"split: got {len(pairs)} pairs of different sources, expected enough for train"
        )
    return Splits(**chosen)


def component_labels(texts: Sequence[str]) -> np.ndarray:
    """Returns for each text the number of its connected component of near-duplicates.

    Args:
      texts: N normalized texts with at least one word each.

    Returns:
      int (N,).
    """
    row, column = _links(texts)
    links = sparse.coo_matrix((np.ones(len(row)), (row, column)), shape=(len(texts),) * 2)
    return csgraph.connected_components(links, directed=False)[1]


def _links(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns which texts are near-duplicates, as pairs of numbers; each in one order or both."""
    vectors = _vectorizer().fit_transform(texts)
    rows, columns = [], []
    for start in range(0, len(texts), ROWS_AT_ONCE):
        cosines = (vectors[start : start + ROWS_AT_ONCE] @ vectors.T).tocoo()
        near = cosines.data >= NEAR
        rows.append(cosines.row[near] + start)
        columns.append(cosines.col[near])
    alike = _one_word_apart(texts)
    rows.append(alike[:, 0])
    columns.append(alike[:, 1])
    return np.concatenate(rows), np.concatenate(columns)


def nearest(train: Sequence[str], queries: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the nearest training source of each query.

    Args:
      train: N sources.
      queries: M sources.

    Returns:
      (numbers, cosines). numbers, int (M,): which source is nearest, the first of equals. cosines,
      float (M,): of the TF-IDF word vectors of the normalized texts, 0 where no word is known.
    """
    vectorizer = _vectorizer()
    known = vectorizer.fit_transform([normalized_text(text) for text in train])
    asked = vectorizer.transform([normalized_text(text) for text in queries])
    numbers, cosines = np.zeros(len(queries), int), np.zeros(len(queries))
    for start in range(0, len(queries), ROWS_AT_ONCE):
        rows = (asked[start : start + ROWS_AT_ONCE] @ known.T).toarray()
        best = np.argmax(rows, axis=1)
        numbers[start : start + len(rows)] = best
        cosines[start : start + len(rows)] = rows[np.arange(len(rows)), best]
    return numbers, cosines


def _vectorizer() -> Any:
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the splits need scikit-learn: pip install 'seqmodels[data]'"
        ) from error
    words: Callable[[str], list[str]] = str.split
    return TfidfVectorizer(tokenizer=words, token_pattern=None, lowercase=False)


def _one_word_apart(texts: Sequence[str]) -> np.ndarray:
    """Returns links (n, 2) among texts of two or more words that differ in one of them.

    The text before and after a word is represented by its hash, so that a long text takes linear
    time.
    """
    first: dict[tuple[int, ...], int] = {}
    links = []
    for number, text in enumerate(texts):
        words = text.split()
        before = list(itertools.accumulate(words, lambda seen, word: hash((seen, word)), initial=0))
        behind = list(
            itertools.accumulate(words[::-1], lambda seen, word: hash((seen, word)), initial=0)
        )
        for hole in range(len(words) if len(words) > 1 else 0):
            pattern = (len(words), hole, before[hole], behind[len(words) - 1 - hole])
            links.append((first.setdefault(pattern, number), number))
    return np.array(links, int).reshape(-1, 2)
