"""Run directories: create, resume, never overwrite implicitly."""

import contextlib
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

from seqmodels.storage import locks
from seqmodels.training import tensorboard as event_files
from seqmodels.training.checkpointing.checkpoints import Checkpoints, print_line
from seqmodels.training.checkpointing.manifest import settings_difference
from seqmodels.training.errors import RunError
from seqmodels.training.files import cannot_be_written, json_value
from seqmodels.training.metrics import MetricsLog
from seqmodels.training.ownership import (
    CHECKPOINTS,
    EVENTS,
    FOLDERS,
    MODELS,
    RESULTS,
    Ownership,
    read_object,
)

_METRICS = "metrics.jsonl"
_SETTINGS = "flags.txt"
_LOCK = ".lock"
_OWN = (RESULTS, _METRICS, _SETTINGS, *FOLDERS)


class _Plan(NamedTuple):
    """The decision about a directory: new run, resume or replace.

    Attributes:
      resumed: the mark of the run that is resumed; None for a new run.
      results: the results.json of the run that is resumed.
      replaced: the mark of the run whose files are removed; None for no such run.
    """

    resumed: Ownership | None
    results: dict[str, Any] | None
    replaced: Ownership | None


def stored_results(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Returns the results.json of a directory; None if there is no such file.

    Raises:
      RunError: if it cannot be read, or is not a JSON object.
    """
    file = pathlib.Path(path) / RESULTS
    found = read_object(file)
    if found is not None and not isinstance(found.get("flags", {}), dict):
        raise RunError(f"run_dir: {file} is not what a run writes; use another directory")
    return found


def model_path(path: str | os.PathLike[str], name: str) -> pathlib.Path:
    """Returns where a run keeps the trained model of a name such as "lstm-0"."""
    return pathlib.Path(path) / MODELS / name


def run_of_model(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the directory of the run to which the directory of a model belongs."""
    return pathlib.Path(path).resolve().parents[1]


class RunDirectory:
    """A directory with the settings, metrics, results, checkpoints, models and pictures of a run.

    While it is open no other process can open it. Use it as a context manager, or close it. Only
    what a run of this library wrote is ever removed or replaced, as `ownership` proves it.

    Attributes:
      path: the directory.
      writes: whether this process writes; of several processes only one does.
      results: results.json of the unfinished run that is resumed; None for a new run.
      run: the random id of the run; "" where another process writes.
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
          overwrite: whether an earlier run in it may be replaced that is finished, or has other
            settings; an unfinished one with the same settings is resumed. Other files stay.
          writes: False if another process writes: then nothing on the disk is changed.
          files: names of further files that the run is going to write, such as pictures.
          keep_checkpoints: how many of the newest checkpoints of a training stay.
          tensorboard: whether event files are written.

        Raises:
          RunError: if the directory holds another run, a finished run, or files of these names that
            the run did not write. Also if it is in use, or cannot be created or written.
        """
        self.path = pathlib.Path(path)
        self.run = ""
        self.writes = writes
        self.results: dict[str, Any] | None = None
        self._settings, self._keep, self._tensorboard = settings, keep_checkpoints, tensorboard
        self._lock_file = -1
        self._elsewhere: tempfile.TemporaryDirectory[str] | None = None
        self._mark: Ownership | None = None
        self._files = [*_OWN, *files]
        if not writes:
            return
        try:
            # Checked before any write, because the directory may belong to the user.
            _plan(self.path, program, settings, overwrite, self._files)
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock()
            plan = _plan(self.path, program, settings, overwrite, self._files)
            self.results = plan.results
            if plan.replaced is not None:
                plan.replaced.remove()
            self._mark = plan.resumed or Ownership(self.path, program, self._files)
            self._mark.adopt(self._files)
            if plan.replaced is not None:
                self._mark.inherit(plan.replaced)
            self.run = self._mark.run
            self._mark.save()
            self._mark.claim(_METRICS)
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
        # The system releases the lock when the process ends, in any way.
        self._lock_file = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            locks.lock(self._lock_file, f"run_dir: {self.path}")
        except BlockingIOError:
            raise RunError(f"run_dir: {self.path} is in use by another process") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Records the written files and unlocks the directory."""
        if self._mark is not None and self._lock_file >= 0:
            # A file without a record counts as one that a killed process was writing.
            with contextlib.suppress(OSError):
                self._mark.settle()
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
        self._claim(f"{CHECKPOINTS}/{name}")
        return Checkpoints(
            self.path / CHECKPOINTS / name,
            keep=self._keep,
            settings=self._settings,
            report=report,
            writes=self.writes,
        )

    def metrics_log(self) -> MetricsLog:
        """Returns metrics.jsonl, opened; it records nothing if another process writes."""
        self._claim(_METRICS)
        return MetricsLog(self.path / _METRICS, writes=self.writes)

    def events(self, name: str) -> pathlib.Path | None:
        """Returns the folder of the event files of the training of that name; None for none."""
        if not self.writes or not self._tensorboard:
            return None
        self._claim(f"{EVENTS}/{name}")
        self._name_events()
        return self.path / EVENTS / name

    def model(self, name: str) -> pathlib.Path:
        """Returns the path for the trained model of that name.

        If another process writes, it is a temporary path that `close` removes.
        """
        if self.writes:
            self._claim(f"{MODELS}/{name}")
            return model_path(self.path, name)
        if self._elsewhere is None:
            self._elsewhere = tempfile.TemporaryDirectory()
        return model_path(self._elsewhere.name, name)

    def file(self, name: str) -> pathlib.Path:
        """Returns the path of a further file of the run, such as a picture.

        Raises:
          ValueError: if it is not one of the `files` that the directory was opened with.
          RunError: if a file that the run did not write has this name.
        """
        if name not in self._files:
            raise ValueError(f"file: got {name!r}, expected one of {', '.join(self._files)}")
        self._claim(name)
        return self.path / name

    def write_settings(self, text: str) -> None:
        """Writes flags.txt, the options with which the run can be repeated."""
        self.write_text(_SETTINGS, text)

    def write_results(self, value: dict[str, Any]) -> None:
        """Writes results.json; a number that is not finite becomes null."""
        self.write_text(RESULTS, json.dumps(json_value(value), indent=1) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Writes a file of the run atomically: a reader sees the old text or the new one."""
        if self.writes:
            self.file(name)
            assert self._mark is not None
            self._mark.replace(name, text)

    def _name_events(self) -> None:
        """Writes the run's id next to the event files, whose names then contain it."""
        assert self._mark is not None
        named = f"{EVENTS}/{event_files.RUN}"
        if not (self.path / named).exists():
            with cannot_be_written(str(self.path / EVENTS)):
                (self.path / EVENTS).mkdir(exist_ok=True)
                self._mark.claim(named)
                (self.path / named).write_text(f"{self.run}\n")

    def _claim(self, name: str) -> None:
        if self._mark is not None:
            self._mark.claim(name)


def check_run_directory(
    path: str | os.PathLike[str],
    *,
    program: str,
    settings: dict[str, Any] | None = None,
    overwrite: bool = False,
    files: Sequence[str] = (),
) -> None:
    """Checks whether a run can use a directory, before anything is computed; changes nothing.

    Arguments and errors are those of `RunDirectory`, except failures to write.
    """
    _plan(pathlib.Path(path), program, settings, overwrite, [*_OWN, *files])


def _plan(
    path: pathlib.Path,
    program: str,
    settings: dict[str, Any] | None,
    overwrite: bool,
    files: Sequence[str],
) -> _Plan:
    """Returns the decision about the directory; RunError if the run cannot use it."""
    mark = Ownership.read(path)
    known = [] if mark is None else mark.names
    for name in files:
        if name not in known and os.path.lexists(path / name):
            raise RunError(
                f"run_dir: {path} holds {name}, which a run of this version did not write; use "
                "another directory"
            )
    held = [name for name in known if os.path.lexists(path / name)]
    if mark is None or not held:
        return _Plan(None, None, mark)
    results = stored_results(path)
    difference = _difference(mark, program, settings, results)
    if results is not None and difference is None and not results.get("complete"):
        _refuse(mark, mark.foreign_files())
        return _Plan(mark, results, None)
    more = [name for name in held if name not in (_SETTINGS, _METRICS)]
    ended_early = settings is not None and not more  # before its first result
    if not overwrite and not ended_early:
        raise RunError(_refusal(path, results, difference, (more or held)[0]))
    _refuse(mark, mark.foreign())
    return _Plan(None, None, mark)


def _difference(
    mark: Ownership, program: str, settings: dict[str, Any] | None, results: dict[str, Any] | None
) -> str | None:
    """Returns the difference of the run in a directory from this run; "" if it has no options."""
    if settings is None or results is None:
        return ""
    if mark.program != program:
        return f"program {mark.program} there, {program} got"
    return settings_difference(results.get("flags", {}), settings)


def _refusal(
    path: pathlib.Path, results: dict[str, Any] | None, difference: str | None, held: str
) -> str:
    if difference:
        return (
            f"run_dir: {path} holds a run of other options: {difference}; use another directory, "
            "or overwrite it"
        )
    if difference is None and results is not None:
        return f"run_dir: {path} holds this run, finished; use another directory, or overwrite it"
    return f"run_dir: {path} already holds a run ({held}); use another directory, or overwrite it"


def _refuse(mark: Ownership, foreign: Sequence[str]) -> None:
    for name in foreign:
        raise RunError(mark.refusal(name))
