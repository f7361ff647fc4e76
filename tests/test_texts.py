"""Words in any script are what a reader sees as words."""
# ruff: noqa: RUF001

import random
import re

import pytest

from seqmodels.data import phrase_splits, subwords, vocabulary, word_features
from seqmodels.data.phrase_splits import normalized_text
from seqmodels.data.sentence_pairs import Pair
from seqmodels.tasks.sky.task import split_words
from seqmodels.texts import bare_words, caseless, check_texts, mark_class

MARKED = [  # pairs of words that differ in marks alone
    ("कम", "काम"),  # Devanagari
    ("பல", "பால"),  # Tamil
    ("שִׁיר", "שִׂיר"),  # pointed Hebrew
    ("ชา", "ช้า"),  # Thai
    ("résumé", "resume"),
    ("z\u0335", "z"),  # a mark without a composed form
]


@pytest.mark.parametrize(("one", "other"), MARKED)
def test_marks_distinguish_words(one, other):
    pairs = [Pair(f"{word} {word}", "x") for word in (one, other)]
    assert len(phrase_splits.unique(pairs)) == 2
    assert split_words(f"{one}, {other}!") == [one, other]
    features = word_features.train([one])
    assert word_features.words(features, f"{one} {other}") == [
        features.tokenizer.normalizer.normalize_str(word) for word in (one, other)
    ]


@pytest.mark.parametrize(
    "spellings",
    [
        ("É\u0301", "é\u0301", "E\u0301\u0301"),
        ("ＡＢ c", "ab C!", "\u200eAB\u00a0c"),
        ("co\u00adop", "COOP", "co\u2060op"),
        ("❤\ufe0f love", "❤ love", "love \ufe0f"),
        ("می\u200cخواهم", "میخواهم"),
        ("Straße 12", "STRASSE 7"),
    ],
)
def test_spellings_that_look_alike_are_one(spellings):
    assert len({phrase_splits.normalized_text(text) for text in spellings}) == 1
    assert len(phrase_splits.unique([Pair(text, "x") for text in spellings])) == 1


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("☀\ufe0fsunny", ["☀\ufe0f", "sunny"]),
        ("hi👩🏽\u200d🔬🏴\u200d☠\ufe0fyo", ["hi", "👩🏽\u200d🔬🏴\u200d☠\ufe0f", "yo"]),
        ("نمی\u200cدانم چه\u200c", ["نمی\u200cدانم", "چه"]),
        ("a\u200b\u200d \u200c b\ufeff", ["a", "b"]),
        ("hy\u00adphen\u00adate", ["hyphenate"]),
        ("\u0301x 3\ufe0f\u20e3", ["x", "3\ufe0f\u20e3"]),
        ("\u202bשלום\u202c, it's", ["שלום", ",", "it's"]),
    ],
)
def test_joiners_and_selectors_are_no_words(text, want):
    assert word_features.words(word_features.train(["a"]), text) == want


def test_a_text_of_100_000_words():
    text = "नमस्ते, world! " * 50_000
    assert len(bare_words(caseless(text)).split()) == 100_000
    assert re.findall(rf"[\w{mark_class()}]+", text[:30])[0] == "नमस्ते"
    text = text[:150_000]  # a fifth of it
    labels = phrase_splits.component_labels([normalized_text(t) for t in (text, text + "x", "y z")])
    assert labels.tolist() == [0, 0, 1]
    features = word_features.train([text])
    assert len(word_features.encode(features, [text])[0]) == 40_000  # and signs


@pytest.mark.parametrize(
    "call",
    [
        vocabulary.build,
        vocabulary.build(["a"]).encode,
        lambda texts: subwords.train(texts, 260),
        word_features.train,
        lambda texts: check_texts("texts", texts),
    ],
)
def test_a_bare_string_is_refused(call):
    with pytest.raises(ValueError, match="texts: got a bare str, expected a list of texts"):
        call("the cat")
    with pytest.raises(ValueError, match="texts: got a float at place 1, expected texts"):
        call(["the", 1.5])


def test_splits_do_not_depend_on_the_order():
    rng = random.Random(0)
    words = [a + b for a in "bdfgklm" for b in "aeiou"]
    pairs = [Pair(" ".join(rng.choices(words, k=4)), rng.choice(words)) for _ in range(150)]
    pairs += [Pair(pair.source.upper(), "other") for pair in pairs[::3]]  # duplicates
    found = [
        phrase_splits.split(given, validation=0.1, components=0.1, sources=0.1)
        for given in (pairs, pairs[::-1], sorted(pairs, key=lambda pair: hash(pair.target)))
    ]
    assert found[0] == found[1] == found[2]
    assert phrase_splits.unique(pairs)[0] == pairs[0]  # the first one, where nothing is split
