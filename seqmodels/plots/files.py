"""Files of figures; a figure replaces only a file written by the same function."""

import io
import os
import pathlib
from typing import Any

from matplotlib.figure import Figure

from seqmodels.storage import replacing

MARK = "seqmodels.plots"
# The metadata field of each format that names the program; other formats are never replaced.
_METADATA = {"png": "Software", **dict.fromkeys(("pdf", "svg", "ps", "eps"), "Creator")}
_COMMENTS = {"jpg": "comment", "jpeg": "comment", "tif": "description", "tiff": "description"}


def save(figure: Figure, path: str | os.PathLike[str]) -> pathlib.Path:
    """Writes a figure; it may replace only a picture that this function wrote.

    Args:
      figure: the result of a function of this package.
      path: the file; its suffix is the format, by default png.

    Returns:
      The path.

    Raises:
      FileExistsError: in one line, if another file is there; it stays as it is.
      OSError: if it cannot be written, or the path is a folder.
      ValueError: if there is no such format.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, expected a file")
    if not path.suffix:
        path = path.with_name(f"{path.name}.png")
    form = path.suffix[1:].lower()
    options: dict[str, Any] = {}
    if form in _METADATA:
        options["metadata"] = {_METADATA[form]: MARK}
    elif form in _COMMENTS:
        options["pil_kwargs"] = {_COMMENTS[form]: MARK}
    content = io.BytesIO()
    figure.savefig(content, format=form, **options)
    return replacing.write_bytes(
        path, content.getvalue(), lambda data: MARK.encode() in data, "a picture of this program"
    )
