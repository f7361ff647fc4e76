"""The page as one file: template, style, scripts and the subject as JSON."""

import os

from experiments.microscope.page.subject import Subject


def write(subject: Subject, path: str | os.PathLike[str], *, limit: int = 8_000_000) -> int:
    """Writes the page.

    Arrays are float32 in base64. Where the page would be larger than `limit`, the embeddings are
    stored in float16, and then in 8 bits with a scale for each row.

    Args:
      subject: what the page shows.
      path: the HTML file; an existing one is replaced.
      limit: bytes that the page should not exceed.

    Returns:
      The size of the file in bytes.

    Raises:
      ValueError: in one line, for a subject that the page cannot show.
      OSError: if the file cannot be written.

    Examples:
      >>> size = write(Subject(...), "microscope.html")  # doctest: +SKIP
    """
    raise NotImplementedError
