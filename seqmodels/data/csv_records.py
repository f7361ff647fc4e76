"""Records of separated values (RFC 4180), with the line of a text editor on which each begins."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

BREAK = re.compile(r"\r\n|\n|\r")  # the ends of a line in a text editor


class Record(NamedTuple):
    """One record.

    Attributes:
      line: the line on which it begins, from 1.
      cells: its cells; quoted cells without the quotes, with their line breaks.
      broken: the numbers of the cells that hold a line break.
    """

    line: int
    cells: list[str]
    broken: tuple[int, ...] = ()


class QuoteError(ValueError):
    """A quoted cell without a valid end; `line` is the line on which it begins."""

    def __init__(self, line: int, fault: str):
        super().__init__(fault)
        self.line = line


def records(text: str, separator: str, *, first_line: int = 1, start: int = 0) -> Iterator[Record]:
    """Yields the records of a text.

    A quoted cell begins with a quote (spaces may come before it) and ends with the next quote that
    is not doubled. Separators and line breaks between them belong to it. A quote elsewhere is a
    character.

    Args:
      text: the text.
      separator: one character.
      first_line: the line of the first record.
      start: its position in the text.

    Raises:
      QuoteError: if a quoted cell has no end, or is followed by text.
    """
    mark = re.escape(separator)
    quoted_cell = re.compile(rf' *"((?:[^"]|"")*)" *(?={mark}|\r|\n|\Z)')
    plain_cell = re.compile(rf"[^{mark}\r\n]*")
    line, at = first_line, start
    if text.find('"', start) < 0:
        lines = BREAK.split(text[start:])
        if lines and not lines[-1]:
            lines.pop()
        for number, content in enumerate(lines, first_line):
            yield Record(number, content.split(separator))
        return
    while at < len(text):
        end = BREAK.search(text, at)
        stop = end.start() if end else len(text)
        if text.find('"', at, stop) < 0:
            yield Record(line, text[at:stop].split(separator))
            at, line = end.end() if end else len(text), line + 1
            continue
        begin = line
        cells: list[str] = []
        broken: list[int] = []
        while True:
            quoted = quoted_cell.match(text, at)
            if quoted:
                cell, at = quoted[1].replace('""', '"'), quoted.end()
                breaks = len(BREAK.findall(quoted[1]))
                if breaks:
                    broken.append(len(cells))
                line += breaks
            elif text.startswith('"', at):
                raise QuoteError(line, _fault(text, at))
            else:
                plain = plain_cell.match(text, at)
                assert plain is not None
                cell, at = plain[0], plain.end()
            cells.append(cell)
            if not text.startswith(separator, at):
                break
            at += len(separator)
        yield Record(begin, cells, tuple(broken))
        end = BREAK.match(text, at)
        at, line = end.end() if end else len(text), line + 1


def _fault(text: str, at: int) -> str:
    end = re.compile(r'"(?:[^"]|"")*"').match(text, at)
    if end is None:
        return "begins with a quote that is never closed"
    lines = len(BREAK.findall(end[0]))
    where = f"the quote that closes it, {lines} lines later," if lines else "its closing quote"
    rest = BREAK.split(text[end.end() : end.end() + 20])[0]
    return f"begins with a quote, and {where} is followed by {rest!r}"


def swallowed_rows(rows: Sequence[Record], separator: str, width: int) -> tuple[int, int] | None:
    """Finds a quoted cell whose lines are rows of the table, as after a stray quote.

    Two conditions must hold. Each line except the last has all cells that its row lacks. The cells
    of one column equal cells of other rows, or equal them except for digits.

    Args:
      rows: the result of `records`, without the header.
      separator: the separator of the cells.
      width: cells of a row.

    Returns:
      (line on which the cell begins, how many line breaks it has); None if there is no such cell.
    """
    known: dict[int, set[str]] = {}
    for row in rows:
        for number in row.broken:
            lines = BREAK.split(row.cells[number])
            pieces = [piece.split(separator) for piece in lines[:-1]]
            pieces[0] = [""] * number + pieces[0]
            if number >= width or any(len(piece) != width for piece in pieces):
                continue
            for column in range(width):
                first = 0 if column > number else 1
                inner = {_look(piece[column]) for piece in pieces[first:]}
                if not inner or "" in inner:
                    continue
                if column not in known:
                    plain = [one.cells for one in rows if not one.broken]
                    known[column] = {_look(one[column]) for one in plain if column < len(one)}
                if inner <= known[column]:
                    before = sum(len(BREAK.findall(cell)) for cell in row.cells[:number])
                    return row.line + before, len(lines) - 1
    return None


def _look(cell: str) -> str:
    return re.sub(r"\d+", "0", cell)
