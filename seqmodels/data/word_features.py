"""Features of words as in fastText: the word and its character n-grams."""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from seqmodels.texts import BREAK, INVISIBLE, JOINERS, check_texts

PAD, UNKNOWN = 0, 1
# A word with its marks, apostrophes and joiners inside, or a run of signs such as :-) with their
# variation selectors and joiners.
_SIGN = rf"[^\w\s{BREAK}{JOINERS}]"
WORDS = (
    rf"(?!\p{{M}})\w+(?:(?:['\u2019]|[{JOINERS}]+)\w+)*"
    rf"|{_SIGN}(?:\p{{M}}|[{JOINERS}]*{_SIGN})*"
)
MOST_FEATURES = 16  # of a word: itself and its first n-grams, the short ones first


class WordFeatures(NamedTuple):
    """The map from words to features.

    Attributes:
      tokenizer: splits a text into words and numbers them; 1 for words that are not known.
      buckets: number of buckets for n-grams, from `tokenizer.get_vocab_size()` on; 0: no n-grams.
      sizes: the shortest and the longest n-gram, in characters.
    """

    tokenizer: Tokenizer
    buckets: int
    sizes: tuple[int, int]

    @property
    def num_features(self) -> int:
        """The number of features, V."""
        return self.tokenizer.get_vocab_size() + self.buckets

    @property
    def width(self) -> int:
        """The largest number of features of a word, K."""
        return MOST_FEATURES if self.buckets else 1


def train(
    texts: Sequence[str],
    *,
    least_count: int = 2,
    most_words: int = 30_000,
    buckets: int = 10_000,
    sizes: tuple[int, int] = (3, 4),
) -> WordFeatures:
    """Builds the features of the words of texts, of the training split alone.

    Args:
      texts: strings.
      least_count: rarer words have no number, only their n-grams.
      most_words: the largest number of words; the most frequent are kept.
      buckets: the number of buckets into which n-grams are hashed; 0 for words alone.
      sizes: the shortest and the longest n-gram, in characters, with "<" and ">" around a word.

    Returns:
      `WordFeatures`.

    Raises:
      ValueError: if `texts` is a bare string.
    """
    texts = check_texts("texts", texts)
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Replace(Regex(f"[{INVISIBLE}]"), ""),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"https?://\S+"), " http "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORDS), "removed", invert=True)
    trainer = trainers.WordLevelTrainer(
        vocab_size=most_words,
        min_frequency=least_count,
        special_tokens=["<pad>", "<unk>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return WordFeatures(tokenizer, buckets, sizes)


def words(features: WordFeatures, text: str) -> list[str]:
    """Returns the words of a text, as they are numbered."""
    tokenizer = features.tokenizer
    plain = tokenizer.normalizer.normalize_str(text)
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(plain)]


def encode(features: WordFeatures, texts: Sequence[str]) -> list[np.ndarray]:
    """Returns the features of every word of every text.

    Args:
      features: `WordFeatures`.
      texts: N strings.

    Returns:
      N int32 arrays (T_i, K): the number of the word, the numbers of its first n-grams, then 0.

    Raises:
      ValueError: if `texts` is a bare string.
    """
    texts = check_texts("texts", texts)
    known: dict[str, list[int]] = {}
    rows = []
    for text in texts:
        text_words = words(features, text)
        row = np.zeros((len(text_words), features.width), np.int32)
        for place, word in enumerate(text_words):
            if word not in known:
                known[word] = _numbers(features, word)[: features.width]
            row[place, : len(known[word])] = known[word]
        rows.append(row)
    return rows


def _numbers(features: WordFeatures, word: str) -> list[int]:
    number = features.tokenizer.token_to_id(word)
    first = features.tokenizer.get_vocab_size()
    numbers = [UNKNOWN if number is None else number]
    if features.buckets:
        for gram in _ngrams(f"<{word}>", *features.sizes):
            # crc32, because Python's hash differs from run to run.
            numbers.append(first + zlib.crc32(gram.encode("utf-8", "replace")) % features.buckets)
    return numbers


def _ngrams(word: str, least: int, most: int) -> list[str]:
    return [
        word[start : start + size]
        for size in range(least, most + 1)
        for start in range(len(word) - size + 1)
    ]
