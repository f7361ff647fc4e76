"""4,200 tweets with the mean of twenty people's ratings."""

import html

import numpy as np

from seqmodels.data.labeled_texts import LabeledTexts
from seqmodels.datasets import fetching

CLASSES = ("negative", "neutral", "positive")
THRESHOLD = 0.5  # a mean rating at least this far from 0 is positive or negative


def parse(text: str) -> LabeledTexts:
    """Returns the tweets of tweets_GroundTruth.txt.

    The data are of Hutto, Gilbert 2014, "VADER: A Parsimonious Rule-based Model for Sentiment
    Analysis of Social Media Text", ICWSM. A mean rating of at least 0.5 is positive, one of at most
    -0.5 is negative, and the others are neutral.

    Args:
      text: lines of `id TAB mean rating in [-4, 4] TAB tweet`, HTML-escaped.

    Returns:
      `LabeledTexts` with ratings.

    Raises:
      ValueError: if a line is not such a line.
    """
    texts, ratings = [], []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split("\t", 2)
        try:
            ratings.append(float(fields[1]))
            texts.append(html.unescape(fields[2]).strip())
        except (IndexError, ValueError):
            raise ValueError(
                f"tweets: line {number}: got {line!r:.60}, expected id, rating and text"
            ) from None
    values = np.array(ratings, np.float32)
    labels = np.where(values >= THRESHOLD, 2, np.where(values <= -THRESHOLD, 0, 1))
    return LabeledTexts(texts, labels.astype(np.int32), CLASSES, values)


def load(data_dir: str | None = None) -> LabeledTexts:
    """Returns the tweets from the cache, after fetching them if necessary.

    Args:
      data_dir: folder of the cache; None for the default.

    Returns:
      4,200 tweets: 1,087 negative, 768 neutral, 2,345 positive.

    Raises:
      OSError or ValueError: as `fetching.fetch`.
    """
    return parse(fetching.fetch("tweets", data_dir).read_text(encoding="utf-8"))
