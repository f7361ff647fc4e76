"""The sky task: a clue, filler text, and the question which color the sky is.

"This is the 10th day of wildfires in the San Francisco bay area. [filler] The sky is ___": red. A
model that has forgotten the clue can only guess one of the colors.
"""

import itertools
import math
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqmodels.storage import reading
from seqmodels.tasks.sky import clues
from seqmodels.tasks.sky.filler import FILLER
from seqmodels.tasks.task import Batch, Task
from seqmodels.texts import mark_class
from seqmodels.types import Array

PAD = "<pad>"
QUESTION = ("the", "sky", "is")


class SkyCorpus(NamedTuple):
    """The sentences of the task as tokens, padding in front of each clue and behind each filler.

    Attributes:
      words: the vocabulary; a token is an index into it; 0 is the padding.
      train_clues: int32 (colors, N, L).
      test_clues: int32 (colors, M, L).
      filler: int32 (sentences, L).
      filler_lengths: int32 (sentences,), in words.
    """

    words: tuple[str, ...]
    train_clues: np.ndarray
    test_clues: np.ndarray
    filler: np.ndarray
    filler_lengths: np.ndarray


def split_words(text: str) -> list[str]:
    """Returns the words of a text in lower case, without punctuation.

    Examples:
      >>> split_words("The sky is red.")
      ['the', 'sky', 'is', 'red']
    """
    word = rf"\w[\w{mark_class()}]*"
    return re.findall(rf"{word}(?:['\u2019-]{word})*", text.lower())


def read_filler(path: str | pathlib.Path) -> tuple[str, ...]:
    """Returns the sentences of a UTF-8 text file, those with at least one word.

    Args:
      path: the file.

    Returns:
      One or more sentences.

    Raises:
      ValueError: if the file cannot be read, is not UTF-8 text, or has no words.

    Examples:
      >>> import pathlib
      >>> _ = pathlib.Path("filler.txt").write_text("The bus was late. Nobody minded.")
      >>> read_filler("filler.txt")
      ('The bus was late.', 'Nobody minded.')
    """
    path = pathlib.Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError(f"{path}: is not a regular file")
    try:
        text = reading.open_text(path).read()
    except UnicodeDecodeError as error:
        raise ValueError(f"filler_file: {path}: is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise ValueError(f"filler_file: {path}: cannot be read: {error.strerror}") from None
    if "\0" in text:
        raise ValueError(f"{path}: is not text (it holds a NUL character)")
    sentences = tuple(s.strip() for s in re.split(r"(?<=[.!?])\s+|\n\s*\n", text))
    sentences = tuple(sentence for sentence in sentences if split_words(sentence))
    if not sentences:
        raise ValueError(f"filler_file: {path}: holds no words, expected filler sentences")
    return sentences


def make_corpus(filler: Sequence[str] = FILLER) -> SkyCorpus:
    """Returns the corpus of clues and filler as tokens.

    Every clue is written out with each of the places and days of `sky_clues`.

    Args:
      filler: neutral sentences, at least one word in each.

    Returns:
      A `SkyCorpus`.

    Examples:
      >>> corpus = make_corpus(["The bus was late."])
      >>> corpus.words[0], corpus.filler.shape, corpus.train_clues.shape[0]
      ('<pad>', (1, 4), 8)
    """
    slots = list(zip(clues.DAYS, clues.PLACES, strict=True))

    def expand(clues: Sequence[str]) -> list[list[str]]:
        return [
            split_words(clue.format(day=day, place=place)) for day, place in slots for clue in clues
        ]

    def expand_frames(phenomena: Sequence[str]) -> list[list[str]]:
        pairs = itertools.permutations(phenomena, 2)
        filled = itertools.product(clues.FRAMES, pairs)
        return [
            split_words(frame.format(a=a, b=b, day=day, place=place))
            for (frame, (a, b)), (day, place) in zip(filled, itertools.cycle(slots))
        ]

    train = [
        expand(clues.TRAIN_CLUES[color]) + expand_frames(clues.PHENOMENA[color])
        for color in clues.COLORS
    ]
    test = [expand(clues.TEST_CLUES[color]) for color in clues.COLORS]
    fill = [split_words(sentence) for sentence in filler]
    used = {word for group in (*train, *test, fill) for sentence in group for word in sentence}
    words = (PAD, *sorted(used | set(QUESTION)))
    token = {word: number for number, word in enumerate(words)}
    longest = max(len(sentence) for group in (*train, *test) for sentence in group)

    def clue_array(groups: list[list[list[str]]]) -> np.ndarray:
        rows = [
            [[0] * (longest - len(s)) + [token[w] for w in s] for s in group] for group in groups
        ]
        return np.asarray(rows, np.int32)

    lengths = np.asarray([len(sentence) for sentence in fill], np.int32)
    padded = np.zeros((len(fill), lengths.max()), np.int32)
    for row, sentence in zip(padded, fill, strict=True):
        row[: len(sentence)] = [token[word] for word in sentence]
    return SkyCorpus(words, clue_array(train), clue_array(test), padded, lengths)


def sky(distance: int, corpus: SkyCorpus | None = None) -> Task:
    """Returns the sky task: clue, `distance` words of filler, "the sky is", and one of 8 colors.

    The clues of the test split are sentences that do not occur in the other splits, with words that
    do. Filler sentences are drawn for every sample; the last one is cut at `distance` words.
    Samples are padded in front to the length of the longest clue.

    Args:
      distance: words of filler, at least 0.
      corpus: the sentences; None for those of this package.

    Returns:
      A `Task`.

    Raises:
      ValueError: if the distance is negative.

    Examples:
      >>> task = sky(distance=10)
      >>> batch = task.sample(jax.random.key(0), 4, "train")
      >>> batch.inputs.shape, batch.targets.shape, task.output_size
      ((30, 4), (1, 4), 8)
    """
    if distance < 0:
        raise ValueError(f"sky: distance: got {distance}, expected at least 0")
    corpus = corpus or make_corpus()
    question = np.asarray([corpus.words.index(word) for word in QUESTION], np.int32)
    num_colors, _, clue_steps = corpus.train_clues.shape
    num_sentences = distance // int(corpus.filler_lengths.min()) + 1

    def filler_words(chosen: Array) -> Array:
        lengths = jnp.asarray(corpus.filler_lengths)[chosen]
        ends = jnp.cumsum(lengths)
        position = jnp.arange(distance)
        sentence = jnp.searchsorted(ends, position, side="right")
        word = position - (ends - lengths)[sentence]
        return jnp.asarray(corpus.filler)[chosen[sentence], word]

    def sample(key: Array, batch_size: int, split: str) -> Batch:
        clues = jnp.asarray(corpus.test_clues if split == "test" else corpus.train_clues)
        # A single draw, because every draw adds to the compile time.
        draw = jax.random.uniform(key, (batch_size, 2 + num_sentences))
        colors = _index(draw[:, 0], num_colors)
        numbers = _index(draw[:, 1], clues.shape[1])
        filler = jax.vmap(filler_words)(_index(draw[:, 2:], len(corpus.filler_lengths)))
        asked = jnp.broadcast_to(question, (batch_size, len(QUESTION)))
        tokens = jnp.concatenate([clues[colors, numbers], filler, asked], axis=1)
        return Batch(tokens.T, colors[None])

    return Task(
        name="sky",
        sample=sample,
        num_steps=clue_steps + distance + len(QUESTION),
        vocabulary_size=len(corpus.words),
        input_size=None,
        output_size=num_colors,
        num_targets=1,
        num_scored=1,
        tolerance=None,
        chance=1 / num_colors,
        chance_loss=math.log(num_colors),
        far_step=clue_steps - 1,
        words=corpus.words,
        answers=clues.COLORS,
    )


def _index(uniform: Array, size: int) -> Array:
    """Returns integers in [0, size) from numbers in [0, 1)."""
    return jnp.minimum((uniform * size).astype(jnp.int32), size - 1)
