"""The folder of one run: made with care, never overwritten without being asked."""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

RESULTS = "results.json"
METRICS = "metrics.jsonl"
FLAGS = "flags.txt"
RATIOS = "ratios.png"
PLOTS = ("accuracy_by_distance.png", "gradient_by_distance.png", RATIOS)
_FILES = (RESULTS, METRICS, FLAGS, *PLOTS)


class RunFolder:
    """A folder that holds `flags.txt`, `metrics.jsonl`, `results.json` and plots."""

    def __init__(self, path: str | os.PathLike[str], *, overwrite: bool = False):
        """Makes the folder, or takes an existing one that holds no run.

        Args:
          path: the folder.
          overwrite: whether the files of an earlier run in it may be replaced; other files stay.

        Raises:
          ValueError: if the folder holds a run, or cannot be made or written.
        """
        self.path = pathlib.Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            found = [name for name in _FILES if (self.path / name).exists()]
            if found and not overwrite:
                raise ValueError(
                    f"run_dir: {self.path} already holds a run ({found[0]}); "
                    "give another name, or --overwrite"
                )
            (self.path / METRICS).write_text("", encoding="utf-8")
            for name in set(found) - {METRICS}:
                (self.path / name).unlink()
        except OSError as error:
            raise ValueError(f"run_dir: {self.path} cannot be written: {error.strerror}") from None

    def write_text(self, name: str, text: str) -> None:
        """Writes a file of the run; a reader sees the old one or the new one, never a half."""
        partial = self.path / f".{name}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(self.path / name)

    def write_json(self, name: str, value: Any) -> None:
        """Writes `value` as indented JSON; a number that is not finite becomes null."""
        self.write_text(name, json.dumps(finite(value), indent=1) + "\n")

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Appends one line to metrics.jsonl."""
        with open(self.path / METRICS, "a", encoding="utf-8") as file:
            file.write(json.dumps(finite(record)) + "\n")


def finite(value: Any) -> Any:
    """Returns `value` as JSON can hold it.

    Args:
      value: numbers, text, and arrays, alone or in dictionaries, lists and tuples.

    Returns:
      The same with lists for tuples and for NumPy's and JAX's arrays, Python's numbers for theirs,
      text for the keys of dictionaries, and None for every number that is not finite.
    """
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not -float("inf") < value < float("inf"):
        return None
    return value


@contextlib.contextmanager
def cannot_be_written(name: str) -> Iterator[None]:
    """Makes an OSError inside one line, such as "NAME cannot be written: Permission denied"."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        told = OSError(f"{name} cannot be written: {reason}")
        told.errno = error.errno
        raise told from None
