"""Words and their n-grams: what is known, what is not, and any text at all."""

import binascii

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from tokenizers import Tokenizer

from seqmodels.data import word_features as wf

TEXTS = ["I love it :-)", "don't love THIS film", "love it, 😍😍", "film http://t.co/a1 film"]


@pytest.fixture(scope="module")
def features():
    return wf.train(TEXTS, least_count=2, buckets=50, sizes=(3, 4))


def test_words(features):
    assert wf.words(features, "I don\u2019t LOVE it:-) ok_ay ﬁlm https://x.y/z!") == [
        "i", "don\u2019t", "love", "it", ":-)", "ok_ay", "film", "http",
    ]  # fmt: skip
    assert wf.words(features, "שלום עולם 😍") == ["שלום", "עולם", "😍"]


def test_known_words_are_those_seen_twice(features):
    known = features.tokenizer.get_vocab()
    assert set(known) == {"<pad>", "<unk>", "love", "it", "film"}
    assert (known["<pad>"], known["<unk>"]) == (0, 1)
    assert features.num_features == 5 + 50


def test_numbers_of_a_word_and_its_ngrams(features):
    # "<it>" has the n-grams "<it", "it>" and "<it>", by hand.
    (row,) = wf.encode(features, ["it"])
    assert row.shape == (1, wf.MOST_FEATURES)
    assert not row[0, 4:].any()
    row = row[:, :4]
    assert row[0, 0] == features.tokenizer.token_to_id("it")
    assert np.all((row[0, 1:] >= 5) & (row[0, 1:] < 55))
    (unknown,) = wf.encode(features, ["its"])
    assert unknown[0, 0] == 1
    assert row[0, 1] == unknown[0, 1]  # "<it" is in both


def test_words_alone():
    features = wf.train(TEXTS, buckets=0)
    (row,) = wf.encode(features, ["love nothing"])
    assert row.tolist() == [[features.tokenizer.token_to_id("love")], [1]]
    assert features.num_features == 5


@hypothesis.given(st.lists(st.text(max_size=60), max_size=4))
@hypothesis.settings(deadline=None, max_examples=60)
def test_any_text(texts):
    features = wf.train(TEXTS, buckets=50, sizes=(3, 4))
    rows = wf.encode(features, texts)
    assert len(rows) == len(texts)
    for text, row in zip(texts, rows, strict=True):
        assert row.dtype == np.int32
        assert len(row) == len(wf.words(features, text))
        assert row.shape[1] == wf.MOST_FEATURES
        assert np.all((row >= 0) & (row < features.num_features))
        assert np.all(row[:, 0] > 0)


def test_the_same_from_its_text(features):
    again = features._replace(tokenizer=Tokenizer.from_str(features.tokenizer.to_str()))
    for text in TEXTS:
        np.testing.assert_array_equal(*(wf.encode(each, [text])[0] for each in (features, again)))


def test_the_same_in_every_process(features):
    # Of crc32, whose values are fixed: what was trained in one process is read in another.
    (row,) = wf.encode(features, ["it"])
    assert row[0, 1] == 5 + binascii.crc32(b"<it") % 50
