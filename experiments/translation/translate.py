"""Translation of texts: greedy decoding and beam search."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.translation.data import Tokenizers, tokens
from seqmodels.data import subwords
from seqmodels.models import decoding
from seqmodels.models.translator import Translator
from seqmodels.types import Array, Params

ROWS = 64  # texts per call

Translate = Callable[[Params, Sequence[str]], list[list["Translation"]]]


class Translation(NamedTuple):
    """A translation: its text, the sum of its log-probabilities, its tokens without BOS and EOS."""

    text: str
    score: float
    tokens: np.ndarray


def make_decode(
    model: Translator, max_tokens: int, *, width: int = 1, length_penalty: float = 0.0
) -> Callable[[Params, Array, Array], decoding.Decoded]:
    """Returns `decode(params, sources, lengths) -> Decoded`, of tokens (S, B) and lengths (B,).

    Args:
      model: the translator.
      max_tokens: most tokens of a source; translations have at most half as many more.
      width: width of the beam; 1 is greedy.
      length_penalty: see `decoding.beam_search`.
    """
    longest = max_tokens + max_tokens // 2

    def decode(params: Params, sources: Array, lengths: Array) -> decoding.Decoded:
        def step(carry: Any, token: Array) -> tuple[Any, Array]:
            return model.decode_step(params, carry, token)

        carry = model.encode(params, sources, lengths)
        ends = subwords.BOS, subwords.EOS, longest
        if width == 1:
            found = decoding.greedy(step, carry, *ends)
            return jax.tree.map(lambda a: a[:, None], found)
        return decoding.beam_search(step, carry, *ends, width=width, length_penalty=length_penalty)

    return decode


def make_translate(
    model: Translator,
    tokenizers: Tokenizers,
    max_tokens: int,
    *,
    width: int = 1,
    length_penalty: float = 0.0,
) -> Translate:
    """Returns the function from texts to translations.

    Args:
      model: the translator.
      tokenizers: the tokenizers of both languages.
      max_tokens: the number of tokens after which sources are cut.
      width: as in `make_decode`; so is `length_penalty`.
      length_penalty: see `make_decode`.

    Returns:
      `translate(params, texts)`: for each text its translations, the best first.
    """
    decode = jax.jit(make_decode(model, max_tokens, width=width, length_penalty=length_penalty))

    def translate(params: Params, texts: Sequence[str]) -> list[list[Translation]]:
        sources = [cut(row, max_tokens) for row in tokens(tokenizers.source, texts)]
        rows = min(ROWS, len(texts))
        # Texts of similar lengths together, since a batch is decoded until its longest ends.
        order = sorted(range(len(texts)), key=lambda number: len(sources[number]))
        results: list[list[Translation]] = [[] for _ in texts]
        for start in range(0, len(order), rows):
            part = order[start : start + rows]
            padded = np.zeros((max_tokens, rows), np.int32)
            for column, number in enumerate(part):
                padded[: len(sources[number]), column] = sources[number]
            lengths = np.array([len(sources[n]) for n in part] + [0] * (rows - len(part)), np.int32)
            found = jax.tree.map(np.asarray, decode(params, padded, lengths))
            for row, number in enumerate(part):
                for ids, length, score in zip(*(leaf[row] for leaf in found), strict=True):
                    if np.isfinite(score):
                        results[number].append(_translation(tokenizers, ids[:length], float(score)))
        return results

    return translate


def _translation(tokenizers: Tokenizers, ids: np.ndarray, score: float) -> Translation:
    kept = ids[:-1] if len(ids) and ids[-1] == subwords.EOS else ids
    text = " ".join(subwords.decode(tokenizers.target, kept).split())
    return Translation(text, score, kept)


def cut(row: np.ndarray, max_tokens: int) -> np.ndarray:
    """Returns the first tokens of a source, and its last one, EOS."""
    return row if len(row) <= max_tokens else np.append(row[: max_tokens - 1], row[-1])
