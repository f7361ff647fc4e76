"""Baselines of the character language models: no model, unigrams, n-grams with back-off."""

from typing import Any

import numpy as np

from experiments.character_lm.data import Data
from seqmodels.models import ngrams

LONGEST_GRAM = 8


def baselines(data: Data) -> list[dict[str, Any]]:
    """Returns records of the uniform distribution, unigrams, and the n-grams best in validation."""
    characters = data.characters
    train, *held_out = (characters.encode(text) for text in data.text)
    size = len(characters.known)
    validation, test = (
        ngrams.bits_by_order(train, tokens, size, LONGEST_GRAM) for tokens in held_out
    )
    best = int(np.argmin(validation))
    names = {"uniform": 0, "unigrams": 1, f"{best}-grams with back-off": best}
    return [
        {"model": name, "validation_bits": validation[order], "test_bits": test[order]}
        for name, order in names.items()
    ]
