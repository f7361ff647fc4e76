"""Texts of a user as inputs of a trained model: words of the sky task, numbers of adding."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seqmodels.tasks.sky.task import split_words

TASKS = ("sky", "adding")  # whose inputs can be a text
MARK = "*"  # behind a number that is to be added


class Text(NamedTuple):
    """A text as inputs.

    Attributes:
      words: T words, as they are shown.
      inputs: int32 (T, 1) tokens or float32 (T, 1, 2) numbers and marks, of one sequence.
      unread: words of the text that the model does not know and does not read.
    """

    words: list[str]
    inputs: np.ndarray
    unread: list[str]


def encode_words(text: str, vocabulary: Sequence[str], option: str = "text") -> Text:
    """Returns the words of a text as tokens.

    Args:
      text: the user's.
      vocabulary: the words by token.
      option: the name of the option for the message.

    Raises:
      ValueError: if no word is known.
    """
    place = {word: token for token, word in enumerate(vocabulary)}
    words = split_words(text)
    known = [word for word in words if word in place]
    if not known:
        raise ValueError(f"{option}: got {text!r:.40}, expected a text with a word of the task")
    tokens = np.array([[place[word]] for word in known], np.int32)
    return Text(known, tokens, [word for word in words if word not in place])


def encode_numbers(text: str, option: str = "text") -> Text:
    """Returns a text such as "0.31 0.87* 0.12*" as numbers and marks.

    Args:
      text: the user's.
      option: the name of the option for the message.

    Raises:
      ValueError: if a word is not a number.
    """
    words = text.replace(",", " ").split()
    rows = []
    for word in words:
        try:
            number = float(word.removesuffix(MARK))
        except ValueError:
            number = float("nan")
        if not np.isfinite(number):
            raise ValueError(f"{option}: got {word!r:.40}, expected numbers such as 0.31 0.87*")
        rows.append([[number, float(word.endswith(MARK))]])
    if not rows:
        raise ValueError(f"{option}: got nothing, expected numbers such as 0.31 0.87*")
    return Text(words, np.array(rows, np.float32), [])
