"""Run directories: create, resume, never overwrite implicitly."""

import fcntl
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, Self

from seqmodels.training.checkpointing.checkpoints import Checkpoints, print_line
from seqmodels.training.checkpointing.manifest import settings_difference
from seqmodels.training.errors import RunError
from seqmodels.training.files import cannot_be_written, json_value
from seqmodels.training.metrics import MetricsLog

RESULTS = "results.json"
_METRICS = "metrics.jsonl"
_SETTINGS = "flags.txt"
_CHECKPOINTS = "checkpoints"
_TENSORBOARD = "tensorboard"
_MODELS = "models"
_MARK = ".run.json"  # which program wrote this directory, and which files are its own
_LOCK = ".lock"
_FORMAT = 2
_OWN = (RESULTS, _METRICS, _SETTINGS, _CHECKPOINTS, _TENSORBOARD, _MODELS)


def stored_results(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Returns the results.json of a directory; None if there is no such file.

    Raises:
      RunError: if it cannot be read, or is not a JSON object.
    """
    file = pathlib.Path(path) / RESULTS
    found = _read_object(file)
    if found is not None and not isinstance(found.get("flags", {}), dict):
        raise RunError(f"run_dir: {file} is not what a run writes; use another directory")
    return found


def model_path(path: str | os.PathLike[str], name: str) -> pathlib.Path:
    """Returns where a run keeps the trained model of a name such as "lstm-0"."""
    return pathlib.Path(path) / _MODELS / name


def run_of_model(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the directory of the run to which the directory of a model belongs."""
    return pathlib.Path(path).resolve().parents[1]


class RunDirectory:
    """A directory with the settings, metrics, results, checkpoints, models and pictures of a run.

    While it is open no other process can open it. Use it as a context manager, or close it. Only
    what a run of this library wrote, which the directory's mark lists by name, is ever removed.

    Attributes:
      path: the directory.
      writes: whether this process writes; of several processes only one does.
      results: results.json of the unfinished run that is resumed; None for a new run.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        program: str,
        settings: dict[str, Any] | None = None,
        overwrite: bool = False,
        writes: bool = True,
        files: Sequence[str] = (),
        keep_checkpoints: int = 2,
        tensorboard: bool = True,
    ):
        """Creates the directory, or resumes the unfinished run that it holds.

        Args:
          path: the directory.
          program: the name of the experiment.
          settings: everything that decides the run, JSON. An unfinished run with the same settings
            (the "flags" of its results.json) is resumed. None for runs that cannot be resumed.
          overwrite: whether the files of an earlier run in it may be replaced; other files stay.
          writes: False where another process writes: then nothing on the disk is changed.
          files: names of further files that the run is going to write, such as pictures.
          keep_checkpoints: how many of the newest checkpoints of a training stay.
          tensorboard: whether event files are written.

        Raises:
          RunError: if the directory holds another run, or a finished one, or files of these names
            that are not those of a run, or is in use, or cannot be created or written.
        """
        self.path = pathlib.Path(path)
        self.writes = writes
        self.results: dict[str, Any] | None = None
        self._settings, self._keep, self._tensorboard = settings, keep_checkpoints, tensorboard
        self._lock_file = -1
        self._elsewhere: tempfile.TemporaryDirectory[str] | None = None
        self._files = [*_OWN, *files]
        if not writes:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock()
            removed, self.results = _plan(self.path, program, settings, overwrite, self._files)
            self._clear(removed)
            mark = {"format": _FORMAT, "program": program, "files": self._files}
            self._replace(_MARK, json.dumps(mark) + "\n")
            (self.path / _METRICS).touch()
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

    def _clear(self, names: Sequence[str]) -> None:
        for name in names:
            path = self.path / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets other processes open the directory."""
        if self._lock_file >= 0:
            os.close(self._lock_file)
            self._lock_file = -1
        if self._elsewhere is not None:
            self._elsewhere.cleanup()
            self._elsewhere = None

    def checkpoints(self, name: str, report: Callable[[str], None] = print_line) -> Checkpoints:
        """Returns the checkpoints of the training of that name.

        Args:
          name: such as "lstm-0".
          report: receives a line about a checkpoint that is damaged.
        """
        return Checkpoints(
            self.path / _CHECKPOINTS / name,
            keep=self._keep,
            settings=self._settings,
            report=report,
            writes=self.writes,
        )

    def metrics_log(self) -> MetricsLog:
        """Returns metrics.jsonl, opened; where another process writes it records nothing."""
        return MetricsLog(self.path / _METRICS, writes=self.writes)

    def events(self, name: str) -> pathlib.Path | None:
        """Returns the folder of the event files of the training of that name; None for none."""
        return self.path / _TENSORBOARD / name if self.writes and self._tensorboard else None

    def model(self, name: str) -> pathlib.Path:
        """Returns where to save the trained model of that name.

        Where another process writes it is a temporary place, removed by `close`.
        """
        if self.writes:
            return model_path(self.path, name)
        if self._elsewhere is None:
            self._elsewhere = tempfile.TemporaryDirectory()
        return model_path(self._elsewhere.name, name)

    def file(self, name: str) -> pathlib.Path:
        """Returns the path of a further file of the run, such as a picture.

        Raises:
          ValueError: if it is not one of the `files` that the directory was opened with.
        """
        if name not in self._files:
            raise ValueError(f"file: got {name!r}, expected one of {', '.join(self._files)}")
        return self.path / name

    def write_settings(self, text: str) -> None:
        """Writes the text of a file that repeats the run (flags.txt)."""
        self.write_text(_SETTINGS, text)

    def write_results(self, value: dict[str, Any]) -> None:
        """Writes results.json; a number that is not finite becomes null."""
        self.write_text(RESULTS, json.dumps(json_value(value), indent=1) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Writes a file of the run atomically: a reader sees the old text or the new one."""
        if self.writes:
            self.file(name)
            self._replace(name, text)

    def _replace(self, name: str, text: str) -> None:
        partial = self.path / f".{name}.partial"
        with cannot_be_written(str(self.path / name)):
            partial.write_text(text, encoding="utf-8")
            partial.replace(self.path / name)


def check_run_directory(
    path: str | os.PathLike[str],
    *,
    program: str,
    settings: dict[str, Any] | None = None,
    overwrite: bool = False,
    files: Sequence[str] = (),
) -> None:
    """Checks whether a run can use a directory, before anything is computed; changes nothing.

    Args and raises as `RunDirectory`, but for failures to write.
    """
    _plan(pathlib.Path(path), program, settings, overwrite, [*_OWN, *files])


def _plan(
    path: pathlib.Path,
    program: str,
    settings: dict[str, Any] | None,
    overwrite: bool,
    files: Sequence[str],
) -> tuple[list[str], dict[str, Any] | None]:
    """Returns the names of the files to remove, and the results of the run to resume or None."""
    marked = _marked(path)
    own = [] if marked is None else marked["files"]
    for name in files:
        if name not in own and os.path.lexists(path / name):
            raise RunError(
                f"run_dir: {path} holds {name}, which a run of this version did not write; use "
                "another directory"
            )
    held = [name for name in own if os.path.lexists(path / name)]
    if marked is None or not held or overwrite:
        return held, None
    results = stored_results(path)
    more = [name for name in held if name not in (_SETTINGS, _METRICS)]
    if settings is not None and not more:
        return held, None  # the run ended before its first result
    if settings is None or results is None:
        raise RunError(
            f"run_dir: {path} already holds a run ({(more or held)[0]}); use another directory, or "
            "overwrite it"
        )
    different = settings_difference(results.get("flags", {}), settings)
    if marked.get("program") != program:
        different = f"program {marked.get('program')} there, {program} got"
    if different:
        raise RunError(
            f"run_dir: {path} holds a run of other options: {different}; use another directory, "
            "or overwrite it"
        )
    if results.get("complete"):
        raise RunError(
            f"run_dir: {path} holds this run, finished; use another directory, or overwrite it"
        )
    return [], results


def _marked(path: pathlib.Path) -> dict[str, Any] | None:
    """Returns the mark of the run in a directory; None if there is no run."""
    found = _read_object(path / _MARK)
    if found is None:
        return None
    names = found.get("files")
    plain = isinstance(names, list) and all(
        isinstance(name, str) and name == pathlib.Path(name).name for name in names
    )
    if found.get("format") != _FORMAT or not plain:
        raise RunError(
            f"run_dir: {path} holds a run of format {found.get('format')}, expected {_FORMAT}; use "
            "another directory"
        )
    return found


def _read_object(file: pathlib.Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RunError(f"run_dir: {file} cannot be read: {error.strerror}") from None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise RunError(f"run_dir: {file} is not what a run writes; use another directory")
    return found
