"""Output files named by the user: written atomically, never over a foreign file."""

import os
import pathlib
import secrets
from collections.abc import Callable


def write_bytes(
    path: str | os.PathLike[str], data: bytes, is_own: Callable[[bytes], bool], kind: str
) -> pathlib.Path:
    """Writes a file atomically; it may replace only a file of the same kind.

    Args:
      path: the file; a link is followed.
      data: its content.
      is_own: returns whether this program wrote a given content.
      kind: such as "a picture of this program", for the message.

    Returns:
      The path.

    Raises:
      FileExistsError: in one line, if another file is there; it stays as it is.
      OSError: if it cannot be written.
    """
    given, path = pathlib.Path(path), pathlib.Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        if path.is_dir():
            raise IsADirectoryError(f"{given} is a folder, expected a file")
        path.write_bytes(data)  # a device or a pipe
        return given
    if path.is_file() and not is_own(path.read_bytes()):
        raise FileExistsError(f"{given} is there and is not {kind}, expected another name")
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with partial.open("xb") as file:
            file.write(data)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return given
