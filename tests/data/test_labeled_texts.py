"""Splits keep near-duplicates together and classes in proportion; a CSV is read or refused."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from seqmodels.data import labeled_texts as lt


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("I love it!", "i LOVE it..."),
        ("I love it http://t.co/x", "@you I love it"),
        ("won 3 to 1", "Won 4-to-0"),
        ("\uff57ide", "wide"),
    ],
)
def test_near_duplicates_have_one_form(one, other):
    assert lt.normalized_text(one) == lt.normalized_text(other)


@pytest.mark.parametrize(
    ("one", "other"), [("love", "hate"), (":-)", ":-("), ("😍", "😡"), ("שלום", "עולם")]
)
def test_others_do_not(one, other):
    assert lt.normalized_text(one) != lt.normalized_text(other)


def letters(number):
    """A word for a number; digits would all be one form."""
    return "".join(chr(97 + int(digit)) for digit in str(number))


@hypothesis.given(st.lists(st.integers(0, 59), min_size=60, max_size=300), st.integers(0, 5))
@hypothesis.settings(deadline=None, max_examples=40)
def test_a_split_is_a_partition_that_no_near_duplicate_crosses(words, seed):
    words = [*range(60), *words]
    texts = [letters(n) + "!" * (row % 3) for row, n in enumerate(words)]
    labels = np.array([n % 3 for n in words])
    found = lt.split(texts, labels, seed=seed)
    assert list(found) == ["train", "validation", "test"]
    np.testing.assert_array_equal(np.sort(np.concatenate(list(found.values()))), range(len(texts)))
    forms = [{lt.normalized_text(texts[row]) for row in rows} for rows in found.values()]
    assert sum(map(len, forms)) == len(set.union(*forms))


def test_a_split_is_stratified_and_always_the_same():
    texts = [f"text {letters(n)}" for n in range(1000)]
    labels = np.array([0] * 700 + [1] * 200 + [2] * 100)
    found = lt.split(texts, labels)
    counts = {name: np.bincount(labels[rows]).tolist() for name, rows in found.items()}
    assert counts == {"train": [490, 140, 70], "validation": [70, 20, 10], "test": [140, 40, 20]}
    assert found["test"][:5].tolist() == lt.split(texts, labels)["test"][:5].tolist()
    assert found["test"].tolist() != lt.split(texts, labels, seed=1)["test"].tolist()


def test_a_class_of_few_texts_is_refused():
    texts = [f"a{chr(97 + n)}" for n in range(20)] + ["b!", "b", "B?"] * 10
    with pytest.raises(ValueError, match="got class 1 with 1 different texts, expected at least"):
        lt.split(texts, np.array([0] * 20 + [1] * 30))


def write(tmp_path, text, name="own.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def test_a_csv_of_ones_own(tmp_path):
    text = 'say,mood\n"so, so",bad\n"two\nlines 😍",good\n\u05e9\u05dc,bad\n'
    data = lt.read_csv(write(tmp_path, text, encoding="utf-8-sig"), "say", "mood")
    assert data.texts == ["so, so", "two\nlines 😍", "\u05e9\u05dc"]
    assert (data.classes, data.labels.tolist()) == (("bad", "good"), [0, 1, 0])
    assert data.ratings is None
    assert data.rows(np.array([1])).texts == ["two\nlines 😍"]
    tabs = lt.read_csv(write(tmp_path, "a\tb\nx, y\t1\nz\t2.5\n", "t.tsv"), "a", "b", rating=True)
    assert tabs.texts == ["x, y", "z"]
    assert tabs.ratings.tolist() == [1, 2.5]
    assert tabs.rows(np.array([1])).ratings.tolist() == [2.5]


@pytest.mark.parametrize(
    ("text", "rating", "message"),
    [
        ("say,mood\na,b\n", False, "got one class in .*'b', expected two or more"),
        ("say,mood\n", False, "without rows"),
        ("", False, "csv: got .*, which is empty"),
        ("say,label\na,b\n", False, "label_column: got 'mood', expected .*: say, label"),
        ("say,mood\na,1\nb\n", False, "line 3: got no mood"),
        ("say,mood\na,1\nb, \n", False, "line 3: got no mood"),
        ("say,mood\na,1\nb,good\n", True, "line 3: mood: got 'good', expected a number"),
        ("say,mood\na,1\nb,nan\n", True, "line 3: mood: got 'nan', expected a number"),
    ],
)
def test_a_csv_that_cannot_be_used(text, rating, message, tmp_path):
    with pytest.raises(ValueError, match=message) as raised:
        lt.read_csv(write(tmp_path, text), "say", "mood", rating=rating)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "x").write_bytes(b"say,mood\na,\xff\xfe\n")
    with pytest.raises(ValueError, match="x is not UTF-8 text: byte 0xff at position 11, line 2"):
        lt.read_csv(tmp_path / "x", "say", "mood")
