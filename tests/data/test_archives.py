"""Files come out of archives by name, and never land outside of their folder."""

import io
import tarfile
import zipfile

import pytest

from seqmodels.data.archives import matches, read_members

FILES = {"a/x.txt": b"ax", "a/b/x.txt": b"abx", "a/b/c/y.md": b"abcy", "z.txt": b""}


def make_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("a")
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path, files, links=()):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info)
    return path


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize(
    ("patterns", "want"),
    [
        (["z.txt"], ["z.txt"]),
        (["*.txt"], ["z.txt"]),
        (["a/*.txt"], ["a/x.txt"]),
        (["a/?/x.txt"], ["a/b/x.txt"]),
        (["a/**/*.txt"], ["a/b/x.txt", "a/x.txt"]),
        (["**/*.md", "z.txt"], ["a/b/c/y.md", "z.txt"]),
    ],
)
def test_patterns(make, patterns, want, tmp_path):
    found = read_members(make(tmp_path / "archive", FILES), tuple(patterns))
    assert found == {name: FILES[name] for name in want}


def test_an_archive_in_an_archive(tmp_path):
    inner = make_zip(tmp_path / "inner.zip", FILES).read_bytes()
    outer = make_tar(tmp_path / "outer.tar.gz", {"inner.zip": inner})
    assert read_members(outer, ("z.txt",), "inner.zip") == {"z.txt": b""}
    with pytest.raises(ValueError, match=r"outer.tar.gz: inner.zip: has no q.txt"):
        read_members(outer, ("q.txt",), "inner.zip")
    with pytest.raises(ValueError, match=r"outer.tar.gz: has no other.zip"):
        read_members(outer, ("z.txt",), "other.zip")


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("name", ["../x.txt", "a/../../x.txt", "/x.txt", "a\\x.txt", "C:x.txt"])
def test_names_that_lead_out(make, name, tmp_path):
    path = make(tmp_path / "archive", {name: b"bad"})
    with pytest.raises(ValueError, match="expected one inside of a folder"):
        read_members(path, ("**/*x.txt",))


def test_links_are_no_files(tmp_path):
    path = make_tar(tmp_path / "archive", {"z.txt": b"z"}, links=["passwd.txt"])
    assert read_members(path, ("*.txt",)) == {"z.txt": b"z"}


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("damage", ["empty", "text", "half", "flipped"])
def test_broken(make, damage, tmp_path):
    content = {"big.txt": bytes(range(256)) * 400 + str(list(range(20000))).encode()}
    path = make(tmp_path / "archive", content)
    whole = bytearray(path.read_bytes())
    if damage == "flipped":
        for at in range(len(whole) // 2, len(whole) // 2 + 64):
            whole[at] ^= 255
    path.write_bytes(
        {"empty": b"", "text": b"hello", "half": whole[: len(whole) // 2]}.get(damage, whole)
    )
    with pytest.raises(ValueError, match=r"archive: is a broken archive|archive: has no"):
        read_members(path, ("big.txt",))


def test_matches():
    assert matches({"a/b.txt", "c"}, "a/*.txt")
    assert not matches({"a/b.txt", "c"}, "*.txt")
