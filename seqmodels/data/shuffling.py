"""Random orders determined by a seed, and the share of a batch that each process loads."""

import operator
from typing import NamedTuple

import numpy as np

LARGEST_SEED = 2**64 - 1


def whole_number(name: str, value: object, least: int, most: int | None = None) -> int:
    """Returns `value` as an int.

    Args:
      name: the value's name in the error.
      value: a Python or NumPy integer.
      least: the smallest number that is allowed.
      most: the largest number that is allowed; None for no limit.

    Returns:
      The number.

    Raises:
      ValueError: if it is not a whole number, or out of range.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = least - 1
    if number < least or (most is not None and number > most):
        span = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name}: got {value}, expected a whole number {span}")
    return number


def random_order(size: int, seed: int, epoch: int, stream: int = 0) -> np.ndarray:
    """Returns a random permutation of 0 to size - 1, the same on every machine.

    It is the order of a stable sort of the raw 64-bit outputs of the generator Philox4x64-10. The
    key is (seed, epoch), and the counter (0, 0, 0, stream). Salmon, Moraes, Dror, Shaw 2011,
    "Parallel random numbers: as easy as 1, 2, 3". NumPy guarantees that these outputs never change,
    which it does not for `Generator.permutation`.

    Args:
      size: the number of entries.
      seed: from 0 to 2^64 - 1.
      epoch: from 0 to 2^64 - 1.
      stream: a number that makes orders for different purposes independent.

    Returns:
      int64 (size,).
    """
    key, counter = np.array([seed, epoch], np.uint64), np.array([0, 0, 0, stream], np.uint64)
    return np.argsort(np.random.Philox(key=key, counter=counter).random_raw(size), kind="stable")


class Share(NamedTuple):
    """The share of every batch that one process loads.

    Attributes:
      process: the number of the process, from 0.
      num_processes: the number of processes.
    """

    process: int
    num_processes: int

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Returns this process's contiguous part of the rows of a batch.

        Args:
          rows: an array whose first axis counts the rows, a multiple of `num_processes`.

        Returns:
          The part. The parts of all processes, one after the other, are `rows`.
        """
        size = len(rows) // self.num_processes
        return rows[self.process * size : (self.process + 1) * size]


def make_share(batch_size: int, process: int, num_processes: int) -> Share:
    """Returns the `Share` of a process.

    Args:
      batch_size: rows of a batch over all processes.
      process: the number of the process, from 0.
      num_processes: the number of processes.

    Returns:
      A `Share`.

    Raises:
      ValueError: if a number is out of range, or the processes do not divide the batch.
    """
    num_processes = whole_number("num_processes", num_processes, 1)
    process = whole_number("process", process, 0, num_processes - 1)
    if whole_number("batch_size", batch_size, 1) % num_processes:
        raise ValueError(
            f"batch_size: got {batch_size}, expected a multiple of the {num_processes} processes"
        )
    return Share(process, num_processes)
