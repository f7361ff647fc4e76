"""Sentence pairs in two languages, from a user's own file."""

import os
from typing import NamedTuple

from seqmodels.storage import reading


class Pair(NamedTuple):
    """A sentence in two languages."""

    source: str
    target: str


def read_tsv(path: str | os.PathLike[str]) -> list[Pair]:
    """Returns the pairs of a user's own file, each once.

    Args:
      path: a UTF-8 text file, on each line a source, a tab and its translation; further columns
        and empty lines are left out.

    Returns:
      The pairs, of any length.

    Raises:
      ValueError: if a line does not have two columns, the file is not UTF-8, or holds no pair.
      OSError: if the file cannot be read.
    """
    try:
        lines = reading.open_text(path, "utf-8-sig").read().splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: got bytes that are not UTF-8, expected UTF-8 text") from None
    pairs = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        columns = [one_line(column) for column in line.split("\t")]
        if len(columns) < 2 or not columns[0] or not columns[1]:
            raise ValueError(
                f"{path}: line {number}: got {line[:60]!r}, expected a source, a tab, and its "
                "translation"
            )
        pairs.append(Pair(columns[0], columns[1]))
    if not pairs:
        raise ValueError(f"{path}: got no pairs, expected at least one")
    return list(dict.fromkeys(pairs))


def one_line(text: str) -> str:
    """Returns the text with every run of white space as one space."""
    return " ".join(text.split())
