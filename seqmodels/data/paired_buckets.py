"""Pairs of sequences of different lengths, in batches of few shapes with little padding."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seqmodels.data.batches import Batches
from seqmodels.data.buckets import best_boundaries
from seqmodels.data.shuffling import LARGEST_SEED, make_share, random_order, whole_number


class PairBatch(NamedTuple):
    """Pairs of similar lengths; (S, T) is one of few shapes.

    Attributes:
      sources: int32 (S, B), zero after the end of each.
      source_lengths: int32 (B,).
      targets: int32 (T, B), zero after the end of each.
      target_lengths: int32 (B,).
      weights: float32 (B,), 1 for a pair, 0 for a row of lengths 0 that fills the batch.
      rows: int32 (B,), the numbers of the pairs, 0 for rows that fill the batch.
    """

    sources: np.ndarray
    source_lengths: np.ndarray
    targets: np.ndarray
    target_lengths: np.ndarray
    weights: np.ndarray
    rows: np.ndarray


def paired_buckets(
    sources: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    *,
    batch_size: int,
    seed: int | None,
    source_boundaries: int = 2,
    target_boundaries: int = 4,
    process: int = 0,
    num_processes: int = 1,
) -> Batches:
    """Returns batches of pairs of similar lengths.

    Sorted by the boundary of their target and by the length of their source, the pairs are cut into
    batches. Batches of one shape then exchange their pairs at random, and the order of the batches
    is drawn too, both anew for each epoch. Every epoch holds every pair exactly once; a batch of
    short pairs is filled up with empty rows.

    Args:
      sources: N arrays of tokens, int (S_i,).
      targets: N arrays of tokens, int (T_i,).
      batch_size: B, pairs of a batch over all processes.
      seed: determines all orders, from 0 to 2^64 - 1; None for an evaluation: the same batches in
        every epoch, the shortest first.
      source_boundaries: the largest number of different S; those with the least padding are chosen.
      target_boundaries: the largest number of different T. `jax.jit` compiles a program for each
        shape.
      process: the number of this process, from 0.
      num_processes: how many processes load a share of each batch.

    Returns:
      `Batches` of `PairBatch`; `padding` is the share of padded steps of both sides.

    Raises:
      ValueError: if there are no pairs, not as many sources as targets, or an argument is out of
        its range.
    """
    if not len(sources) or len(sources) != len(targets):
        raise ValueError(
            f"targets: got {len(targets)} for {len(sources)} sources, expected one each, at least "
            "one in all"
        )
    sides = [[_tokens(name, row) for row in rows] for name, rows in
             (("sources", sources), ("targets", targets))]  # fmt: skip
    share = make_share(batch_size, process, num_processes)
    if seed is not None:
        seed = whole_number("seed", seed, 0, LARGEST_SEED)
    lengths = np.array([[len(row) for row in side] for side in sides])  # (2, N)
    counts = (
        whole_number("source_boundaries", source_boundaries, 1),
        whole_number("target_boundaries", target_boundaries, 1),
    )
    limits = [np.array(best_boundaries(*each)) for each in zip(lengths, counts, strict=True)]
    bucket = np.searchsorted(limits[1], lengths[1])
    per_epoch = -(-len(sources) // batch_size)
    filling = np.full(per_epoch * batch_size - len(sources), -1)

    def cut(order: np.ndarray) -> np.ndarray:
        """Returns the sorted pairs (per_epoch, B), those of equal lengths in the order given."""
        ranked = order[np.lexsort((lengths[0][order], bucket[order]))]
        return np.concatenate([filling, ranked]).reshape(per_epoch, batch_size)

    # The order of ties does not change the lengths of a batch, so shapes stay the same.
    first = cut(np.arange(len(sources)))
    longest = np.where(first >= 0, lengths[:, first], 0).max(axis=-1)  # (2, per_epoch)
    shapes = np.stack(
        [limit[np.searchsorted(limit, most)] for limit, most in zip(limits, longest, strict=True)],
        axis=-1,
    )
    shape_of = np.unique(shapes, axis=0, return_inverse=True)[1].reshape(-1)

    @functools.lru_cache(maxsize=2)
    def plan(epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """For every batch its pairs, (per_epoch, B), -1 for an empty row, and its shape."""
        if seed is None:
            return first, shapes
        order = random_order(len(sources), seed, epoch)
        pairs = cut(order).reshape(-1)
        place = np.argsort(order)
        exchanged = np.empty_like(pairs)
        of_pair = np.repeat(shape_of, batch_size)
        drawn = np.lexsort((np.where(pairs < 0, -1, place[pairs]), of_pair))
        exchanged[np.argsort(of_pair, kind="stable")] = pairs[drawn]
        batches = random_order(per_epoch, seed, epoch, stream=1)
        return exchanged.reshape(per_epoch, batch_size)[batches], shapes[batches]

    def at(cursor: int) -> PairBatch:
        epoch, number = divmod(whole_number("cursor", cursor, 0), per_epoch)
        batches, shape = plan(epoch)
        rows_here = share.of(batches[number])
        present = rows_here >= 0
        own_lengths = np.where(present, lengths[:, rows_here], 0).astype(np.int32)
        arrays = [
            _padded([side[row] if row >= 0 else side[0][:0] for row in rows_here], int(steps))
            for side, steps in zip(sides, shape[number], strict=True)
        ]
        return PairBatch(
            arrays[0],
            own_lengths[0],
            arrays[1],
            own_lengths[1],
            present.astype(np.float32),
            np.maximum(rows_here, 0).astype(np.int32),
        )

    padding = 1 - int(lengths.sum()) / (batch_size * int(shapes.sum()))
    return Batches(at, per_epoch, batch_size, PairBatch(1, 0, 1, 0, 0, 0), padding)  # type: ignore[arg-type]


def _tokens(name: str, row: np.ndarray) -> np.ndarray:
    row = np.asarray(row)
    if row.ndim != 1 or not (np.issubdtype(row.dtype, np.integer) or not row.size):
        raise ValueError(f"{name}: got {row.dtype} {row.shape}, expected whole numbers (T,)")
    return row.astype(np.int32)


def _padded(rows: Sequence[np.ndarray], num_steps: int) -> np.ndarray:
    padded = np.zeros((num_steps, len(rows)), np.int32)
    for column, row in enumerate(rows):
        padded[: len(row), column] = row
    return padded
