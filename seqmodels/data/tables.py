"""Reader of the user's tables (CSV and related formats); one-line errors name the line."""

import difflib
import itertools
import os
import pathlib
import re
from typing import NamedTuple

from seqmodels.data.csv_records import BREAK, QuoteError, Record, records, swallowed_rows
from seqmodels.storage import reading

# If two fit equally well, the first is used: commas also occur in numbers and sentences.
SEPARATORS = {"\t": "tab", ";": ";", "|": "|", ",": ","}
_LOOKED_AT = 200  # number of records from which the separator is found
_MARKS = (  # byte-order marks, the longer first
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


class Table(NamedTuple):
    """A table of text cells.

    Attributes:
      option: the argument that names the file, for messages.
      path: the file.
      columns: C names, distinct.
      rows: N rows of C cells as they are written, without quotes.
      lines: the line, from 1, on which each row begins.
      notes: unusual properties of the file, such as "separator ;".
    """

    option: str
    path: pathlib.Path
    columns: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]
    notes: tuple[str, ...] = ()

    def column(self, name: str) -> list[str]:
        """Returns the cells (N,) of a column without white space around them."""
        number = self.columns.index(name)
        return [row[number].strip() for row in self.rows]

    def texts(self, name: str) -> list[str]:
        """Returns the cells (N,) of a column as they are written."""
        number = self.columns.index(name)
        return [row[number] for row in self.rows]

    def line(self, row: int, name: str | None = None) -> int:
        """Returns the line on which a row, or its cell of a column, begins."""
        before = self.rows[row][: 0 if name is None else self.columns.index(name)]
        return self.lines[row] + sum(len(BREAK.findall(cell)) for cell in before)

    def place(self, row: int, name: str) -> str:
        """Returns "FILE, line 3: NAME", the place of a cell in messages."""
        return f"{self.path}, line {self.line(row, name)}: {name}"

    def check_column(self, option: str, name: str) -> None:
        """Raises ValueError, with the nearest name, unless a column of that name exists.

        Args:
          option: the argument whose value the name is, for the message.
          name: the column.
        """
        if name in self.columns:
            return
        lower = {column.lower(): column for column in self.columns}
        near = difflib.get_close_matches(name.lower(), lower, n=1)
        hint = f"; did you mean {lower[near[0]]}?" if near else ""
        raise ValueError(
            f"{option}: got {name!r}, expected one of the columns of {self.path}: "
            f"{', '.join(self.columns)}{hint}"
        )


def read_table(
    path: str | os.PathLike[str], option: str = "csv", *, keep_empty: bool = False
) -> Table:
    r"""Returns a table with a header.

    Commas, semicolons, tabs or | separate cells, whichever fits header and rows; tabs if the name
    ends in .tsv. Quotes follow RFC 4180. Lines before the header that begin with #, empty lines,
    and unnamed empty columns at the end are left out.

    Args:
      path: a file in UTF-8, or in UTF-16 or UTF-32 with a byte-order mark.
      option: the argument that names it, for messages.
      keep_empty: whether empty lines between rows are rows of empty cells.

    Raises:
      ValueError: in one line with the line of the file, if it is not such a table. Reasons are
        invalid bytes, no header, no rows, a row longer than the header, or two columns of one name.
        Another is a quote that is not closed or encloses rows.
      OSError: if it cannot be read.

    Examples:
      >>> _ = pathlib.Path("sky.csv").write_text("day,color\n1,red\n2,blue\n")
      >>> table = read_table("sky.csv")
      >>> table.columns, table.column("color")
      (('day', 'color'), ['red', 'blue'])
    """
    path = pathlib.Path(path)
    text, notes = read_text(path, option)
    start, line, comments = _header(text)
    if comments:
        notes.append(f"{comments} line{'s' if comments > 1 else ''} before the header left out")
    named = re.compile(r"sep=(.)[\r\n]+").match(text, start)
    if named and named[1] in SEPARATORS:
        start, line = named.end(), line + 1
    if not text[start:].strip():
        raise ValueError(f"{option}: got {path}, which is empty, expected a header and rows")
    separator = named[1] if named else find_separator(option, path, text, start)
    if separator != ("\t" if path.suffix.lower() == ".tsv" else ","):
        notes.append(f'separator "{SEPARATORS[separator]}"')
    try:
        found = list(records(text, separator, first_line=line, start=start))
    except QuoteError as error:
        raise ValueError(
            f"{option}: {path}, line {error.line}: a cell {error}; expected quotes around a whole "
            "cell, and two of them for one within"
        ) from None
    return _table(option, path, found, tuple(notes), separator=separator, keep_empty=keep_empty)


def read_text(path: pathlib.Path, option: str) -> tuple[str, list[str]]:
    r"""Returns the text of a file and, if it is not UTF-8, the note of its encoding.

    Args:
      path: the file.
      option: the argument that names it.

    Raises:
      ValueError: in one line, with line and position, for bytes that are not text.
      OSError: if it cannot be read.

    Examples:
      >>> _ = pathlib.Path("sky.csv").write_text("day,color\n1,red\n")
      >>> read_text(pathlib.Path("sky.csv"), "csv")
      ('day,color\n1,red\n', [])
    """
    content = reading.read_bytes(path)
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        name = {"utf-8-sig": "UTF-8"}.get(encoding, encoding.upper())
        before = content[: error.start].decode(encoding, "ignore")
        raise ValueError(
            f"{option}: {path} is not {name} text: byte 0x{content[error.start]:02x} at position "
            f"{error.start}, line {len(BREAK.findall(before)) + 1}"
        ) from None
    if "\0" in text:
        line = len(BREAK.findall(text[: text.index("\0")])) + 1
        raise ValueError(
            f"{option}: {path}, line {line}: got a NUL character, expected UTF-8 text, or UTF-16 "
            "with a byte-order mark"
        )
    return text, [] if encoding.startswith("utf-8") else [encoding.upper()]


def _header(text: str) -> tuple[int, int, int]:
    """Returns position and line of the header, and the number of comment lines before it."""
    at, line, comments = 0, 1, 0
    while at < len(text):
        end = BREAK.search(text, at)
        stop = end.start() if end else len(text)
        content = text[at:stop].strip()
        if content and not content.startswith("#"):
            break
        comments += bool(content)
        at, line = end.end() if end else len(text), line + 1
    return at, line, comments


def find_separator(option: str, path: pathlib.Path, text: str, start: int = 0) -> str:
    r"""Returns the separator with which most records are as wide as the first one.

    Args:
      option: the argument that names the file, for messages.
      path: the file; a name that ends in .tsv means tabs.
      text: the text of the file.
      start: the position of the first record in it.

    Raises:
      ValueError: in one line, if two of them fit header and rows.

    Examples:
      >>> find_separator("csv", pathlib.Path("sky.csv"), "day;color\n1;red\n")
      ';'
    """
    if path.suffix.lower() == ".tsv":
        return "\t"
    best, chosen = (0.0, 1), ","
    fitting = []
    for separator in SEPARATORS:
        widths: list[int] = []
        try:
            for record in itertools.islice(records(text, separator, start=start), _LOOKED_AT):
                width = len(record.cells)
                if any(cell.strip() for cell in record.cells):
                    # Separators only at the end of a row do not make cells.
                    while widths and width > widths[0] and not record.cells[width - 1].strip():
                        width -= 1
                    widths.append(width)
        except QuoteError:
            pass  # records before the error are counted
        if not widths or widths[0] < 2:
            continue
        fit = widths.count(widths[0]) / len(widths)
        fitting += [separator] if fit == 1 else []
        if (fit, widths[0]) > best:
            best, chosen = (fit, widths[0]), separator
    if len(fitting) > 1:
        shown = " or ".join(SEPARATORS[separator] for separator in fitting)
        raise ValueError(
            f"{option}: {path}: cells may be separated by {shown}, expected one that fits; a line "
            f"sep={chosen} before the header says which"
        )
    return chosen


def _table(
    option: str,
    path: pathlib.Path,
    found: list[Record],
    notes: tuple[str, ...],
    *,
    separator: str,
    keep_empty: bool,
) -> Table:
    header, *body = found
    filled = [row for row in body if any(cell.strip() for cell in row.cells)]
    if not filled:
        raise ValueError(f"{option}: got {path} without rows, expected at least one")
    # Empty lines at the end are never rows.
    body = [row for row in body if row.line <= filled[-1].line] if keep_empty else filled
    names = [name.strip() for name in header.cells]
    while len(names) > 1 and not names[-1] and not any(
        cell.strip() for row in filled for cell in row.cells[len(names) - 1 :]
    ):  # fmt: skip
        names.pop()
    width = len(names)
    columns = tuple(name or f"unnamed {number}" for number, name in enumerate(names, 1))
    for name in columns:
        if columns.count(name) > 1:
            raise ValueError(
                f"{option}: line {header.line} of {path} has two columns {name!r}, expected names "
                "that differ"
            )
    for row in filled:
        cells = row.cells
        fault = ""
        if any(cell.strip() for cell in cells[width:]):
            fault = f"a cell with {SEPARATORS[separator]} in it must be quoted"
        elif row.broken and len(cells) < width:
            fault = "a cell of it goes over several lines: is a quote left open?"
        if fault:
            raise ValueError(
                f"{option}: {path}, line {row.line}: got a row of {len(cells)} cells, expected the "
                f"{width} of the header; {fault}"
            )
    swallowed = swallowed_rows(body, separator, width)
    if swallowed is not None:
        line, number = swallowed
        raise ValueError(
            f"{option}: {path}, line {line}: got a cell that begins with a quote and holds the "
            f"line{'s' if number > 1 else ''} to {line + number}, which are rows themselves; "
            "expected a quote that is closed in its row"
        )
    rows = [(row.cells + [""] * (width - len(row.cells)))[:width] for row in body]
    return Table(option, path, columns, rows, [row.line for row in body], notes)
