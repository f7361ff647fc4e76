"""What the captioning study shows: figures, baselines, the table and the contact sheet."""

import collections
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.captioning.data import Data
from experiments.captioning.model import exact_match
from experiments.common import report as study_report
from seqmodels import plots
from seqmodels.data.captions import CaptionedImages

SHEET = "contact_sheet.png"
SHOWN = 24
COLUMNS = {
    "unseen_exact": ("exact, unseen %", study_report.percent),
    "unseen_chrf": ("chrF", study_report.decimals(1)),
    "unseen_bleu": ("BLEU", study_report.decimals(1)),
    "seen_exact": ("exact, seen %", study_report.percent),
    "seen_chrf": ("chrF", study_report.decimals(1)),
    "seen_bleu": ("BLEU", study_report.decimals(1)),
}


def scores(captions: Sequence[str], wanted: Sequence[str]) -> dict[str, float]:
    """Returns exact match in [0, 1], and sacrebleu's chrF and BLEU in [0, 100].

    BLEU counts up to four words in a row, fewer where all captions are shorter.
    """
    import sacrebleu

    references = [list(wanted)]
    # Captions of three words have no four in a row: BLEU by 1 to 4 of them would be 0.
    order = min(4, max(len(text.split()) for text in wanted))
    bleu = sacrebleu.BLEU(max_ngram_order=order)
    return {
        "exact": exact_match(captions, wanted),
        "chrf": float(sacrebleu.corpus_chrf(list(captions), references).score),
        "bleu": float(bleu.corpus_score(list(captions), references).score),
    }


def baselines(data: Data) -> list[dict[str, Any]]:
    """Returns the records of what knows no words: the commonest caption, the nearest picture."""
    commonest = collections.Counter(data.train.captions).most_common(1)[0][0]
    records: list[dict[str, Any]] = [{"model": "most frequent"}, {"model": "nearest picture"}]
    for name, test in data.tests.items():
        guesses = [commonest] * len(test.captions), nearest(data.train, test.images)
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


def contact_sheet(
    path: pathlib.Path, test: CaptionedImages, captions: Sequence[str], title: str
) -> None:
    """Writes a picture of the first test pictures with the captions found."""
    right = [one == other for one, other in zip(captions, test.captions, strict=False)]
    figure = plots.contact_sheet(test.images[: len(captions)], captions, right, title=title)
    figure.savefig(path)


def show(results: dict[str, Any]) -> None:
    """Prints the table."""
    present = {
        name: column
        for name, column in COLUMNS.items()
        if any(name in record for record in results["results"])
    }
    study_report.show(study_report.table(results, present))
