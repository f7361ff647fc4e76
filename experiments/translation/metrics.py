"""BLEU and chrF of translations, on a whole split and by the distance from training."""

from collections.abc import Callable, Sequence

import numpy as np

from seqmodels.data import phrase_splits
from seqmodels.data.phrase_splits import Splits
from seqmodels.data.sentence_pairs import Pair

DISTANCES = {"far": (-1.0, 0.6), "middle": (0.6, 0.8), "near": (0.8, 2.0)}  # bounds of the cosine


def check_installed() -> None:
    """Raises ModuleNotFoundError, in one line, if sacrebleu is not installed."""
    try:
        import sacrebleu  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("BLEU needs sacrebleu: pip install 'seqmodels[data]'") from error


def scores(hypotheses: Sequence[str], pairs: Sequence[Pair]) -> dict[str, float]:
    """Returns sacrebleu's BLEU (Post 2018, arXiv 1804.08771) and chrF (Popovic 2015), 0 to 100."""
    import sacrebleu

    references = [[pair.target for pair in pairs]]
    return {
        "bleu": sacrebleu.corpus_bleu(list(hypotheses), references).score,
        "chrf": sacrebleu.corpus_chrf(list(hypotheses), references).score,
    }


def scores_by_part(splits: Splits, translate: Callable[[list[str]], list[str]]) -> dict[str, float]:
    """Returns the figures of the test splits, such as components_bleu.

    Args:
      splits: the data.
      translate: function from sources to one translation each.

    Returns:
      bleu and chrf of the component split, of the source split, and of its parts by the cosine to
      the nearest training source: far (< .6), middle (.6 to .8), near.
    """
    _, cosines = phrase_splits.nearest(
        [pair.source for pair in splits.train], [pair.source for pair in splits.sources]
    )
    held_out = [*splits.components, *splits.sources]
    translations = translate([pair.source for pair in held_out])
    number = len(splits.components)
    parts: dict[str, Sequence[int]] = {
        "components": range(number),
        "sources": range(number, len(held_out)),
    }
    for name, (low, high) in DISTANCES.items():
        inside = np.flatnonzero((low <= cosines) & (cosines < high))
        parts[name] = [number + int(row) for row in inside]
    figures: dict[str, float] = {}
    for name, rows in parts.items():
        if rows:
            of_part = scores([translations[row] for row in rows], [held_out[row] for row in rows])
            figures |= {f"{name}_{metric}": value for metric, value in of_part.items()}
    return figures
