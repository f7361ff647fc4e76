"""The texts of the sentiment study: loading, splits, batches."""

import pathlib
from typing import NamedTuple

import numpy as np

from experiments.sentiment.config import DATA, Config
from seqmodels.data import hashed_splits, labeled_texts, tables, word_features, word_vectors
from seqmodels.data.batches import Batches
from seqmodels.data.buckets import bucketed
from seqmodels.data.labeled_texts import LabeledTexts
from seqmodels.data.word_features import WordFeatures
from seqmodels.datasets import reviews, tweets

EVALUATION_BATCH = 256


class Data(NamedTuple):
    """The texts of a study.

    Attributes:
      name: name of their source.
      target: "classes" or "rating".
      splits: "train", "validation" and "test".
    """

    name: str
    target: str
    splits: dict[str, LabeledTexts]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; none where a rating is to be predicted."""
        return self.splits["train"].classes if self.target == "classes" else ()

    def targets(self, split: str) -> np.ndarray:
        """Returns int32 (N,) classes or float32 (N,) ratings."""
        texts = self.splits[split]
        return texts.labels if self.classes else _ratings(texts)


def load(config: Config) -> Data:
    """Returns the texts of a study in their fixed split.

    Raises:
      ValueError or OSError: for data that are not available.
    """
    data_dir = config.fetched.data_dir
    if config.csv is not None:
        if not pathlib.Path(config.csv).is_file():
            raise ValueError(f"csv: got {config.csv!r}, expected a file that exists")
        rating = config.target == "rating"
        texts = labeled_texts.read_csv(
            config.csv, config.text_column, config.label_column, rating=rating
        )
        lines = texts.lines

        def describe(label: int, row: int) -> str:
            shown = repr(texts.classes[label])
            if lines is None or row < 0:
                return shown
            return f"{shown} ({config.csv}, line {lines[row]})"

        rows = hashed_splits.split_texts(
            texts.texts, texts.labels, seed=config.split_seed, describe=describe
        )
    else:
        if config.data == "tweets":
            texts = tweets.load(data_dir)
        else:
            texts = reviews.load(config.data, data_dir)
        rows = labeled_texts.split(texts.texts, texts.labels, seed=config.split_seed)
    splits = {name: texts.rows(chosen) for name, chosen in rows.items()}
    return Data(config.data, config.target, splits)


def raw_texts(vectors_from: str, data: Data, data_dir: str | None) -> list[str]:
    """Returns texts that word vectors are made of; of the data's own source the training split.

    Args:
      vectors_from: "none", a source of `DATA` but csv, or the path of a UTF-8 file with a text on
        each line.
      data: the result of `load`.
      data_dir: folder of the cache.

    Raises:
      ValueError or OSError: for texts that are not available.
    """
    if vectors_from == "none":
        return []
    if vectors_from == data.name:
        return data.splits["train"].texts
    if vectors_from == "tweets":
        return tweets.load(data_dir).texts
    if vectors_from in reviews.SOURCES:
        return reviews.load(vectors_from, data_dir).texts
    try:
        text, _ = tables.read_text(pathlib.Path(vectors_from), "vectors_from")
    except OSError as error:
        sources = ", ".join(name for name in DATA if name != "csv")
        raise ValueError(
            f"vectors_from: got {vectors_from!r}, expected none, {sources}, or a file: {error}"
        ) from None
    lines = text.splitlines()
    if not any(line.strip() for line in lines):
        raise ValueError(f"vectors_from: got {vectors_from} without a text, expected one on a line")
    return lines


def vectors(features: WordFeatures, raw: list[str], size: int) -> np.ndarray | None:
    """Returns the vectors (W, D) of the words of raw texts; None where there are no texts."""
    if not raw:
        return None
    rows = [np.array(one.ids) for one in features.tokenizer.encode_batch(raw)]
    try:
        return word_vectors.ppmi_vectors(rows, features.tokenizer.get_vocab_size(), size)
    except ValueError as error:
        raise ValueError(f"vectors_from: {error}") from None


class Encoded:
    """The features of the words of each split, computed once."""

    def __init__(self, features: WordFeatures, data: Data, max_words: int):
        """Stores what is needed.

        Args:
          features: turns a word into numbers.
          data: the texts.
          max_words: words of a text; the words after them are left out.
        """
        self.features, self.data, self._max_words = features, data, max_words
        self._rows: dict[str, list[np.ndarray]] = {}

    def rows(self, split: str) -> list[np.ndarray]:
        """Returns the features of each text of a split."""
        if split not in self._rows:
            rows = word_features.encode(self.features, self.data.splits[split].texts)
            self._rows[split] = [row[: self._max_words] for row in rows]
        return self._rows[split]

    def training_batches(self, batch: int, seed: int, process: int, num_processes: int) -> Batches:
        """Returns batches of similar lengths of the training split, one process's share.

        Args:
          batch: texts of a batch over all processes.
          seed: decides the order.
          process: number of this process.
          num_processes: number of processes of the run.
        """
        return bucketed(
            self.rows("train"),
            self.data.targets("train"),
            batch_size=batch,
            seed=seed,
            boundaries=4,
            process=process,
            num_processes=num_processes,
        )

    def evaluation_batches(self, split: str) -> Batches:
        """Returns batches of a split; their targets are row numbers."""
        rows = self.rows(split)
        return bucketed(
            rows, np.arange(len(rows)), batch_size=EVALUATION_BATCH, seed=None, boundaries=4
        )


def _ratings(texts: LabeledTexts) -> np.ndarray:
    if texts.ratings is None:
        raise ValueError("target: got rating, but these texts have classes alone")
    return texts.ratings
