"""Words have numbers, the commonest first."""

import numpy as np
import pytest

from seqmodels.data import vocabulary
from seqmodels.data.vocabulary import BOS, EOS, PAD, SPECIALS, UNK


def test_by_hand():
    words = vocabulary.build(["b a b", "c a b"])
    assert words.words == (*SPECIALS, "b", "a", "c")
    tokens, lengths = words.encode(["a  b", "", "c x c"])
    assert tokens.T.tolist() == [
        [BOS, 5, 4, EOS, PAD],
        [BOS, EOS, PAD, PAD, PAD],
        [BOS, 6, UNK, 6, EOS],
    ]
    assert (tokens.dtype, lengths.tolist()) == (np.int32, [4, 2, 5])
    assert [words.decode(row) for row in tokens.T] == ["a b", "", "c <unk> c"]
    assert words.decode([4, EOS, 5]) == "b"
    assert vocabulary.build(["b a b", "c a b"], least=2).words == (*SPECIALS, "b", "a")


def test_text_and_back():
    words = vocabulary.build(["über 🍎 שלום <pad> <eos>"])
    assert words.words.count("<pad>") == 1
    assert vocabulary.from_str(words.to_str()) == words
    with pytest.raises(ValueError, match="expected a list of words as JSON"):
        vocabulary.from_str('["a"]')


def test_special_tokens_of_a_text_are_unknown_words():
    words = vocabulary.build(["the cat"])
    for special in SPECIALS:
        tokens, lengths = words.encode([f"the {special} cat"])
        assert tokens[:, 0].tolist() == [BOS, words.words.index("the"), UNK, tokens[3, 0], EOS]
        assert lengths.tolist() == [5]


@pytest.mark.parametrize("token", [-1, 6, np.int64(99)])
def test_numbers_outside_are_refused(token):
    words = vocabulary.build(["the cat"])
    with pytest.raises(ValueError, match=rf"tokens: got {token}, expected numbers from 0 to 5"):
        words.decode([4, token])
    assert words.decode([4, EOS, token]) == words.words[4]
