"""Files of a zip or tar archive, whose member names are not trusted."""

import io
import lzma
import pathlib
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator

_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError)


def read_members(
    path: pathlib.Path, patterns: tuple[str, ...], nested: str | None = None
) -> dict[str, bytes]:
    """Returns the files of an archive whose names match.

    Args:
      path: a zip file (a wheel is one) or a tar file, compressed or not.
      patterns: names; `*` and `?` stand for any characters but `/`, and `**/` for any folders.
      nested: name of an inner archive that holds the files; None if there is only one archive.

    Returns:
      Name to content, at least one file for every pattern.

    Raises:
      ValueError: if the archive is broken, nothing matches a pattern, or a matching name leads out
        of the folder.
    """
    if nested is not None:
        file: io.BufferedIOBase = io.BytesIO(read_members(path, (nested,))[nested])
    else:
        file = path.open("rb")
    names = {pattern: _expression(pattern) for pattern in patterns}
    contents = {}
    missing = set(patterns)
    where = path.name if nested is None else f"{path.name}: {nested}"
    with file:
        try:
            for name, content in _files(file, re.compile("|".join(names.values()))):
                contents[name] = content
                missing -= {each for each in missing if re.fullmatch(names[each], name)}
        except _DAMAGE:
            raise ValueError(f"{where}: is a broken archive, or neither zip nor tar") from None
    if missing:
        raise ValueError(f"{where}: has no {', '.join(sorted(missing))}")
    for name in contents:
        _check_name(name, where)
    return contents


def matches(names: set[str], pattern: str) -> bool:
    """Returns whether one of the names matches a pattern as in `read_members`."""
    return any(re.fullmatch(_expression(pattern), name) for name in names)


def _files(file: io.BufferedIOBase, pattern: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                if not info.is_dir() and pattern.fullmatch(info.filename):
                    yield info.filename, archive.read(info)
        return
    file.seek(0)
    with tarfile.open(fileobj=file) as archive:
        for member in archive:
            # A link has no content and may point anywhere.
            if member.isfile() and pattern.fullmatch(member.name):
                content = archive.extractfile(member)
                assert content is not None
                yield member.name, content.read()
        # The checksum of compressed data is at the end.
        while archive.fileobj is not None and archive.fileobj.read(1 << 20):
            pass


def _expression(pattern: str) -> str:
    parts = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    return "".join(parts.get(part, re.escape(part)) for part in re.split(r"(\*\*/|[*?])", pattern))


def _check_name(name: str, where: str) -> None:
    path = pathlib.PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
        raise ValueError(f"{where}: got a file named {name!r}, expected one inside of a folder")
