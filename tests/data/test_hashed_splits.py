"""A row's part depends on the row and the seed: not on its place, nor on rows that come and go."""

import collections
import random

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from PIL import Image

from experiments.captioning import data as pictures
from seqmodels.data import phrase_splits
from seqmodels.data.hashed_splits import TRAIN, assign, place, split_texts
from seqmodels.data.labeled_texts import normalized_text
from seqmodels.data.sentence_pairs import Pair

SHARES = {"test": 0.2, "validation": 0.1}
WORDS = [f"{a}{b}" for a in "abcdefghijklmnopqrst" for b in "uvwxyz"]


def parts_of(texts, labels, seed=0):
    rows = split_texts(texts, np.array(labels), seed)
    found = collections.defaultdict(set)
    for name, numbers in rows.items():
        for row in numbers:
            found[normalized_text(texts[row])].add(name)
    assert sorted(np.concatenate(list(rows.values()))) == list(range(len(texts)))
    assert all(len(names) == 1 for names in found.values())  # copies are in one part
    return {text: names.pop() for text, names in found.items()}


def test_places_are_those_of_a_hash():
    # echo -n "3 a" | sha256sum
    assert place("a", 3) == int("51b2e9fb199927a0", 16) / 16**16
    found = [place(f"row {n}", 0) for n in range(2000)]
    assert 0 <= min(found) < max(found) < 1
    counts = np.histogram(found, 10, (0, 1))[0]
    assert counts.min() > 140
    assert place("row 1", 1) != place("row 1", 0)


@hypothesis.given(st.permutations(range(90)), st.integers(0, 60), st.integers(0, 3))
@hypothesis.settings(deadline=None, max_examples=30)
def test_an_edited_file_moves_no_row(order, removed, seed):
    texts = [f"{word} is a word" for word in WORDS[:90]]
    labels = [n % 2 for n in range(90)]
    before = parts_of(texts, labels, seed)
    shuffled = parts_of([texts[n].upper() for n in order], [labels[n] for n in order], seed)
    assert shuffled == before
    # Enough of each class is left for every part by the places alone.
    kept = [n for n in range(90) if n not in order[:removed] or before[texts[n]] != TRAIN]
    hypothesis.assume(min(np.bincount([labels[n] for n in kept])) >= 10)
    fewer = parts_of([texts[n] for n in kept], [labels[n] for n in kept], seed)
    moved = {text for text, name in fewer.items() if name != before[text]}
    assert all(fewer[text] != "test" or before[text] != TRAIN for text in moved)


@hypothesis.given(st.sets(st.integers(0, 10**6), min_size=10, max_size=60), st.integers(0, 10**6))
@hypothesis.settings(deadline=None, derandomize=True)
def test_a_row_that_is_added_moves_no_training_row(keys, new):
    """From 10 rows on, the least of a class; of 4 rows all but one may lie below the shares."""
    before = assign(list(map(str, keys)), SHARES, 0)
    after = assign([*map(str, keys), str(new)], SHARES, 0)
    assert set(before.values()) == {TRAIN, "validation", "test"}
    for key, name in before.items():
        if name == TRAIN:
            assert after[key] == TRAIN


def test_every_class_is_in_every_part():
    texts = [f"{word} good" for word in WORDS[:10]] + [f"{word} bad" for word in WORDS]
    labels = np.array([0] * 10 + [1] * len(WORDS))
    for seed in range(20):
        rows = split_texts(texts, labels, seed)
        assert all(set(labels[part]) == {0, 1} for part in rows.values())
    with pytest.raises(ValueError, match="class 0 with 1 different texts, expected at least 10"):
        split_texts(["same!", "Same", *texts[10:]], np.array([0, 0, *labels[10:]]), 0)


def test_copies_with_different_labels_are_in_one_part_in_any_order():
    texts = [f"{word} text" for word in WORDS]
    labels = [n % 2 for n in range(len(texts))]
    for more in ([("AU text!", 0)], [("AU text!", 1)]):
        rows = [*zip(texts, labels, strict=True), *more]
        forward = parts_of(*zip(*rows, strict=True))
        assert parts_of(*zip(*rows[::-1], strict=True)) == forward


def sentences(number):
    rng = random.Random(0)
    return [Pair(" ".join(rng.sample(WORDS, 4)), str(n)) for n in range(number)]


def roles(pairs, **shares):
    found = phrase_splits.split_by_row(pairs, **shares)
    return {pair.source: name for name, part in found._asdict().items() for pair in part}


def test_pairs_are_split_by_row_and_nothing_near_is_trained_on():
    shares = {"validation": 0.1, "components": 0.1, "sources": 0.1}
    pairs = sentences(300)
    near = [Pair(" ".join([*pair.source.split()[:3], "new"]), "x") for pair in pairs[:100]]
    before = roles(pairs, **shares)
    after = roles([*near, *reversed(pairs)], **shares)
    for source, name in after.items():
        assert name == before.get(source, name)
    assert all(before[source] == "train" for source in before.keys() - after.keys())
    held = [source for source, name in after.items() if name in ("validation", "components")]
    trained = [source for source, name in after.items() if name == "train"]
    _, cosines = phrase_splits.nearest(trained + held, held)
    assert np.allclose(cosines, 1)  # itself
    for one in held:
        for other in trained:
            differ = sum(a != b for a, b in zip(one.split(), other.split(), strict=True))
            assert differ != 1
    assert len({after.get(pair.source) for pair in pairs[:100]} - {None}) == 4
    with pytest.raises(ValueError, match="split: got 3 pairs of different sources"):
        phrase_splits.split_by_row(pairs[:3], **shares)


def test_pictures_are_split_by_content(tmp_path):
    rows = []
    for number in range(30):
        Image.new("RGB", (4, 4), (8 * number, 0, 0)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,number {number}")

    def parts(rows):
        (tmp_path / "c.csv").write_text("\n".join(["file,caption", *rows]))
        found = pictures.folder(str(tmp_path), str(tmp_path / "c.csv"))
        names = {"train": found.train, "validation": found.validation, **found.tests}
        return {caption: name for name, part in names.items() for caption in part.captions}

    before = parts(rows)
    assert set(before.values()) == {"train", "validation", "unseen"}
    assert parts(rows[::-1]) == before
    for number in range(30):  # copies under other names, with captions of their own
        (tmp_path / f"copy {29 - number}.png").write_bytes(
            (tmp_path / f"{number}.png").read_bytes()
        )
        rows.append(f"copy {29 - number}.png,copy of number {number}")
    after = parts(rows)
    for number in range(30):
        assert after[f"copy of number {number}"] == after[f"number {number}"]
        assert after[f"number {number}"] == before[f"number {number}"]
