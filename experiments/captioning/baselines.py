"""Figures of captions, and the baselines of the captioning study."""

import collections
import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.captioning.data import Data
from seqmodels.data.captions import CaptionedImages


def check_scores() -> None:
    """Raises ModuleNotFoundError if what computes the figures is not installed."""
    if importlib.util.find_spec("sacrebleu") is None:
        raise ModuleNotFoundError("chrF and BLEU need sacrebleu: pip install 'seqmodels[data]'")


def exact_match(captions: Sequence[str], references: Sequence[str]) -> float:
    """Returns the share of captions that equal their references."""
    pairs = zip(captions, references, strict=True)
    return float(np.mean([caption == reference for caption, reference in pairs]))


def scores(captions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Returns exact match in [0, 1], and sacrebleu's chrF and BLEU in [0, 100].

    BLEU counts up to four words in a row, fewer where all captions are shorter.
    """
    import sacrebleu

    # Captions of three words have no four in a row: BLEU by 1 to 4 of them would be 0.
    order = min(4, max(len(text.split()) for text in references))
    bleu = sacrebleu.BLEU(max_ngram_order=order)
    streams = [list(references)]
    return {
        "exact": exact_match(captions, references),
        "chrf": float(sacrebleu.corpus_chrf(list(captions), streams).score),
        "bleu": float(bleu.corpus_score(list(captions), streams).score),
    }


def baselines(data: Data) -> list[dict[str, Any]]:
    """Returns the records of the most frequent caption and of the nearest training picture."""
    most_frequent = collections.Counter(data.train.captions).most_common(1)[0][0]
    records: list[dict[str, Any]] = [{"model": "most frequent"}, {"model": "nearest picture"}]
    for name, test in data.tests.items():
        guesses = [most_frequent] * len(test.captions), nearest(data.train, test.images)
        for record, guess in zip(records, guesses, strict=True):
            found = scores(guess, test.captions)
            record |= {f"{name}_{figure}": value for figure, value in found.items()}
    return records


def nearest(train: CaptionedImages, images: np.ndarray) -> list[str]:
    """Returns for each picture the caption of the training picture with the nearest pixels."""
    known = train.images.reshape(len(train.images), -1).astype(np.float32)
    asked = images.reshape(len(images), -1).astype(np.float32)
    # |a - k|^2 = |a|^2 - 2 a.k + |k|^2, of which |a|^2 is the same for all k.
    distances = np.sum(known**2, axis=1)[None] - 2 * asked @ known.T
    return [train.captions[place] for place in distances.argmin(axis=1)]
