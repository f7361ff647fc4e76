"""Batches of rows as a pure function of a cursor; the cursor alone suffices to resume."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from seqmodels.data.shuffling import LARGEST_SEED, make_share, random_order, whole_number

RESTS = ("drop", "keep")


class Batches(NamedTuple):
    """An endless sequence of batches, epoch after epoch.

    No state is kept between two batches. Training that has used n batches resumes at `at(n)`,
    whatever ran before. The part of the batch that one process loads does not depend on the others.

    Attributes:
      at: `at(cursor) -> batch`, a pytree of new NumPy arrays. The cursor counts batches from 0 over
        all epochs: batch n is number n % per_epoch of epoch n // per_epoch. Pure, and safe to call
        from several threads. It raises ValueError if the cursor is negative.
      per_epoch: number of batches in an epoch, at least 1.
      batch_size: rows of a batch over all processes.
      batch_axes: a pytree prefix of the batch, as `in_axes` of `jax.vmap` is: the axis that counts
        rows. For a batch that is a tuple it is a tuple, as `data_parallel` expects it.
      padding: the share of padding among an epoch's time steps, in [0, 1); among its rows if they
        have no length.
    """

    at: Callable[[int], Any]
    per_epoch: int
    batch_size: int
    batch_axes: Any
    padding: float = 0.0


class WeightedBatch(NamedTuple):
    """rows: a pytree of arrays. weights: float32 (B,), 1 for a row, 0 for what fills the batch."""

    rows: Any
    weights: np.ndarray


def shuffled(
    arrays: Any,
    batch_size: int,
    *,
    seed: int,
    axis: Any = 0,
    rest: str = "drop",
    process: int = 0,
    num_processes: int = 1,
) -> Batches:
    """Returns batches of rows in an order that is drawn anew for every epoch.

    Args:
      arrays: a pytree of arrays with N rows each.
      batch_size: B, rows of a batch over all processes, at most N.
      seed: determines all orders, the same on every machine; from 0 to 2^64 - 1.
      axis: the axis of the arrays that counts rows: a number, or a pytree prefix of `arrays`. For
        `(xs, labels)` of shapes (T, N, D) and (N,) it is `(1, 0)`.
      rest: "drop" for batches of one size; each epoch leaves out N % B rows, different ones each
        time. "keep" for all rows in every epoch; the last batch is smaller, and `jax.jit` compiles
        a second program for it.
      process: the number of this process, from 0.
      num_processes: how many processes load a share of each batch.

    Returns:
      `Batches` whose batch has the structure of `arrays`.

    Raises:
      ValueError: if the arrays are empty or differ in their number of rows, or an argument is out
        of its range.

    Examples:
      >>> xs, labels = np.ones((5, 10, 3)), np.arange(10)  # (T, N, D) and (N,)
      >>> batches = shuffled((xs, labels), batch_size=4, seed=0, axis=(1, 0))
      >>> xs_batch, labels_batch = batches.at(7)  # the batch of step 7
      >>> xs_batch.shape, labels_batch.shape, batches.per_epoch
      ((5, 4, 3), (4,), 2)
    """
    arrays, axes, num_rows = _checked_rows(arrays, axis)
    share = make_share(batch_size, process, num_processes)
    seed = whole_number("seed", seed, 0, LARGEST_SEED)
    if batch_size > num_rows:
        raise ValueError(f"batch_size: got {batch_size}, expected at most the {num_rows} rows")
    left_over = rest_size(rest, num_rows % batch_size)
    if left_over % num_processes:
        raise ValueError(
            f"rest: got keep with {left_over} rows left over, expected a multiple of the "
            f"{num_processes} processes, or drop"
        )
    per_epoch = num_rows // batch_size + bool(left_over)

    # Two, because a prefetching thread reaches the next epoch earlier.
    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        return random_order(num_rows, seed, epoch)

    def at(cursor: int) -> Any:
        epoch, number = divmod(whole_number("cursor", cursor, 0), per_epoch)
        rows = order(epoch)[number * batch_size : (number + 1) * batch_size]
        return take_rows(arrays, axes, share.of(rows))

    return Batches(at, per_epoch, batch_size, axes)


def ordered(
    arrays: Any, batch_size: int, *, axis: Any = 0, process: int = 0, num_processes: int = 1
) -> Batches:
    """Returns batches for an evaluation: every row exactly once an epoch, in the order given.

    All batches have the same shapes. The last one is filled up with copies of the last row, whose
    weight is 0: a mean over the rows is sum(weights * values) / N. Every epoch is the same.

    Args:
      arrays: a pytree of arrays with N rows each.
      batch_size: B, rows of a batch over all processes; it may be larger than N.
      axis: the axis of the arrays that counts rows, as in `shuffled`.
      process: the number of this process, from 0.
      num_processes: how many processes load a share of each batch.

    Returns:
      `Batches` of `WeightedBatch`.

    Raises:
      ValueError: as in `shuffled`.

    Examples:
      >>> batches = ordered(np.arange(5), batch_size=3)
      >>> batch = batches.at(1)
      >>> batch.rows, batch.weights
      (array([3, 4, 4]), array([1., 1., 0.], dtype=float32))
    """
    arrays, axes, num_rows = _checked_rows(arrays, axis)
    share = make_share(batch_size, process, num_processes)
    per_epoch = -(-num_rows // batch_size)

    def at(cursor: int) -> WeightedBatch:
        number = whole_number("cursor", cursor, 0) % per_epoch
        rows = share.of(np.arange(number * batch_size, (number + 1) * batch_size))
        weights = (rows < num_rows).astype(np.float32)
        return WeightedBatch(take_rows(arrays, axes, np.minimum(rows, num_rows - 1)), weights)

    padding = 1 - num_rows / (per_epoch * batch_size)
    return Batches(at, per_epoch, batch_size, WeightedBatch._make((axes, 0)), padding)


def rest_size(rest: str, left_over: int) -> int:
    """Returns the size of the last, smaller batch of an epoch; 0 if the rest is dropped.

    Args:
      rest: "drop" or "keep".
      left_over: rows or steps that do not fill a batch.

    Returns:
      0 or `left_over`.

    Raises:
      ValueError: if `rest` is neither.

    Examples:
      >>> rest_size("drop", 3), rest_size("keep", 3)
      (0, 3)
    """
    if rest not in RESTS:
        raise ValueError(f"rest: got {rest!r}, expected one of {', '.join(RESTS)}")
    return left_over if rest == "keep" else 0


def take_rows(arrays: Any, axes: Any, rows: np.ndarray) -> Any:
    """Returns a copy of the rows of a pytree of arrays, along the axis that `axes` has for each.

    Examples:
      >>> take_rows({"xs": np.ones((5, 10, 3))}, {"xs": 1}, np.array([0, 2]))["xs"].shape
      (5, 2, 3)
    """
    return jax.tree.map(lambda array, axis: np.take(array, rows, axis), arrays, axes)


def _checked_rows(arrays: Any, axis: Any) -> tuple[Any, Any, int]:
    """Returns the arrays as NumPy's, an axis for each, and the number of their rows."""
    arrays = jax.tree.map(np.asarray, arrays)
    try:
        axes = jax.tree.broadcast(axis, arrays)
    except ValueError:
        raise ValueError(
            f"axis: got {axis}, expected a number, or numbers in the structure of the arrays"
        ) from None
    jax.tree.map(lambda each: whole_number("axis", each, 0), axes)
    found: dict[str, int] = {}
    for (path, leaf), each in zip(
        jax.tree.leaves_with_path(arrays), jax.tree.leaves(axes), strict=True
    ):
        name = f"arrays{jax.tree_util.keystr(path)}"
        if leaf.ndim <= each:
            raise ValueError(f"{name}: got shape {leaf.shape}, expected rows along axis {each}")
        found[name] = leaf.shape[each]
    first = next(iter(found), "")
    if not found or not found[first]:
        raise ValueError("arrays: got no rows, expected at least one")
    for name, size in found.items():
        if size != found[first]:
            raise ValueError(f"{name}: got {size} rows, expected the {found[first]} of {first}")
    return arrays, axes, found[first]
