"""The folder of one run: made with care, gone on with, never overwritten without being asked."""

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any, Self

import jax
import numpy as np

from seqmodels.training.checkpointing.manifest import settings_difference
from seqmodels.training.errors import RunError

RESULTS = "results.json"
METRICS = "metrics.jsonl"
FLAGS = "flags.txt"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
MODELS = "models"
RATIOS = "ratios.png"
PLOTS = ("accuracy_by_distance.png", "gradient_by_distance.png", RATIOS)
_LOCK = ".lock"
_FILES = (RESULTS, METRICS, FLAGS, *PLOTS)
_FOLDERS = (CHECKPOINTS, TENSORBOARD, MODELS)


def stored_results(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Returns what results.json of a folder holds; None if there is no such file.

    Raises:
      RunError: if it cannot be read, or is no JSON object.
    """
    file = pathlib.Path(path) / RESULTS
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RunError(f"run_dir: {file} cannot be read: {error.strerror}") from None
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("flags", {}), dict):
        raise RunError(f"run_dir: {file} is not what a run writes; give another name")
    return found


class RunFolder:
    """A folder that holds flags.txt, metrics.jsonl, results.json, checkpoints, models and pictures.

    While it is open no other process can open it. Use it as a context manager, or close it.

    Attributes:
      path: the folder.
      results: of the unfinished run that goes on here; None for a new run.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        settings: dict[str, Any] | None = None,
    ):
        """Makes the folder, takes an existing one that holds no run, or goes on with an unfinished.

        Args:
          path: the folder.
          overwrite: whether the files of an earlier run in it, and its folders of checkpoints, of
            event files and models, may be replaced; other files stay.
          settings: the flags that decide the run, JSON; an unfinished run of the same ones (its
            results.json has them as "flags") goes on. None for runs that cannot.

        Raises:
          RunError: if the folder holds another run, or a finished one, or is in use, or cannot be
            made or written.
        """
        self.path = pathlib.Path(path)
        self.results: dict[str, Any] | None = None
        self._lock_file = -1
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock()
            found = [name for name in (*_FILES, *_FOLDERS) if (self.path / name).exists()]
            if found and not overwrite:
                self.results = self._unfinished(found, settings)
            if self.results is None:
                self._clear(found)
            (self.path / METRICS).touch()
        except OSError as error:
            self.close()
            raise RunError(
                f"run_dir: {self.path} cannot be written: {error.strerror or error}"
            ) from None
        except RunError:
            self.close()
            raise

    def _lock(self) -> None:
        # The system frees it when the process ends, however it ends.
        self._lock_file = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"run_dir: {self.path} is in use by another process") from None

    def _unfinished(
        self, found: list[str], settings: dict[str, Any] | None
    ) -> dict[str, Any] | None:
        """Returns the results of the run to go on with; None if it got nowhere; else RunError."""
        results = stored_results(self.path)
        if settings is not None and results is None and not set(found) & set(_FOLDERS):
            return None
        if settings is None or results is None:
            raise RunError(
                f"run_dir: {self.path} already holds a run ({found[0]}); give another name, or "
                "--overwrite"
            )
        different = settings_difference(results.get("flags", {}), settings)
        if different:
            raise RunError(
                f"run_dir: {self.path} holds a run of other flags: {different}; give another name, "
                "or --overwrite"
            )
        if results.get("complete"):
            raise RunError(
                f"run_dir: {self.path} holds this run, finished; give another name, or --overwrite"
            )
        return results

    def _clear(self, found: list[str]) -> None:
        for name in found:
            path = self.path / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets other processes open the folder."""
        if self._lock_file >= 0:
            os.close(self._lock_file)
            self._lock_file = -1

    def write_text(self, name: str, text: str) -> None:
        """Writes a file of the run; a reader sees the old one or the new one, never a half."""
        partial = self.path / f".{name}.partial"
        with cannot_be_written(str(self.path / name)):
            partial.write_text(text, encoding="utf-8")
            partial.replace(self.path / name)

    def write_json(self, name: str, value: Any) -> None:
        """Writes `value` as indented JSON; a number that is not finite becomes null."""
        self.write_text(name, json.dumps(json_value(value), indent=1) + "\n")


def json_value(value: Any) -> Any:
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
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
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
