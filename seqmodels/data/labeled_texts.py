"""Texts with a class or a rating: the user's CSV, and splits that separate no near-duplicates."""

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seqmodels.data import number_cells
from seqmodels.data.shuffling import random_order
from seqmodels.data.tables import read_table
from seqmodels.texts import bare_words, caseless

SPLITS = ("train", "validation", "test")
LEAST_GROUPS = 10  # in each class; fewer cannot be split and measured


class LabeledTexts(NamedTuple):
    """N texts and their labels or ratings.

    Attributes:
      texts: N strings.
      labels: int32 (N,), indices into `classes`.
      classes: the names of the C classes.
      ratings: float32 (N,), or None if there are only classes.
      lines: int64 (N,), the line of its file on which each begins; None without a file.
    """

    texts: list[str]
    labels: np.ndarray
    classes: tuple[str, ...]
    ratings: np.ndarray | None = None
    lines: np.ndarray | None = None

    def rows(self, chosen: np.ndarray) -> "LabeledTexts":
        """Returns the texts of these row numbers."""
        ratings = None if self.ratings is None else self.ratings[chosen]
        lines = None if self.lines is None else self.lines[chosen]
        texts = [self.texts[row] for row in chosen]
        return LabeledTexts(texts, self.labels[chosen], self.classes, ratings, lines)


def normalized_text(text: str) -> str:
    """Returns the normal form of a text, which near-duplicates share.

    Links and @names are removed, and digits become 0. Case, width variants, punctuation and spaces
    do not count; combining marks do. A text that would become empty, such as ":-)", is unchanged.
    """
    plain = re.sub(r"https?://\S+|www\.\S+|@\w+", " ", caseless(text))
    return bare_words(re.sub(r"\d", "0", plain)) or text.strip()


def split(
    texts: Sequence[str],
    labels: np.ndarray,
    shares: tuple[float, float, float] = (0.7, 0.1, 0.2),
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Returns a stratified split in which texts of the same `normalized_text` stay together.

    The groups of such texts are assigned in a random order within each class to test, validation
    and training, until each has its share. The class of a group is that of its first text.

    Args:
      texts: N strings.
      labels: int (N,).
      shares: the shares of training, validation and test.
      seed: determines the order, the same on every machine.

    Returns:
      For "train", "validation" and "test" ascending row numbers.

    Raises:
      ValueError: if a class has fewer than 10 different texts.
    """
    groups: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        groups.setdefault(normalized_text(text), []).append(row)
    of_class: dict[int, list[list[int]]] = {int(label): [] for label in np.unique(labels)}
    for rows in groups.values():
        of_class[int(labels[rows[0]])].append(rows)
    found: dict[str, list[int]] = {name: [] for name in SPLITS}
    for number, (label, members) in enumerate(of_class.items()):
        if len(members) < LEAST_GROUPS:
            raise ValueError(
                f"labels: got class {label} with {len(members)} different texts, expected at least "
                f"{LEAST_GROUPS} of each class"
            )
        total, taken = sum(map(len, members)), 0
        test, held_out = round(shares[2] * total), round((shares[1] + shares[2]) * total)
        for place in random_order(len(members), seed, number):
            name = "test" if taken < test else "validation" if taken < held_out else "train"
            found[name].extend(members[place])
            taken += len(members[place])
    return {name: np.array(sorted(rows)) for name, rows in found.items()}


def read_csv(
    path: str | os.PathLike[str], text_column: str, label_column: str, *, rating: bool = False
) -> LabeledTexts:
    """Returns the user's texts from a table (`tables.read_table`).

    Args:
      path: the file.
      text_column: name of the column with the texts.
      label_column: name of the column with the classes, or with numbers.
      rating: whether the labels are numbers to be predicted; then there is one class.

    Returns:
      `LabeledTexts`, classes in alphabetical order.

    Raises:
      ValueError: if the file is not a table, lacks a column, a label or a second class, or has a
        rating that is not a number. The message names the line.
      OSError: if it cannot be read.
    """
    table = read_table(path, "csv")
    for option, column in (("text_column", text_column), ("label_column", label_column)):
        table.check_column(option, column)
    texts, given = table.texts(text_column), table.column(label_column)
    lines = np.array([table.line(row) for row in range(len(texts))], np.int64)
    if rating:
        numbers, _ = number_cells.parse(
            given, lambda row: f"csv: {table.place(row, label_column)}", gaps=False
        )
        zeros = np.zeros(len(texts), np.int32)
        return LabeledTexts(texts, zeros, ("all",), numbers.astype(np.float32), lines)
    for row, label in enumerate(given):
        if not label:
            raise ValueError(
                f"csv: {table.path}, line {table.line(row)}: got no {label_column}, expected one "
                "for each text"
            )
    classes = tuple(sorted(set(given)))
    if len(classes) < 2:
        raise ValueError(
            f"csv: got one class in {table.path}, {classes[0]!r}, expected two or more"
        )
    codes = {label: code for code, label in enumerate(classes)}
    labels = np.array([codes[label] for label in given], np.int32)
    return LabeledTexts(texts, labels, classes, lines=lines)
