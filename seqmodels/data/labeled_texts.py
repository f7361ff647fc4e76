"""Texts with a class or a rating: the user's own CSV, and splits that no near-duplicate crosses."""

import csv
import os
import pathlib
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seqmodels.data.shuffling import random_order
from seqmodels.storage import reading

SPLITS = ("train", "validation", "test")
LEAST_GROUPS = 10  # of a class: fewer cannot be split and measured
LARGEST_FIELD = 2**27  # characters of one CSV field; the csv module alone stops at 131,072


class LabeledTexts(NamedTuple):
    """N texts and their labels or ratings.

    Attributes:
      texts: N strings.
      labels: int32 (N,), indices into `classes`.
      classes: the names of the C classes.
      ratings: float32 (N,), or None where there are only classes.
    """

    texts: list[str]
    labels: np.ndarray
    classes: tuple[str, ...]
    ratings: np.ndarray | None = None

    def rows(self, chosen: np.ndarray) -> "LabeledTexts":
        """Returns the texts of these row numbers."""
        ratings = None if self.ratings is None else self.ratings[chosen]
        texts = [self.texts[row] for row in chosen]
        return LabeledTexts(texts, self.labels[chosen], self.classes, ratings)


def normalized_text(text: str) -> str:
    """Returns the normal form of a text, which near-duplicates share.

    Links and @names are left out, digits become 0, case, accents of width, punctuation and spaces
    do not count. A text of which nothing is left, such as ":-)", stays as it is.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    plain = re.sub(r"https?://\S+|www\.\S+|@\w+", " ", plain)
    words = re.findall(r"[^\W_]+", re.sub(r"\d", "0", plain))
    return " ".join(words) or text.strip()


def split(
    texts: Sequence[str],
    labels: np.ndarray,
    shares: tuple[float, float, float] = (0.7, 0.1, 0.2),
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Returns a stratified split in which texts of the same `normalized_text` stay together.

    The groups of such texts are drawn in a random order within each class (of a group: that of its
    first text) and handed out to test, validation and training, until each has its share.

    Args:
      texts: N strings.
      labels: int (N,).
      shares: of training, validation and test.
      seed: decides the order, the same on every machine.

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
    """Returns the user's own texts from a CSV file (TSV where the name ends so) with a header.

    Args:
      path: a UTF-8 file.
      text_column: name of the column with the texts.
      label_column: name of the column with the classes, or with numbers.
      rating: whether the labels are numbers to be predicted; then there is one class.

    Returns:
      `LabeledTexts`, classes in alphabetical order.

    Raises:
      ValueError: if the file is not such a file, lacks a column, a label or a second class.
      OSError: if it cannot be read.
    """
    path = pathlib.Path(path)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    csv.field_size_limit(LARGEST_FIELD)
    texts, given = [], []
    try:
        with reading.open_text(path, "utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter)
            columns = list(reader.fieldnames or [])
            for name, column in (("text_column", text_column), ("label_column", label_column)):
                if column not in columns:
                    raise ValueError(
                        f"{name}: got {column!r}, expected one of the columns of {path}: "
                        f"{', '.join(columns) or 'none'}"
                    )
            for row in reader:
                text, label = row[text_column], row[label_column]
                if text is None or label is None or not label.strip():
                    raise ValueError(
                        f"csv: {path}, line {reader.line_num}: got no {label_column}, "
                        "expected one for each text"
                    )
                texts.append(text)
                given.append(label.strip())
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"csv: {path} is not UTF-8 text with columns: {error}") from None
    if not texts:
        raise ValueError(f"csv: got {path} without rows, expected at least one")
    if rating:
        return LabeledTexts(texts, np.zeros(len(texts), np.int32), ("all",), _numbers(path, given))
    classes = tuple(sorted(set(given)))
    if len(classes) < 2:
        raise ValueError(f"csv: got one class in {path}, {classes[0]!r}, expected two or more")
    labels = np.array([classes.index(label) for label in given], np.int32)
    return LabeledTexts(texts, labels, classes)


def _numbers(path: pathlib.Path, given: list[str]) -> np.ndarray:
    numbers = []
    for text in given:
        try:
            numbers.append(float(text))
        except ValueError:
            numbers.append(float("nan"))
        if not np.isfinite(numbers[-1]):
            raise ValueError(f"csv: {path}: got rating {text!r}, expected a number")
    return np.array(numbers, np.float32)
