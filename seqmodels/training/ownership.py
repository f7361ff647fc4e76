"""Ownership of files in a run directory: the mark of the run, and a check of each file.

The mark `.run.json` names the program, the run's own random id, and every file that the run has
written or is about to write. A name alone proves nothing. A file is the run's if it is in the mark
and

- has the SHA-256 that the mark noted when the directory was closed, or
- was being written when the process was killed, which the mark noted before, or
- carries the id: results.json and event files.

Models are verified by the digests in their model.json, checkpoints by those in their manifests.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import secrets
import stat
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

from seqmodels.training.checkpointing import manifest, step_directories
from seqmodels.training.errors import RunError
from seqmodels.training.files import cannot_be_written

MARK = ".run.json"
FORMAT = 3
MODELS, CHECKPOINTS, EVENTS = "models", "checkpoints", "tensorboard"
FOLDERS = (MODELS, CHECKPOINTS, EVENTS)
RESULTS, METRICS = "results.json", "metrics.jsonl"
_DESCRIPTION = "model.json"  # of `seqmodels.model_files`
_OPEN = "open"  # the state of a file that is being written
_PARTIAL = "partial"  # of a model that a killed process was writing
_ID_LENGTH = 16
_PROOFS = (_DESCRIPTION, manifest.FILE)


class _Contents(NamedTuple):
    """The files and folders found under one name of a mark.

    Attributes:
      own: files of the run.
      folders: folders of the run, the inner ones first.
      blocking: files that the run did not write and would overwrite.
    """

    own: list[pathlib.Path]
    folders: list[pathlib.Path]
    blocking: list[pathlib.Path]


class Ownership:
    """The mark of a run in its directory, and the files that it identifies.

    Attributes:
      program: the name of the experiment.
      run: the run's random id, hexadecimal digits.
      names: names of files and folders that the run may write at the top of the directory.
    """

    def __init__(self, folder: pathlib.Path, program: str, names: Sequence[str]):
        """Makes a new mark; `save` writes it to disk."""
        self.program, self.run = program, secrets.token_hex(_ID_LENGTH // 2)
        self.names = list(dict.fromkeys(names))
        self._folder = folder
        self._states: dict[str, str] = {}

    @classmethod
    def read(cls, folder: pathlib.Path) -> Self | None:
        """Returns the mark in a directory; None if there is none.

        Raises:
          RunError: if the mark has another format, or cannot be read.
        """
        found = read_object(folder / MARK)
        if found is None:
            return None
        names, states, run = found.get("files"), found.get("states"), found.get("run")
        valid = found.get("format") == FORMAT
        valid = valid and isinstance(names, list) and all(map(_is_plain, names))
        valid = valid and isinstance(states, dict) and all(map(_is_known, states))
        valid = valid and isinstance(found.get("program"), str)
        if not valid or not isinstance(run, str) or len(run) != _ID_LENGTH or not run.isalnum():
            raise RunError(
                f"run_dir: {folder} holds a run of format {found.get('format')}, expected "
                f"{FORMAT}; use another directory"
            )
        mark = cls(folder, found["program"], found["files"])
        mark.run, mark._states = run, dict(found["states"])
        return mark

    def save(self) -> None:
        """Writes the mark atomically."""
        body = {
            "format": FORMAT, "program": self.program, "run": self.run, "files": self.names,
            "states": self._states,
        }  # fmt: skip
        self.replace(MARK, json.dumps(body, indent=1) + "\n")

    def replace(self, name: str, text: str) -> None:
        """Writes a file atomically: a reader sees the old text or the new one."""
        # The id makes its name differ from every file of the user.
        partial = self._folder / f".{name}.{self.run}.partial"
        with cannot_be_written(str(self._folder / name)):
            partial.write_text(text, encoding="utf-8")
            partial.replace(self._folder / name)

    def claim(self, name: str) -> None:
        """Records, before the write, that the run will write a file, model or folder.

        Args:
          name: such as "forecast.png" or "models/lstm-0".

        Raises:
          RunError: if a file that the run did not write is in its place.
        """
        if self._states.get(name) == _OPEN:
            return
        if os.path.lexists(self._folder / name) and not self._is_own(name):
            raise RunError(self.refusal(name))
        self._states[name] = _OPEN
        self.save()

    def settle(self) -> None:
        """Records the digests of all written files; call it after the last write."""
        for name, state in list(self._states.items()):
            path = self._folder / name
            place = path / _DESCRIPTION if name.startswith(f"{MODELS}/") else path
            if state == _OPEN and place.is_file():
                self._states[name] = _digest(place)
        self.save()

    def adopt(self, names: Sequence[str]) -> None:
        """Adds names that the run may write."""
        self.names = list(dict.fromkeys([*self.names, *names]))

    def inherit(self, before: "Ownership") -> None:
        """Takes over folders of a removed run that remain because they hold other files."""
        for name in before._states:
            if "/" in name and (self._folder / name).is_dir():
                self._states[name] = _OPEN

    def refusal(self, name: str) -> str:
        """Returns the message about a file that the run did not write."""
        return (
            f"run_dir: {self._folder} holds {name}, which is not what the run there wrote; move it "
            "away, or use another directory"
        )

    def foreign(self) -> list[str]:
        """Returns the paths below the directory that the run would overwrite and did not write.

        These are files of its names, and folders in the places of its models and checkpoints.
        """
        blocking = [path for name in self.names for path in self._contents(name).blocking]
        return [path.relative_to(self._folder).as_posix() for path in blocking]

    def foreign_files(self) -> list[str]:
        """Returns the top-level files of other owners that a resumed run would write again."""
        files = [name for name in self.names if name not in FOLDERS]
        return [
            name
            for name in files
            if os.path.lexists(self._folder / name) and not self._is_own(name)
        ]

    def remove(self) -> None:
        """Removes the files of the run, and its folders that are then empty."""
        for name in self.names:
            found = self._contents(name)
            # The mark is removed last, so that an interrupted removal can be repeated.
            for path in sorted(found.own, key=lambda path: path.name in _PROOFS):
                path.unlink(missing_ok=True)
            for folder in found.folders:
                with contextlib.suppress(OSError):  # it holds files of the user
                    folder.rmdir()

    def _is_own(self, name: str) -> bool:
        """Returns whether an existing file, model or folder is verified to be of the run."""
        path, state = self._folder / name, self._states.get(name)
        kind = name.split("/")[0]
        if kind in FOLDERS and not path.is_file():
            return not self._contents(name).blocking
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        if name == METRICS and not path.lstat().st_size:
            return True
        if state is not None and state in (_OPEN, _digest(path)):
            return True
        return name == RESULTS and _has_id(path, self.run)

    def _contents(self, name: str) -> _Contents:
        """Returns the files and folders found under a name of the mark."""
        path, (kind, *rest) = self._folder / name, name.split("/")
        found = _Contents([], [], [])
        if not os.path.lexists(path):
            return found
        if kind not in FOLDERS or (rest and path.is_file()):
            if self._is_own(name):
                found.own.append(path)
            elif not rest:
                found.blocking.append(path)
        elif path.is_symlink() or not path.is_dir():
            found.blocking.append(path)
        elif rest:
            self._look_into(kind, name, found)
        else:
            for inner in sorted(path.iterdir()):
                below = self._contents(f"{name}/{inner.name}")
                for whole, part in zip(found, below, strict=True):
                    whole.extend(part)
            found.folders.append(path)
        return found

    def _look_into(self, kind: str, name: str, found: _Contents) -> None:
        """Adds the content of the folder of a model, of checkpoints or of event files."""
        folder, state = self._folder / name, self._states.get(name)
        if kind == MODELS and state is None and folder.name.startswith("."):
            whole = folder.name.removeprefix(".").removesuffix(".partial")
            state = _PARTIAL if f"{MODELS}/{whole}" in self._states else None
        if state is None:
            found.blocking.append(folder)
        elif kind == MODELS:
            own = _files_of_model(folder, state)
            if own is None or not own.issuperset(_walk(folder)):
                found.blocking.append(folder)
            else:
                _add(folder, own, found)
        elif kind == EVENTS:
            events = folder.glob("events.out.tfevents.*")
            _add(folder, {path for path in events if self.run in path.name}, found)
        else:
            steps = {str(step) for step in step_directories.find_steps(folder)}
            for path in folder.iterdir():
                if path.name in steps and not step_directories.is_checkpoint(path):
                    found.blocking.append(path)
                elif path.name in steps or step_directories.is_leftover(path):
                    _add(path, set(_walk(path)), found)
                elif path.name == ".lock" and not path.lstat().st_size:
                    found.own.append(path)
            found.folders.append(folder)


def read_object(file: pathlib.Path) -> dict[str, Any] | None:
    """Returns the JSON object in a file; None if there is no file.

    Raises:
      RunError: if it cannot be read, or is not a JSON object.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RunError(f"run_dir: {file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RunError(f"run_dir: {file} is not what a run writes; use another directory")
    return found


def _is_plain(name: Any) -> bool:
    return isinstance(name, str) and name == pathlib.PurePosixPath(name).name and name != ".."


def _is_known(name: str) -> bool:
    kind, _, rest = name.partition("/")
    return _is_plain(name) or (kind in FOLDERS and _is_plain(rest))


def _has_id(path: pathlib.Path, run: str) -> bool:
    with contextlib.suppress(RunError):
        return (read_object(path) or {}).get("run") == run
    return False


def _digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _walk(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields files and links below a folder, then folders, the inner ones first."""
    for parent, folders, files in os.walk(folder, topdown=False):
        for name in (*files, *folders):
            yield pathlib.Path(parent, name)


def _add(folder: pathlib.Path, own: set[pathlib.Path], found: _Contents) -> None:
    """Adds the run's own files and folders below a folder, and the folder."""
    for path in _walk(folder):
        if path in own:
            is_folder = path.is_dir() and not path.is_symlink()
            (found.folders if is_folder else found.own).append(path)
    found.folders.append(folder)


def _files_of_model(folder: pathlib.Path, state: str) -> set[pathlib.Path] | None:
    """Returns the files of a saved model; None if it is not the model in the mark."""
    described = folder / _DESCRIPTION
    if not described.is_file() or described.is_symlink():
        return None if any(folder.iterdir()) else set()
    if state not in (_OPEN, _PARTIAL, _digest(described)):
        return None
    try:
        digests = dict((read_object(described) or {})["sha256"])
    except (RunError, KeyError, TypeError, ValueError):
        return None
    listed = {name: folder / name for name in digests if _is_plain(name)}
    files = {name: path for name, path in listed.items() if path.is_file()}
    same = {
        path for name, path in files.items() if state == _PARTIAL or _digest(path) == digests[name]
    }
    return {described, *same}
