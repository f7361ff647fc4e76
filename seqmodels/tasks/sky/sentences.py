"""Texts of the sky task with capitals and full stops."""

import random
from collections.abc import Sequence

from seqmodels.tasks.sky import clues
from seqmodels.tasks.sky.filler import FILLER
from seqmodels.tasks.sky.task import QUESTION, split_words

FIRST = ("This is the 10th day of wildfires in the San Francisco bay area.", "red")


def examples(
    distance: int, filler: Sequence[str] = FILLER, *, seed: int = 0
) -> list[tuple[str, str]]:
    """Returns one text and its answer for each color: clue, `distance` words of filler, question.

    The first clue is from the training split, the others are from the test split.

    Args:
      distance: words of filler, at least 0.
      filler: sentences.
      seed: determines the clues and sentences.

    Examples:
      >>> texts = examples(distance=10)
      >>> len(texts), [color for text, color in texts][:3]
      (8, ['red', 'blue', 'grey'])
    """
    draw = random.Random(seed)
    found = [FIRST]
    for color in clues.COLORS:
        if color != FIRST[1]:
            clue = draw.choice(clues.TEST_CLUES[color])
            day, place = draw.choice(clues.DAYS), draw.choice(clues.PLACES)
            found.append((clue.format(day=day, place=place), color))
    question = " ".join(QUESTION).capitalize()
    return [
        (" ".join(filter(None, (clue, _filled(distance, filler, draw), question))), color)
        for clue, color in found
    ]


def _filled(distance: int, filler: Sequence[str], draw: random.Random) -> str:
    """Returns sentences with a given total of words; the last one is cut."""
    parts: list[str] = []
    left = distance
    while left > 0:
        sentence = draw.choice(filler)
        count = len(split_words(sentence))
        if count > left:
            pieces = sentence.split()
            while len(split_words(" ".join(pieces))) > left:
                pieces.pop()
            sentence = " ".join(pieces).rstrip(".,;") + "."
            count = len(split_words(sentence))
            if not count:
                break
        parts.append(sentence)
        left -= count
    return " ".join(parts)
