"""Any text survives the tokenizer, whatever it was trained on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodels.data import subwords

TEXTS = ["the lights are on", "the lights are off", "turn the lights off", "Größe ändern"] * 5
TOKENIZER = subwords.train(TEXTS, 280)


def round_trip(text, tokenizer=TOKENIZER):
    (ids,) = subwords.encode(tokenizer, [text])
    return subwords.decode(tokenizer, ids)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text(text):
    assert round_trip(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "  two  spaces\n\ttabs ",
        "👩🏽\u200d🚀 🇩🇪 ☀️",
        "שלום עולם \u202eabc",
        "e\u0301 is not é",
        "<s>a</s><pad><unk>",
        "\0\x7f\ufffd\ufeff",
        "\U0010ffff",
    ],
)
def test_edge_texts(text):
    assert round_trip(text) == text
    (ids,) = subwords.encode(TOKENIZER, [text])
    assert ids.dtype == np.int32
    assert (ids >= len(subwords.SPECIALS)).all()


def test_merges_are_learned():
    (ids,) = subwords.encode(TOKENIZER, ["the lights"])
    assert len(ids) == 2
    (fresh,) = subwords.encode(TOKENIZER, ["zqxj"])
    assert len(fresh) == 4  # one a byte


def test_specials_are_left_out_of_the_text():
    (ids,) = subwords.encode(TOKENIZER, ["lights"])
    row = [subwords.BOS, *ids, subwords.EOS, subwords.PAD, subwords.UNK]
    assert subwords.decode(TOKENIZER, np.array(row)) == "lights"


def test_half_a_character():
    (ids,) = subwords.encode(TOKENIZER, ["👩"])
    assert "\ufffd" in subwords.decode(TOKENIZER, ids[:1])


def test_lower_case():
    tokenizer = subwords.train(TEXTS, 300, lowercase=True)
    assert round_trip("The LIGHTS: GRÖSSE", tokenizer) == "the lights: grösse"


def test_saved_and_loaded():
    again = subwords.from_text(TOKENIZER.to_str())
    texts = ["the lights</s>", "Ökonomie 👩"]
    for left, right in zip(
        subwords.encode(TOKENIZER, texts), subwords.encode(again, texts), strict=True
    ):
        np.testing.assert_array_equal(left, right)
    assert again.to_str() == TOKENIZER.to_str()


def test_the_same_texts_give_the_same_tokenizer():
    assert subwords.train(TEXTS, 280).to_str() == TOKENIZER.to_str()


def test_the_vocabulary_is_as_large_as_asked_for_and_never_larger():
    assert TOKENIZER.get_vocab_size() == 280
    assert subwords.train(["a"], 1000).get_vocab_size() == subwords.SMALLEST_VOCABULARY


@pytest.mark.parametrize("text", ["", "{}", "not JSON", '{"version": "1.0"}'])
def test_what_is_no_tokenizer(text):
    with pytest.raises(
        ValueError, match=r"tokenizer: got invalid JSON, expected a saved tokenizer"
    ):
        subwords.from_text(text)


def test_a_tokenizer_of_others():
    text = TOKENIZER.to_str().replace("<unk>", "[UNK]")
    with pytest.raises(ValueError, match="first tokens are not <pad> <unk> <s> </s>"):
        subwords.from_text(text)


def test_bad_arguments():
    with pytest.raises(ValueError, match="vocabulary_size: got 100, expected at least 260"):
        subwords.train(TEXTS, 100)
    with pytest.raises(ValueError, match="texts: got none"):
        subwords.train([], 280)
    with pytest.raises(ValueError, match=r"text: got .* expected Unicode: character 1 is half"):
        subwords.encode(TOKENIZER, ["a\ud800"])
    for number in (-1, 280):
        with pytest.raises(ValueError, match=f"ids: got {number}, expected tokens from 0 to 279"):
            subwords.decode(TOKENIZER, [number])
