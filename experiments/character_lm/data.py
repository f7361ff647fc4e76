"""The plays as tokens: loading, splits, batches."""

import os
from typing import NamedTuple

import numpy as np

from seqmodels.data.batches import Batches
from seqmodels.data.streams import contiguous
from seqmodels.datasets import plays
from seqmodels.datasets.plays import CharacterSet, Plays

SEED_STRIDE = 1_009  # characters by which the streams of two successive seeds differ


class Data(NamedTuple):
    """The text of each split, and the characters of the training split."""

    text: Plays
    characters: CharacterSet


def load(data_dir: str | os.PathLike[str] | None) -> Data:
    """Returns the plays.

    Args:
      data_dir: folder of the cache; None for the default.

    Raises:
      ValueError or OSError: for plays that are not available.
    """
    text = plays.load(data_dir)
    return Data(text, plays.character_set(text.train))


def training_batches(
    train: np.ndarray,
    seed: int,
    process: int,
    num_processes: int,
    *,
    batch: int,
    length: int,
) -> Batches:
    """Returns the pieces of parallel streams of the training split, one process's share.

    The streams begin at another character for each seed; the order within a stream is the text's.

    Args:
      train: int32 (N,), tokens of the training split.
      seed: the seed of the training.
      process: number of this process.
      num_processes: number of processes of the run.
      batch: streams over all processes.
      length: steps of a piece.
    """
    begin = seed * SEED_STRIDE % max(len(train) // batch, 1)
    return contiguous(
        np.roll(train, -begin), batch, length, process=process, num_processes=num_processes
    )
