"""Checkpoint manifests and checksums."""

import errno
import hashlib
import json
import os
import pathlib
from typing import Any, NamedTuple

from seqmodels.storage import reading
from seqmodels.training.checkpointing.array_specs import ArraySpec

FILE = "manifest.json"
FORMAT = 1


class FileRecord(NamedTuple):
    """size: in bytes. sha256: of the contents, in hexadecimal digits."""

    size: int
    sha256: str


class Manifest(NamedTuple):
    """Contents of `manifest.json`.

    step: the training step. best: whether the checkpoint was the best so far. settings, progress:
    JSON objects of the caller. leaves: the arrays of the state, in the tree's order, also those
    without elements, which no file holds. files: by path below the folder. versions: of the
    libraries that wrote it.
    """

    step: int
    best: bool
    settings: dict[str, Any]
    progress: dict[str, Any]
    leaves: tuple[ArraySpec, ...]
    files: dict[str, FileRecord]
    versions: dict[str, str]


class DamageError(Exception):
    """A checkpoint differs from what was written; the text is a short reason."""


def record_files(folder: pathlib.Path) -> dict[str, FileRecord]:
    """Returns the records of all files below a folder, and flushes them to disk (fsync).

    Args:
      folder: the folder.

    Returns:
      Records by path below the folder, with "/" between its parts.

    Raises:
      OSError: if a file cannot be read or synced.
    """
    records = {}
    for parent, _, names in os.walk(folder):
        for name in sorted(names):
            path = pathlib.Path(parent, name)
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
            record = FileRecord(path.stat().st_size, digest)
            records[path.relative_to(folder).as_posix()] = record
        sync_folder(parent)
    return records


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Flushes the names in a folder to disk (fsync).

    Raises:
      OSError: if they cannot be synced.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems sync no folders.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def write_manifest(folder: pathlib.Path, manifest: Manifest) -> None:
    """Writes `manifest.json` into a folder and syncs both.

    Args:
      folder: the folder.
      manifest: what to write; settings and progress as `normalize_json` returns them.

    Raises:
      OSError: if it cannot be written.
    """
    body: dict[str, Any] = {"format": FORMAT, **manifest._asdict()}
    body["leaves"] = [leaf._asdict() for leaf in manifest.leaves]
    body["files"] = {name: record._asdict() for name, record in manifest.files.items()}
    text = json.dumps({"sha256": _digest(body), "manifest": body}, indent=1)
    with open(folder / FILE, "w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)


def read_manifest(folder: pathlib.Path) -> Manifest:
    """Reads and verifies the manifest of a checkpoint; does not verify the files.

    Args:
      folder: the checkpoint.

    Raises:
      DamageError: if it is missing, has changed, or has another format.
    """
    try:
        whole = json.loads((folder / FILE).read_bytes())
        body = whole["manifest"]
        if whole["sha256"] != _digest(body):
            raise DamageError(f"{FILE}: its contents have changed")
    except OSError as error:
        raise DamageError(f"{FILE}: {error.strerror}") from None
    # UnicodeDecodeError and JSONDecodeError are ValueErrors.
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DamageError(f"{FILE}: its contents have changed") from None
    if body.pop("format") != FORMAT:
        raise DamageError(f"{FILE}: it has another format than {FORMAT}, of a later version")
    leaves = [{**leaf, "shape": tuple(leaf["shape"])} for leaf in body["leaves"]]
    files = {name: FileRecord(**record) for name, record in body["files"].items()}
    return Manifest(
        **{**body, "leaves": tuple(ArraySpec(**leaf) for leaf in leaves), "files": files}
    )


def check_files(folder: pathlib.Path, manifest: Manifest) -> None:
    """Reads every file of a checkpoint and compares it with the manifest.

    Args:
      folder: the checkpoint.
      manifest: its manifest.

    Raises:
      DamageError: if a file is missing, cannot be read, or has other contents.
    """
    for name, record in manifest.files.items():
        try:
            size = (folder / name).stat().st_size
            if size != record.size:
                raise DamageError(f"{name}: {size:,} bytes there, {record.size:,} expected")
            with open(folder / name, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DamageError(f"{name}: {error.strerror}") from None
        if digest != record.sha256:
            raise DamageError(f"{name}: its contents have changed")


def normalize_json_object(name: str, value: dict[str, Any]) -> dict[str, Any]:
    """Returns a dict as `normalize_json` does.

    Args:
      name: its name in an error.
      value: the dict.

    Raises:
      ValueError: if it is not a dict, or a value in it is not JSON.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{name}: got {type(value).__name__}, expected a dict")
    return normalize_json(name, value)


def normalize_json(name: str, value: Any) -> Any:
    """Returns a copy of a JSON value as it is read back: the same, with lists for tuples.

    Args:
      name: its name in an error.
      value: dicts with text for keys, lists, tuples, text, truth values, whole numbers, None, and
        floats, also infinite ones and NaN.

    Raises:
      ValueError: if there is anything else in it, such as an array.
    """
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"{name}: got the key {key!r}, expected text for every key")
        return {key: normalize_json(f"{name}[{key!r}]", item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [normalize_json(f"{name}[{n}]", item) for n, item in enumerate(value)]
    if value is None or isinstance(value, str | int | float):
        # Subclasses, such as NumPy's float64 and enumerations, become the base type.
        return json.loads(json.dumps(value))
    raise ValueError(f"{name}: got {type(value).__name__}, expected a value of JSON")


def settings_difference(saved: dict[str, Any], given: dict[str, Any]) -> str | None:
    """Returns the differences of settings, such as "hidden 64 there, 128 got", or None.

    Args:
      saved: the settings of a checkpoint.
      given: the settings of this run.
    """
    parts = []
    for key in sorted(saved | given):
        # As text, so that NaN equals NaN and 1 differs from True.
        old, new = (
            json.dumps(s[key], sort_keys=True) if key in s else None for s in (saved, given)
        )
        if old != new:
            shown = [
                shown_value(key, s.get(key)) if key in s else "nothing" for s in (saved, given)
            ]
            parts.append(f"{key} {shown[0]} there, {shown[1]} got")
    return "; ".join(parts) or None


def shown_value(name: str, value: Any) -> str:
    """Returns a value as text for a message; for a digest, its first digits."""
    return repr(reading.short(value) if name.endswith("_sha256") else value)


def _digest(body: dict[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
