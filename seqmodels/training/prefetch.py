"""Prefetching: one thread makes batches and places them on devices ahead of their use."""

import collections
import contextlib
import functools
import itertools
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np


def prefetch(
    at: Callable[[int], Any],
    start: int,
    stop: int | None = None,
    *,
    place: Callable[[Any], Any] = jax.device_put,
    depth: int = 2,
) -> Generator[tuple[int, Any], None, None]:
    """Returns an iterator of (cursor, batch) whose batches are made ahead by one thread.

    At most `depth` batches are ready or in progress. The thread starts at the first request. An
    error in `at` or `place` is raised unchanged when its batch is requested. Closing or deleting
    the iterator ends the thread after the current batch. To close it in every case:

        with contextlib.closing(prefetch(batches.at, cursor, place=place)) as ahead:
            for cursor, batch in ahead:

    Args:
      at: `at(cursor) -> batch`, such as `Batches.at`; called from another thread.
      start: the first cursor.
      stop: the cursor to end before; None for an endless iterator.
      place: puts a batch on the device or devices, in that thread too.
      depth: how many batches ahead, at least 1.

    Returns:
      A generator.

    Raises:
      ValueError: if depth is less than 1, or start is negative.
    """
    if depth < 1:
        raise ValueError(f"depth: got {depth}, expected at least 1")
    if start < 0:
        raise ValueError(f"start: got {start}, expected at least 0")
    cursors = itertools.count(start) if stop is None else iter(range(start, stop))
    return _ahead(lambda cursor: place(at(cursor)), cursors, depth)


def prefetch_dispatches(
    at: Callable[[int], Any],
    steps: int,
    *,
    place: Callable[[Any], Any] = jax.device_put,
    depth: int = 2,
) -> Callable[[int], Iterator[Any]]:
    """Returns `batches` for `fit` that makes the batches of whole dispatches ahead.

    Args:
      at: `at(cursor) -> batch`, such as `Batches.at`; with more than one step a dispatch, batches
        must have the same shapes.
      steps: number of steps in a dispatch; they become a leading axis.
      place: as in `prefetch`, for batches with that axis.
      depth: how many dispatches ahead, at least 1.

    Returns:
      `batches(cursor) -> iterator`.
    """

    def stacked(first: int, number: int) -> Any:
        several = [at(first + number * steps + step) for step in range(steps)]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *several)

    def batches(cursor: int) -> Iterator[Any]:
        ahead = prefetch(functools.partial(stacked, cursor), 0, place=place, depth=depth)
        with contextlib.closing(ahead):
            for _, batch in ahead:
                yield batch

    return batches


def _ahead(
    make: Callable[[int], Any], cursors: Iterator[int], depth: int
) -> Generator[tuple[int, Any], None, None]:
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
    pending: collections.deque[tuple[int, Future[Any]]] = collections.deque()

    def submit(number: int) -> None:
        pending.extend((c, pool.submit(make, c)) for c in itertools.islice(cursors, number))

    try:
        submit(depth)
        while pending:
            cursor, future = pending.popleft()
            batch = future.result()
            # One more may begin only when this batch is about to be yielded.
            submit(1)
            yield cursor, batch
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
