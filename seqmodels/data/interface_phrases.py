"""English phrases of a user interface and their German translations, or a user's own pairs.

The phrases are the translation files of Home Assistant (Apache-2.0), which its wheel holds as
`homeassistant/components/NAME/translations/{en,de}.json`, one text for each key in each language.
"""

import json
import os
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from seqmodels.data import artifacts

NAME = "interface_phrases"  # among the artifacts
LEAST_WORDS, MOST_WORDS = 3, 12
# Placeholders, links, markup, percent signs and line breaks: what a program reads, not a person.
MARKUP = re.compile(r"[{}<>\[\]`|%*\n\r\t]|://|\bkey:")


class Pair(NamedTuple):
    """A sentence in two languages."""

    source: str
    target: str


def load(data_dir: str | os.PathLike[str] | None = None) -> list[Pair]:
    """Returns the pairs of Home Assistant's interface, English and German, each once.

    Args:
      data_dir: where fetched data are kept; None for the default of `artifacts.fetch`.

    Returns:
      Pairs of 3 to 12 English words without placeholders or markup, in the order of the files.

    Raises:
      ValueError: as `artifacts.fetch` does.
      OSError: if a file cannot be read.
    """
    folder = pathlib.Path(artifacts.fetch(NAME, data_dir))
    english = sorted(folder.rglob("translations/en.json"), key=pathlib.Path.as_posix)
    both = [(path, path.with_name("de.json")) for path in english]
    return parse((en.read_text("utf-8"), de.read_text("utf-8")) for en, de in both if de.exists())


def parse(files: Iterable[tuple[str, str]]) -> list[Pair]:
    """Returns the pairs of translation files, joined by key, each once.

    Args:
      files: for each component the JSON texts (English, German): nested objects of texts.

    Returns:
      Pairs of 3 to 12 English words without placeholders or markup.

    Raises:
      ValueError: if a text is not JSON.
    """
    found: list[Pair] = []
    for english, german in files:
        targets = dict(_texts(json.loads(german)))
        found += [
            Pair(_one_line(text), _one_line(targets[key]))
            for key, text in _texts(json.loads(english))
            if key in targets and _is_plain(text) and _is_plain(targets[key])
        ]
    return list(dict.fromkeys(pair for pair in found if _is_of_length(pair)))


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
        lines = pathlib.Path(path).read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: given bytes that are not UTF-8, wanted UTF-8 text") from None
    pairs = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        columns = [_one_line(column) for column in line.split("\t")]
        if len(columns) < 2 or not columns[0] or not columns[1]:
            raise ValueError(
                f"{path}: line {number}: given {line[:60]!r}, wanted a source, a tab, and its "
                "translation"
            )
        pairs.append(Pair(columns[0], columns[1]))
    if not pairs:
        raise ValueError(f"{path}: given no pairs, wanted at least one")
    return list(dict.fromkeys(pairs))


def _texts(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yields (keys on the way, text) for every text in nested objects."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _texts(value, (*path, key))
    elif isinstance(tree, str):
        yield path, tree


def _is_plain(text: str) -> bool:
    return MARKUP.search(text) is None and bool(text.strip())


def _is_of_length(pair: Pair) -> bool:
    return LEAST_WORDS <= len(pair.source.split()) <= MOST_WORDS


def _one_line(text: str) -> str:
    return " ".join(text.split())
