"""Sentence pairs in two languages, from the user's file."""

import os
import pathlib
from typing import NamedTuple

from seqmodels.data.csv_records import BREAK, QuoteError, records
from seqmodels.data.tables import SEPARATORS, find_separator, read_text


class Pair(NamedTuple):
    """A sentence in two languages."""

    source: str
    target: str


def read_tsv(path: str | os.PathLike[str]) -> list[Pair]:
    """Returns the distinct pairs of the user's file.

    Quotes are plain characters unless two conditions hold. All cells that begin with a quote follow
    RFC 4180, and one of them contains a tab, a line break or a quote.

    Args:
      path: a text file without a header, on each line a source, a tab and its translation; further
        columns and empty lines are left out. UTF-8, or UTF-16 with a byte-order mark. Where the
        name ends in .csv, a comma, semicolon or | may take the place of the tab.

    Returns:
      The pairs, of any length.

    Raises:
      ValueError: if a line does not have two columns, the file is not text, or holds no pair; with
        the line.
      OSError: if the file cannot be read.
    """
    path = pathlib.Path(path)
    text, _ = read_text(path, "pairs_file")
    separator = find_separator("pairs_file", path, text) if path.suffix.lower() == ".csv" else "\t"
    pairs = []
    for line, cells in _records(path, text, separator):
        if not any(cell.strip() for cell in cells):
            continue
        columns = [one_line(cell) for cell in cells]
        if len(columns) < 2 or not columns[0] or not columns[1]:
            mark = SEPARATORS[separator]
            raise ValueError(
                f"pairs_file: {path}: line {line}: got {separator.join(cells)[:60]!r}, expected a "
                f"source, a {mark}, and its translation"
            )
        pairs.append(Pair(columns[0], columns[1]))
    if not pairs:
        raise ValueError(f"pairs_file: {path}: got no pairs, expected at least one")
    return list(dict.fromkeys(pairs))


def _records(path: pathlib.Path, text: str, separator: str) -> list[tuple[int, list[str]]]:
    """Returns (line, cells) of all lines; quotes are plain characters unless a cell needs them."""
    lines = [(n, line.split(separator)) for n, line in enumerate(BREAK.split(text), 1)]
    if '"' not in text:
        return lines
    try:
        quoted = [(record.line, record.cells) for record in records(text, separator)]
    except QuoteError as error:
        if separator == "\t":
            return lines
        raise ValueError(f"pairs_file: {path}: line {error.line}: a cell {error}") from None
    marks = (separator, "\n", "\r", '"')
    is_needed = any(mark in cell for _, cells in quoted for cell in cells for mark in marks)
    return quoted if is_needed or separator != "\t" else lines


def one_line(text: str) -> str:
    """Returns the text with every run of white space as one space."""
    return " ".join(text.split())
