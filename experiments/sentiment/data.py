"""The texts of the sentiment study: which, how split, how they become batches."""

import functools
import pathlib
from typing import NamedTuple

import numpy as np

from seqmodels.data import labeled_texts, word_features, word_vectors
from seqmodels.data.batches import Batches
from seqmodels.data.buckets import bucketed
from seqmodels.data.labeled_texts import LabeledTexts
from seqmodels.data.word_features import WordFeatures
from seqmodels.datasets import reviews, tweets

DATA = ("tweets", "rotten_tomatoes", "imdb", "csv")
TARGETS = ("classes", "rating")
EVALUATION_BATCH = 256


class Source(NamedTuple):
    """What the flags of these names say, and so what the data are."""

    data: str
    target: str
    csv: str | None
    text_column: str
    label_column: str
    split_seed: int
    data_dir: str | None


class Data(NamedTuple):
    """source: where the texts are from. splits: "train", "validation" and "test"."""

    source: Source
    splits: dict[str, LabeledTexts]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; none where a rating is to be predicted."""
        return self.splits["train"].classes if self.source.target == "classes" else ()

    def targets(self, split: str) -> np.ndarray:
        """Returns int32 (N,) classes or float32 (N,) ratings."""
        texts = self.splits[split]
        return texts.labels if self.classes else _ratings(texts)


def check(source: Source) -> None:
    """Raises ValueError for flags that do not go together."""
    if (source.data == "csv") != (source.csv is not None):
        raise ValueError(
            f"csv: got {source.csv!r} with --data={source.data}, expected both --data=csv and "
            "--csv=FILE, or neither"
        )
    if source.csv is not None and not pathlib.Path(source.csv).is_file():
        raise ValueError(f"csv: got {source.csv!r}, expected a file that is there")
    if source.target == "rating" and source.data in reviews.SOURCES:
        raise ValueError(f"target: got rating with {source.data}, which has classes alone")


@functools.lru_cache(maxsize=1)
def load(source: Source) -> Data:
    """Returns the texts of a source in their fixed split.

    Raises:
      ValueError or OSError: in one line, for data that cannot be had.
    """
    check(source)
    if source.data == "csv" and source.csv is not None:
        texts = labeled_texts.read_csv(
            source.csv, source.text_column, source.label_column, rating=source.target == "rating"
        )
    elif source.data == "tweets":
        texts = tweets.load(source.data_dir)
    else:
        texts = reviews.load(source.data, source.data_dir)
    rows = labeled_texts.split(texts.texts, texts.labels, seed=source.split_seed)
    return Data(source, {name: texts.rows(chosen) for name, chosen in rows.items()})


def raw_texts(vectors_from: str, data: Data, data_dir: str | None) -> list[str]:
    """Returns texts that word vectors are made of; of the data's own source the training split.

    Args:
      vectors_from: "none", a source of `DATA` but csv, or the path of a UTF-8 file with a text on
        each line.
      data: of `load`.
      data_dir: folder of the cache.

    Raises:
      ValueError or OSError: in one line, for texts that cannot be had.
    """
    if vectors_from == "none":
        return []
    if vectors_from == data.source.data:
        return data.splits["train"].texts
    if vectors_from == "tweets":
        return tweets.load(data_dir).texts
    if vectors_from in reviews.SOURCES:
        return reviews.load(vectors_from, data_dir).texts
    try:
        return pathlib.Path(vectors_from).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"vectors_from: {vectors_from} is not UTF-8 text") from None
    except OSError as error:
        sources = ", ".join(name for name in DATA if name != "csv")
        raise ValueError(
            f"vectors_from: got {vectors_from!r}, expected none, {sources}, or a file: {error}"
        ) from None


def vectors(features: WordFeatures, raw: list[str], size: int) -> np.ndarray | None:
    """Returns the vectors (W, D) of the words of raw texts; None where there are no texts."""
    if not raw:
        return None
    rows = [np.array(one.ids) for one in features.tokenizer.encode_batch(raw)]
    try:
        return word_vectors.ppmi_vectors(rows, features.tokenizer.get_vocab_size(), size)
    except ValueError as error:
        raise ValueError(f"vectors_from: {error}") from None


def batches(
    features: WordFeatures, data: Data, split: str, max_words: int, batch: int, seed: int | None
) -> Batches:
    """Returns batches of the first words of each text, of similar lengths.

    Args:
      features: what a word becomes.
      data: of `load`.
      split: which split.
      max_words: words of a text; what follows them is left out.
      batch: texts of a batch.
      seed: decides the order; None for an evaluation, in which targets are row numbers.
    """
    encoded = _encoded(features, data.source, split, max_words)
    targets = np.arange(len(encoded)) if seed is None else data.targets(split)
    return bucketed(encoded, targets, batch_size=batch, seed=seed, boundaries=4)


@functools.lru_cache(maxsize=4)
def _encoded(
    features: WordFeatures, source: Source, split: str, max_words: int
) -> list[np.ndarray]:
    return [
        row[:max_words] for row in word_features.encode(features, load(source).splits[split].texts)
    ]


def _ratings(texts: LabeledTexts) -> np.ndarray:
    if texts.ratings is None:
        raise ValueError("target: got rating, but these texts have classes alone")
    return texts.ratings
