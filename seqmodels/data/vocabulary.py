"""Vocabulary of short texts whose words are separated by spaces."""

import collections
import json
import operator
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from seqmodels.texts import check_texts

PAD, UNK, BOS, EOS = range(4)
SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")


class Vocabulary(NamedTuple):
    """Words by number; the first four are those of `SPECIALS`."""

    words: tuple[str, ...]

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the texts as numbers, between BOS and EOS.

        Args:
          texts: N texts; words that are not in the vocabulary become UNK. So does a word of a text
            that is spelled as one of `SPECIALS`.

        Returns:
          (tokens, lengths): int32 (T, N), filled with PAD to the longest, and int32 (N,), BOS and
          EOS counted.

        Raises:
          ValueError: if `texts` is a bare string.
        """
        texts = check_texts("texts", texts)
        numbers = {word: number for number, word in enumerate(self.words) if number > EOS}
        rows = [[BOS, *(numbers.get(w, UNK) for w in text.split()), EOS] for text in texts]
        lengths = np.array([len(row) for row in rows], np.int32)
        tokens = np.full((max(lengths, default=0), len(rows)), PAD, np.int32)
        for column, row in enumerate(rows):
            tokens[: len(row), column] = row
        return tokens, lengths

    def decode(self, tokens: Iterable[int]) -> str:
        """Returns the text of numbers up to the first EOS; PAD and BOS are left out.

        Raises:
          ValueError: if a number before EOS is not one of the vocabulary.
          TypeError: if it is not an integer.
        """
        words = []
        for given in tokens:
            token = operator.index(given)
            if not 0 <= token < len(self.words):
                last = len(self.words) - 1
                raise ValueError(f"tokens: got {token}, expected numbers from 0 to {last}")
            if token == EOS:
                break
            if token not in (PAD, BOS):
                words.append(self.words[token])
        return " ".join(words)

    def to_str(self) -> str:
        """Returns JSON from which `from_str` makes the same vocabulary."""
        return json.dumps(self.words, ensure_ascii=False)


def from_str(text: str) -> Vocabulary:
    """Returns the vocabulary of `Vocabulary.to_str`; ValueError for another text.

    Examples:
      >>> from_str(build(["the sky is red"]).to_str()).words[4:]
      ('is', 'red', 'sky', 'the')
    """
    words = json.loads(text)
    is_words = isinstance(words, list) and all(isinstance(word, str) for word in words)
    if not is_words or tuple(words[:4]) != SPECIALS:
        raise ValueError(f"vocabulary: got {text[:30]!r}, expected a list of words as JSON")
    return Vocabulary(tuple(words))


def build(texts: Iterable[str], least: int = 1) -> Vocabulary:
    """Builds the vocabulary of texts, the most frequent word first.

    Args:
      texts: texts, of the training split alone.
      least: the smallest number of occurrences of a word with a number.

    Returns:
      A `Vocabulary`; words of equal frequency are in alphabetical order.

    Raises:
      ValueError: if `texts` is a bare string.

    Examples:
      >>> vocabulary = build(["the sky is red", "the sky is blue"])
      >>> tokens, lengths = vocabulary.encode(["the sky", "is it red"])
      >>> tokens.shape, lengths
      ((5, 2), array([4, 5], dtype=int32))
      >>> vocabulary.decode(tokens[:, 0])
      'the sky'
    """
    texts = check_texts("texts", texts)
    counts = collections.Counter(word for text in texts for word in text.split())
    kept = sorted((-count, word) for word, count in counts.items() if count >= least)
    return Vocabulary(SPECIALS + tuple(word for _, word in kept if word not in SPECIALS))
