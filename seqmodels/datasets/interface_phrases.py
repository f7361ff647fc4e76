"""English phrases of a user interface and their German translations.

The phrases are the translation files of Home Assistant (Apache-2.0), which its wheel holds as
`homeassistant/components/NAME/translations/{en,de}.json`, one text for each key in each language.
"""

import json
import os
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from seqmodels.data.sentence_pairs import Pair, one_line
from seqmodels.datasets import fetching

NAME = "interface_phrases"  # its name in the registry
LEAST_WORDS, MOST_WORDS = 3, 12
# Placeholders, links, markup, percent signs and line breaks: text for programs.
MARKUP = re.compile(r"[{}<>\[\]`|%*\n\r\t]|://|\bkey:")


def load(data_dir: str | os.PathLike[str] | None = None) -> list[Pair]:
    """Returns the distinct pairs (English, German) of Home Assistant's interface.

    Args:
      data_dir: the cache folder; None for the default of `fetching.fetch`.

    Returns:
      Pairs of 3 to 12 English words without placeholders or markup, in the order of the files.

    Raises:
      ValueError: as `fetching.fetch` does.
      OSError: if a file cannot be read.
    """
    folder = pathlib.Path(fetching.fetch(NAME, data_dir))
    english = sorted(folder.rglob("translations/en.json"), key=pathlib.Path.as_posix)
    both = [(path, path.with_name("de.json")) for path in english]
    return parse((en.read_text("utf-8"), de.read_text("utf-8")) for en, de in both if de.exists())


def parse(files: Iterable[tuple[str, str]]) -> list[Pair]:
    """Returns the distinct pairs of translation files, joined by key.

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
            Pair(one_line(text), one_line(targets[key]))
            for key, text in _texts(json.loads(english))
            if key in targets and _is_plain(text) and _is_plain(targets[key])
        ]
    return list(dict.fromkeys(pair for pair in found if _is_of_length(pair)))


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
