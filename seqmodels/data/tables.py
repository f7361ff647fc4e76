"""Tables of a user: CSV and TSV files as frames of strings, with one-line errors."""

import difflib
import io
import os
import pathlib
from typing import Any

import numpy as np

from seqmodels.storage import reading


def read_table(path: str | os.PathLike[str]) -> Any:
    """Returns a CSV file (TSV where the name ends so) as a pandas frame of strings, never missing.

    Row n of the frame is line n + 2 of a file without line breaks in its cells.

    Args:
      path: a UTF-8 file with a header.

    Raises:
      ValueError: in one line, if the file is not such a table or has no rows.
      OSError: if it cannot be read.
      ModuleNotFoundError: if pandas is not installed.
    """
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("csv: needs pandas: pip install 'seqmodels[series]'") from error
    path = pathlib.Path(path)
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        frame = pd.read_csv(
            io.BytesIO(reading.read_bytes(path)),
            sep=separator,
            header=None,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            index_col=False,
            skip_blank_lines=False,
            on_bad_lines="error",
        )
    except pd.errors.EmptyDataError:
        raise ValueError(f"csv: got {path}, which is empty, expected a header and rows") from None
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"csv: {path} is not UTF-8 text with columns: {reason}") from None
    frame = frame.fillna("").map(str.strip)
    names = enumerate(frame.iloc[0], 1)
    frame = frame.iloc[1:].set_axis([name or f"unnamed {n}" for n, name in names], axis=1)
    frame = frame.reset_index(drop=True)
    # Blank lines at the end are no rows; in between they are.
    filled = np.flatnonzero((frame != "").any(axis=1))
    frame = frame.iloc[: filled[-1] + 1 if len(filled) else 0]
    if frame.empty:
        raise ValueError(f"csv: got {path} without rows, expected at least one")
    return frame


def check_column(path: str | os.PathLike[str], frame: Any, option: str, name: str) -> None:
    """Raises ValueError unless the frame has exactly one column of that name.

    Args:
      path: the file, for the message.
      frame: of `read_table`.
      option: the argument whose value the name is, for the message.
      name: the column.

    Raises:
      ValueError: in one line, with the nearest name.
    """
    if name in frame.columns:
        if list(frame.columns).count(name) > 1:
            raise ValueError(f"{option}: {path} has two columns {name!r}, expected one")
        return
    known = [str(column) for column in frame.columns]
    lower = {column.lower(): column for column in known}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    hint = f"; did you mean {lower[near[0]]}?" if near else ""
    raise ValueError(
        f"{option}: got {name!r}, expected one of the columns of {path}: {', '.join(known)}{hint}"
    )
