"""The sentence pairs of the translation study: loading, splits, tokens, batches."""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from experiments.translation.config import Config
from seqmodels.data import phrase_splits, sentence_pairs, subwords
from seqmodels.data.batches import Batches
from seqmodels.data.paired_buckets import paired_buckets
from seqmodels.data.phrase_splits import Splits
from seqmodels.data.sentence_pairs import Pair
from seqmodels.datasets import interface_phrases

SHARES = {"validation": 0.04, "components": 0.07, "sources": 0.07}
# Shapes of training batches, each compiled once for a model; more would spare little padding.
SOURCE_BOUNDARIES, TARGET_BOUNDARIES = 2, 3


class Tokenizers(NamedTuple):
    """Tokenizers of the two languages, trained on the training split."""

    source: Tokenizer
    target: Tokenizer

    def texts(self) -> dict[str, str]:
        """Returns them as the texts of a saved model."""
        return {f"{name}.json": tokenizer.to_str() for name, tokenizer in self._asdict().items()}


class Data(NamedTuple):
    """The splits, their tokenizers, and the tokens of the training pairs that are short enough.

    Attributes:
      splits: the pairs.
      tokenizers: the tokenizers of both languages.
      sources: int32 (S_i,) of each training pair.
      targets: int32 (T_i,) of each training pair.
    """

    splits: Splits
    tokenizers: Tokenizers
    sources: Sequence[np.ndarray]
    targets: Sequence[np.ndarray]


class Batch(NamedTuple):
    """Pairs (a `PairBatch`), and the share of inputs that the decoder predicts, float32 (B,)."""

    pairs: Any
    predicted: np.ndarray


def load(config: Config) -> Splits:
    """Returns the pairs of a configuration in their fixed split.

    Raises:
      ValueError or OSError: for pairs that are not available.
    """
    if config.pairs_file is None:
        pairs = phrase_splits.unique(interface_phrases.load(config.fetched.data_dir))
        return split(pairs, config.split_seed)
    if not pathlib.Path(config.pairs_file).is_file():
        raise ValueError(f"pairs_file: got {config.pairs_file!r}, expected a file that exists")
    pairs = sentence_pairs.read_tsv(config.pairs_file)
    return phrase_splits.split_by_row(pairs, seed=config.split_seed, **SHARES)


def split(pairs: Sequence[Pair], seed: int) -> Splits:
    """Returns the splits of the study, drawn by a seed."""
    return phrase_splits.split(pairs, seed=seed, **SHARES)


def train_tokenizers(splits: Splits, vocabulary_size: int) -> Tokenizers:
    """Returns the tokenizers of both languages, trained on the training split alone."""
    languages = zip(*splits.train, strict=True)
    return Tokenizers(
        *(subwords.train([_spaced(t) for t in texts], vocabulary_size) for texts in languages)
    )


def tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> list[np.ndarray]:
    """Returns the tokens of texts, each with the EOS that the models read and write at the end."""
    spaced = [_spaced(text) for text in texts]
    return [np.append(ids, np.int32(subwords.EOS)) for ids in subwords.encode(tokenizer, spaced)]


def _spaced(text: str) -> str:
    """Returns the text with a space before its first word, so that all words have one."""
    return f" {text}" if text else text


def encode(splits: Splits, tokenizers: Tokenizers, max_tokens: int) -> Data:
    """Returns the data of the study, without the few training pairs that are too long.

    Args:
      splits: the pairs.
      tokenizers: the tokenizers of both languages.
      max_tokens: the most tokens of a source or target.

    Raises:
      ValueError: if every pair is too long.
    """
    sides = [
        tokens(tokenizer, texts)
        for tokenizer, texts in zip(tokenizers, zip(*splits.train, strict=True), strict=True)
    ]
    pairs = zip(*sides, strict=True)
    kept = [pair for pair in pairs if max(map(len, pair)) <= max_tokens]
    if not kept:
        shortest = min(max(map(len, pair)) for pair in zip(*sides, strict=True))
        raise ValueError(
            f"max_tokens: got {max_tokens}, expected at least {shortest}, the length of the "
            "shortest training pair"
        )
    sources, targets = zip(*kept, strict=True)
    return Data(splits, tokenizers, sources, targets)


def training_batches(
    data: Data,
    seed: int,
    process: int,
    num_processes: int,
    *,
    batch: int,
    scheduled_sampling: float,
    steps: int,
) -> Batches:
    """Returns batches of the training pairs, one process's share.

    Args:
      data: the result of `encode`.
      seed: the seed of the orders.
      process: number of this process.
      num_processes: number of processes of the run.
      batch: pairs of a batch over all processes.
      scheduled_sampling: the share of predicted inputs at the end of the training; it grows
        linearly from 0.
      steps: the steps of the training.

    Returns:
      `Batches` of `Batch`.
    """
    pairs = paired_buckets(
        data.sources,
        data.targets,
        batch_size=batch,
        seed=seed,
        source_boundaries=SOURCE_BOUNDARIES,
        target_boundaries=TARGET_BOUNDARIES,
        process=process,
        num_processes=num_processes,
    )

    def at(cursor: int) -> Batch:
        rows = pairs.at(cursor)
        share = scheduled_sampling * min(cursor / steps, 1)
        return Batch(rows, np.full(rows.weights.shape, share, np.float32))

    return pairs._replace(at=at, batch_axes=Batch(pairs.batch_axes, 0))  # type: ignore[arg-type]
