"""Baselines of the translation study: the source itself, and the nearest training sentence."""

from typing import Any

from experiments.translation.metrics import scores_by_part
from seqmodels.data import phrase_splits
from seqmodels.data.phrase_splits import Splits


def baselines(splits: Splits) -> list[dict[str, Any]]:
    """Returns the records of copying the source, and of the nearest training sentence."""
    known = [pair.source for pair in splits.train]

    def nearest(texts: list[str]) -> list[str]:
        return [splits.train[n].target for n in phrase_splits.nearest(known, texts)[0]]

    return [
        {"model": "copy the source", **scores_by_part(splits, list)},
        {"model": "nearest sentence", **scores_by_part(splits, nearest)},
    ]
