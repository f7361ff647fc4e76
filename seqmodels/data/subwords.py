"""Text as subword tokens: byte-level byte-pair encoding, from the library tokenizers."""

import json
from collections.abc import Iterable, Sequence

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from seqmodels.texts import check_texts

PAD, UNK, BOS, EOS = range(4)
SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")
SMALLEST_VOCABULARY = len(SPECIALS) + 256


def train(texts: Iterable[str], vocabulary_size: int, *, lowercase: bool = False) -> Tokenizer:
    """Trains a tokenizer on texts, which should be the training split alone.

    UTF-8 bytes are merged by byte-pair encoding (Sennrich, Haddow, Birch 2016, "Neural Machine
    Translation of Rare Words with Subword Units", arXiv 1508.07909). All 256 bytes are tokens, so
    no text has an unknown character; `UNK` is for tokens that a caller hides.

    Args:
      texts: one or more texts.
      vocabulary_size: V, the most tokens, at least 260; short texts have fewer to learn. The first
        four are PAD 0, UNK 1, BOS 2 and EOS 3, which no text is encoded to, not even "</s>".
      lowercase: whether every text is made lower case first, which decoding does not undo.

    Returns:
      A tokenizer. `tokenizer.to_str()` is all of it as JSON text, for `from_text`.

    Raises:
      ValueError: if there is no text, if `texts` is a bare string, if one of them is not Unicode,
        or if the vocabulary is too small.
    """
    if vocabulary_size < SMALLEST_VOCABULARY:
        raise ValueError(
            f"vocabulary_size: got {vocabulary_size}, expected at least {SMALLEST_VOCABULARY}: "
            "every byte and the special tokens"
        )
    texts = check_texts("texts", texts)
    if not texts:
        raise ValueError("texts: got none, expected at least one")
    _check_unicode(texts)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    # As added tokens the specials would be recognized in texts that contain "</s>".
    description = json.loads(tokenizer.to_str())
    description["added_tokens"] = []
    return from_text(json.dumps(description))


def from_text(text: str) -> Tokenizer:
    """Returns the tokenizer from the JSON of its `to_str()`.

    Args:
      text: JSON.

    Raises:
      ValueError: if the text is not a tokenizer, or has other special tokens.
    """
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the library raises no narrower type
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"tokenizer: got invalid JSON, expected a saved tokenizer: {reason}"
        ) from None
    if [tokenizer.id_to_token(number) for number in range(len(SPECIALS))] != list(SPECIALS):
        raise ValueError(f"tokenizer: got one whose first tokens are not {' '.join(SPECIALS)}")
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[np.ndarray]:
    """Returns the tokens of texts, without BOS and EOS.

    Args:
      tokenizer: the result of `train`.
      texts: any number of texts; an empty one has no tokens.

    Returns:
      For every text int32 (length,).

    Raises:
      ValueError: if `texts` is a bare string, or one of them is not Unicode (a lone surrogate).
    """
    texts = check_texts("texts", texts)
    _check_unicode(texts)
    return [np.array(encoding.ids, np.int32) for encoding in tokenizer.encode_batch(texts)]


def decode(tokenizer: Tokenizer, ids: Iterable[int]) -> str:
    """Returns the text of tokens, exactly the encoded one except for lower case.

    Args:
      tokenizer: the result of `train`.
      ids: tokens; special ones are left out, and bytes that are not UTF-8 become U+FFFD.

    Raises:
      ValueError: if a number is not a token.
    """
    numbers = [int(number) for number in ids]
    size = tokenizer.get_vocab_size()
    for number in numbers:
        if not 0 <= number < size:
            raise ValueError(f"ids: got {number}, expected tokens from 0 to {size - 1}")
    return str(tokenizer.decode([number for number in numbers if number >= len(SPECIALS)]))


def _check_unicode(texts: Iterable[str]) -> None:
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"text: got {text[:40]!r}, expected Unicode: character {error.start} is half of a "
                "surrogate pair"
            ) from None
