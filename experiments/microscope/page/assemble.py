"""The page as one file: template, style, scripts and the subject as JSON."""

import json
import os
import pathlib
import re
from typing import Any

from experiments.microscope.page.encoding import encoded
from experiments.microscope.page.subject import Subject

SCRIPTS = (
    "engine.js",
    "tokenize.js",
    "horizon.js",
    "texts.js",
    "charts.js",
    "reading.js",
    "view.js",
    "lab.js",
    "controls.js",
    "app.js",
)
_HERE = pathlib.Path(__file__).parent


def write(subject: Subject, path: str | os.PathLike[str], *, limit: int = 8_000_000) -> int:
    """Writes the page.

    Arrays are float32 in base64. Where the page would be larger than `limit`, the embeddings are
    stored in float16, and then in 8 bits with a scale for each row.

    Args:
      subject: the content of the page.
      path: the HTML file; an existing one is replaced.
      limit: bytes that the page should not exceed.

    Returns:
      The size of the file in bytes.

    Raises:
      ValueError: for a subject that the page cannot show.
      OSError: if the file cannot be written.

    Examples:
      >>> size = write(Subject(...), "microscope.html")  # doctest: +SKIP
    """
    for precision in ("f4", "f2", "i1"):
        page = html(encoded(subject, precision)).encode()
        if len(page) <= limit:
            break
    pathlib.Path(path).write_bytes(page)
    return len(page)


def html(subject: dict[str, Any]) -> str:
    """Returns the page of an encoded subject."""
    parts = {
        "<<style>>": _read("style.css"),
        "<<scripts>>": "\n".join(map(_read, SCRIPTS)),
        "<<subject>>": script_json(subject),
    }
    # One pass, so that a marker in a vocabulary stays as it is.
    return re.sub("|".join(parts), lambda found: parts[found[0]], _read("template.html"))


def script_json(value: Any) -> str:
    r"""Returns JSON for a script element: "<" is written as \u003c, so that no text can end it.

    Examples:
      >>> script_json("</script>")
      '"\\u003c/script>"'
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
