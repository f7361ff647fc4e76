"""Parallel streams of one long series, for truncated backpropagation through time."""

from typing import Any, NamedTuple

import numpy as np

from seqmodels.data.batches import Batches, rest_size
from seqmodels.data.shuffling import make_share, whole_number


class StreamBatch(NamedTuple):
    """The same steps of B parallel streams.

    Attributes:
      inputs: (T, B, ...).
      targets: (T, B, ...), the inputs one step later.
      begins: bool (B,), true in the first piece of an epoch, where the carried state must be reset.
        As `resets` of an unroll it is `jnp.zeros((T, B), bool).at[0].set(begins)`.
    """

    inputs: np.ndarray
    targets: np.ndarray
    begins: np.ndarray


def contiguous(
    series: Any,
    batch_size: int,
    length: int,
    *,
    rest: str = "drop",
    process: int = 0,
    num_processes: int = 1,
) -> Batches:
    """Returns the pieces of a series that is cut into B parallel streams.

    Stream b is the steps b * S to b * S + S, where S = (N - 1) // B; the last step is only a
    target. The fewer than B remaining steps of the series are left out. Batch n of an epoch is the
    steps n * length to (n + 1) * length of each stream. So the final state of a batch is the
    initial state of the next.

    Args:
      series: (N, ...), tokens or features, such as a NumPy memory map.
      batch_size: B, streams over all processes.
      length: T, the steps of a piece.
      rest: "drop" leaves out the S % T steps at the end of each stream; "keep" makes them a last,
        shorter piece. With B = 1 and "keep" every step of the series is predicted once.
      process: the number of this process, from 0.
      num_processes: how many processes load a share of the streams.

    Returns:
      `Batches` of `StreamBatch`.

    Raises:
      ValueError: if the series is too short for so many streams or such long pieces, or an argument
        is out of its range.
    """
    series = np.asarray(series)
    if not series.ndim or len(series) < 2:
        raise ValueError(f"series: got shape {series.shape}, expected (N, ...) with N at least 2")
    share = make_share(batch_size, process, num_processes)
    length = whole_number("length", length, 1)
    if batch_size > len(series) - 1:
        raise ValueError(
            f"batch_size: got {batch_size}, expected at most the {len(series) - 1} steps of the "
            "series that have a next one"
        )
    steps = (len(series) - 1) // batch_size
    per_epoch = steps // length + bool(rest_size(rest, steps % length))
    if not per_epoch:
        raise ValueError(f"length: got {length}, expected at most the {steps} steps of a stream")
    starts = share.of(steps * np.arange(batch_size))

    def at(cursor: int) -> StreamBatch:
        number = whole_number("cursor", cursor, 0) % per_epoch
        first, last = number * length, min((number + 1) * length, steps)
        where = np.arange(first, last)[:, None] + starts
        return StreamBatch(series[where], series[where + 1], np.full(len(starts), number == 0))

    return Batches(at, per_epoch, batch_size, StreamBatch._make((1, 1, 0)))
