"""Bucketing: batches of sequences of similar lengths, with little padding."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from seqmodels.data.batches import Batches, take_rows
from seqmodels.data.shuffling import LARGEST_SEED, make_share, random_order, whole_number

CANDIDATES = 1024  # more distinct lengths than these are thinned before boundaries are chosen


class SequenceBatch(NamedTuple):
    """A batch of sequences of similar lengths.

    Attributes:
      xs: a pytree of arrays (T, B, ...), zero after the end of each sequence; T is one of few.
      lengths: int32 (B,).
      targets: a pytree of arrays (B, ...); None without targets.
      weights: float32 (B,), 1 for a sequence, 0 for a row of length 0 that fills the batch.
    """

    xs: Any
    lengths: np.ndarray
    targets: Any
    weights: np.ndarray


def bucketed(
    sequences: Sequence[Any],
    targets: Any = None,
    *,
    batch_size: int,
    seed: int | None,
    boundaries: int | Sequence[int] = 8,
    process: int = 0,
    num_processes: int = 1,
) -> Batches:
    """Returns batches of sequences whose lengths are similar, padded to one of few lengths.

    The sequences are sorted by length and cut into batches, which leaves the least padding. In each
    epoch, consecutive batches of one padded length exchange their sequences at random, and the
    order of the batches is drawn. Every epoch holds every sequence exactly once. If B does not
    divide N, one batch of short sequences is filled with rows of length 0 and weight 0. In
    mean(weights * loss of each row) these rows add nothing to the gradient.

    Args:
      sequences: N of them, each an array (T_i, ...), or a pytree of arrays of one length, such as
        `(tokens, tags)`; they differ in T_i alone. A length of 0 is allowed.
      targets: a pytree of arrays (N, ...), one entry for each whole sequence.
      batch_size: B, sequences of a batch over all processes; it may be larger than N.
      seed: determines all orders, the same on every machine, from 0 to 2^64 - 1. None for an
        evaluation: the same batches in every epoch, the shortest first.
      boundaries: the lengths that batches are padded to, ascending, the last at least the longest
        sequence. Or their largest number: then the lengths with the least padding are chosen. With
        a seed there is at most one for every four batches, so that batches can exchange sequences.
        `jax.jit` compiles one program for each.
      process: the number of this process, from 0.
      num_processes: how many processes load a share of each batch. T is that of the whole batch.

    Returns:
      `Batches` of `SequenceBatch`; `padding` is the share of padded steps, in every epoch the same.

    Raises:
      ValueError: if there are no sequences, or they differ in structure, dtype or the shape of a
        step. Also if targets do not fit, or an argument is out of its range.

    Examples:
      >>> sequences = [np.ones((length, 3)) for length in (2, 9, 3, 8)]
      >>> batches = bucketed(sequences, np.arange(4), batch_size=2, seed=None)
      >>> batch = batches.at(0)  # without a seed the shortest come first
      >>> batch.xs.shape, batch.lengths, batch.targets
      ((3, 2, 3), array([2, 3], dtype=int32), array([0, 2]))
    """
    rows, structure = _checked_sequences(sequences)
    targets = _checked_targets(targets, len(rows))
    share = make_share(batch_size, process, num_processes)
    if seed is not None:
        seed = whole_number("seed", seed, 0, LARGEST_SEED)
    lengths = np.array([len(leaves[0]) for leaves in rows])
    per_epoch = -(-len(rows) // batch_size)
    # First, where the sequences are shortest, an empty row costs least.
    filling = np.full(per_epoch * batch_size - len(rows), -1)
    longest = np.concatenate([0 * filling, np.sort(lengths)])[batch_size - 1 :: batch_size]
    most = per_epoch if seed is None else max(per_epoch // 4, 1)
    padded = _padded_lengths(longest, boundaries, most)

    @functools.lru_cache(maxsize=2)
    def plan(epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """For every batch its sequences, (per_epoch, B), -1 for an empty row, and its T."""
        order = np.arange(len(rows)) if seed is None else random_order(len(rows), seed, epoch)
        sequences = np.concatenate([filling, order[np.argsort(lengths[order], kind="stable")]])
        if seed is None:
            return sequences.reshape(per_epoch, batch_size), padded
        place = np.argsort(order)  # of each sequence in the random order
        exchanged = np.lexsort(
            (np.where(sequences < 0, -1, place[sequences]), np.repeat(padded, batch_size))
        )
        batches = random_order(per_epoch, seed, epoch, stream=1)
        return sequences[exchanged].reshape(per_epoch, batch_size)[batches], padded[batches]

    def at(cursor: int) -> SequenceBatch:
        epoch, number = divmod(whole_number("cursor", cursor, 0), per_epoch)
        batches, steps = plan(epoch)
        rows_here = share.of(batches[number])
        present = rows_here >= 0
        columns = zip(
            *(rows[row] if row >= 0 else _empty(rows[0]) for row in rows_here), strict=True
        )
        leaves = [_stacked(leaves, int(steps[number])) for leaves in columns]
        return SequenceBatch(
            structure.unflatten(leaves),
            np.where(present, lengths[rows_here], 0).astype(np.int32),
            take_rows(targets, jax.tree.map(lambda _: 0, targets), np.maximum(rows_here, 0)),
            present.astype(np.float32),
        )

    padding = 1 - int(lengths.sum()) / (batch_size * int(padded.sum()))
    axes = SequenceBatch._make((1, 0, 0, 0))
    return Batches(at, per_epoch, batch_size, axes, padding)


def best_boundaries(longest: np.ndarray, count: int) -> tuple[int, ...]:
    """Returns the lengths to pad to that leave the least padding.

    With c_j batches whose longest sequence has length l_j it minimizes sum_j c_j * min{b in
    boundaries: b >= l_j} by dynamic programming over the distinct lengths. If there are more than
    1,024 distinct lengths, 1,024 evenly spread ones are considered.

    Args:
      longest: int (K,), the longest length in each batch, K at least 1.
      count: the largest number of lengths, at least 1.

    Returns:
      Ascending lengths, the last the greatest of `longest`; a length of 0 counts as 1.

    Examples:
      >>> best_boundaries(np.array([2, 3, 9, 10]), count=2)
      (3, 10)
    """
    distinct, counts = np.unique(np.maximum(longest, 1), return_counts=True)
    if len(distinct) > CANDIDATES:
        kept = np.linspace(0, len(distinct) - 1, CANDIDATES).round().astype(int)
    else:
        kept = np.arange(len(distinct))
    candidates = distinct[kept]
    up_to = np.concatenate([[0], np.cumsum(counts)[kept]])  # batches up to the j-th candidate
    # steps[i, j]: the batches after candidate i (0 for none) and up to j, padded to j.
    steps = np.where(
        np.arange(len(kept) + 1)[:, None] <= np.arange(len(kept)),
        (up_to[None, 1:] - up_to[:, None]) * candidates.astype(float),
        np.inf,
    )
    least, previous = steps[0], []
    for _ in range(min(count, len(kept)) - 1):
        through = np.concatenate([[0.0], least])[:, None] + steps
        previous.append(np.argmin(through, axis=0))
        least = np.min(through, axis=0)
    chosen = [len(kept) - 1]
    for choice in reversed(previous):
        if not choice[chosen[-1]]:
            break
        chosen.append(int(choice[chosen[-1]]) - 1)
    return tuple(int(candidates[number]) for number in reversed(chosen))


def _padded_lengths(longest: np.ndarray, boundaries: int | Sequence[int], most: int) -> np.ndarray:
    """Returns the length that each batch is padded to, given its longest sequence."""
    if isinstance(boundaries, Sequence | np.ndarray):
        given = [whole_number("boundaries", boundary, 1) for boundary in boundaries]
        if not given or given != sorted(set(given)) or given[-1] < longest.max():
            raise ValueError(
                f"boundaries: got {given}, expected ascending lengths up to at least "
                f"{longest.max()}, the longest sequence"
            )
    else:
        given = list(best_boundaries(longest, min(whole_number("boundaries", boundaries, 1), most)))
    return np.array(given)[np.searchsorted(given, longest)]


def _checked_sequences(sequences: Sequence[Any]) -> tuple[list[list[np.ndarray]], Any]:
    """Returns the leaves of every sequence as NumPy arrays, and the structure they share."""
    sequences = list(sequences)
    if not sequences:
        raise ValueError("sequences: got none, expected at least one")
    rows: list[list[np.ndarray]] = []
    structure: Any = jax.tree.structure(sequences[0])
    for number, sequence in enumerate(sequences):
        name = f"sequences[{number}]"
        if jax.tree.structure(sequence) != structure:
            raise ValueError(f"{name}: got another structure than the first, expected the same")
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(sequence)]
        if not leaves or any(not leaf.ndim for leaf in leaves):
            raise ValueError(f"{name}: got {sequence!r:.60}, expected an array (T, ...)")
        if len({len(leaf) for leaf in leaves}) > 1:
            raise ValueError(f"{name}: got lengths {[len(x) for x in leaves]}, expected one length")
        for leaf, first in zip(leaves, rows[0] if rows else leaves, strict=True):
            if leaf.shape[1:] != first.shape[1:] or leaf.dtype != first.dtype:
                shape = ", ".join(["T", *map(str, first.shape[1:])])
                raise ValueError(
                    f"{name}: got {leaf.dtype} {leaf.shape}, expected {first.dtype} ({shape}) as "
                    "the first has it"
                )
        rows.append(leaves)
    return rows, structure


def _checked_targets(targets: Any, num_rows: int) -> Any:
    targets = jax.tree.map(np.asarray, targets)
    for path, leaf in jax.tree.leaves_with_path(targets):
        if not leaf.ndim or len(leaf) != num_rows:
            raise ValueError(
                f"targets{jax.tree_util.keystr(path)}: got shape {leaf.shape}, expected "
                f"({num_rows}, ...), a row for each sequence"
            )
    return targets


def _empty(leaves: list[np.ndarray]) -> list[np.ndarray]:
    return [leaf[:0] for leaf in leaves]


def _stacked(leaves: Sequence[np.ndarray], num_steps: int) -> np.ndarray:
    """Returns (num_steps, B, ...) with zeros after the end of each sequence."""
    stacked = np.zeros((num_steps, len(leaves), *leaves[0].shape[1:]), leaves[0].dtype)
    for column, leaf in enumerate(leaves):
        stacked[: len(leaf), column] = leaf
    return stacked
