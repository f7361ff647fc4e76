"""What is held out has no near-duplicate in training: against cosines and words counted by hand."""

import collections
import itertools
import math
import random

import numpy as np
import pytest

from seqmodels.data.phrase_splits import (
    NEAR,
    component_labels,
    nearest,
    normalized_text,
    split,
    unique,
)
from seqmodels.data.sentence_pairs import Pair

SHARES = {"validation": 0.1, "components": 0.1, "sources": 0.1}


def made_up(number=400):
    """Sentences of which some are alike: templates with a word filled in."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghij", k=4)) for _ in range(300)]
    texts = []
    while len(texts) < number:
        template = rng.choices(words, k=rng.randint(3, 6))
        for _ in range(rng.randint(1, 4)):
            texts.append(" ".join([*template[:-1], rng.choice(words)]))
    return [Pair(text, text.upper()) for text in texts[:number]]


def cosine_matrix(fitted, queries):
    """Cosines of TF-IDF vectors with smoothed idf, in plain Python."""
    documents = collections.Counter(word for text in fitted for word in set(text.split()))
    idf = {w: math.log((1 + len(fitted)) / (1 + n)) + 1 for w, n in documents.items()}

    def vector(text):
        counts = collections.Counter(word for word in text.split() if word in idf)
        weights = {w: n * idf[w] for w, n in counts.items()}
        norm = math.sqrt(sum(v * v for v in weights.values())) or 1.0
        return {w: v / norm for w, v in weights.items()}

    left, right = [vector(t) for t in queries], [vector(t) for t in fitted]
    return np.array([[sum(v * b.get(w, 0.0) for w, v in a.items()) for b in right] for a in left])


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("Turn OFF the light!", "turn off the light"),
        ("Zone 12, zone 7.", "zone 0 zone 0"),
        ("it's  a_b", "it s a b"),
        ("STRASSE straße", "strasse strasse"),
        ("...", ""),
        ("سلم", "سلم"),
    ],
)
def test_normalized(text, want):
    assert normalized_text(text) == want


def test_of_equal_sources_the_first_is_kept():
    pairs = [Pair("Zone 1", "a"), Pair("zone 22!", "b"), Pair("?", "c"), Pair("Zone", "d")]
    assert unique(pairs) == [Pair("Zone 1", "a"), Pair("Zone", "d")]


def test_components_by_hand():
    texts = [
        "a b c d", "a b c e",  # one word apart
        "a b c e e e",  # near the one before by its cosine
        "f g", "f h",  # one of two words
        "k", "l",  # single words are not alike
        "e c b a f",  # the same words in another order, and one more
    ]  # fmt: skip
    assert component_labels(texts).tolist() == [0, 0, 0, 1, 1, 2, 3, 0]


def test_nothing_held_out_as_a_component_is_near_to_training():
    pairs = made_up()
    splits = split(pairs, **SHARES)
    texts = {n: [normalized_text(p.source) for p in part] for n, part in splits._asdict().items()}
    everything = [text for part in texts.values() for text in part]
    assert sorted(everything) == sorted({normalized_text(p.source) for p in pairs})
    cosines = cosine_matrix(everything, everything)
    at = {text: n for n, text in enumerate(everything)}
    groups = {
        text: number
        for number, part in enumerate(
            (texts["validation"], texts["components"], texts["train"] + texts["sources"])
        )
        for text in part
    }
    for a, b in itertools.combinations(everything, 2):
        if groups[a] == groups[b]:
            continue
        assert cosines[at[a], at[b]] < NEAR
        x, y = a.split(), b.split()
        assert len(x) != len(y) or sum(p != q for p, q in zip(x, y, strict=True)) > 1
    for name in SHARES:
        assert 0.08 * len(everything) < len(texts[name]) < 0.14 * len(everything), name


def test_splits_do_not_depend_on_the_order():
    pairs = unique(made_up())
    shuffled = random.Random(1).sample(pairs, len(pairs))
    for one, other in zip(split(pairs, **SHARES), split(shuffled, **SHARES), strict=True):
        assert set(one) == set(other)


def test_too_few_pairs():
    with pytest.raises(ValueError, match="got 0 pairs of different sources, expected enough for"):
        split([], **SHARES)
    with pytest.raises(ValueError, match="got 1 pairs"):
        split([Pair("a b c", "x")], **SHARES)


def test_nearest_against_cosines_counted_by_hand():
    train = [normalized_text(pair.source) for pair in made_up(50)]
    queries = [normalized_text(pair.source) for pair in made_up(90)[50:]] + ["unheard of", ""]
    numbers, cosines = nearest(train, queries)
    want = cosine_matrix(train, queries)
    np.testing.assert_allclose(cosines, want.max(axis=1), atol=1e-6)
    np.testing.assert_allclose(want[np.arange(len(queries)), numbers], want.max(axis=1), atol=1e-6)
    assert cosines[-2:].tolist() == [0, 0]
