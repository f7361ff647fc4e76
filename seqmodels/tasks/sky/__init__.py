"""The sky task: a clue, filler text, and the question which color the sky is."""

from seqmodels.tasks.sky.clues import COLORS
from seqmodels.tasks.sky.filler import FILLER
from seqmodels.tasks.sky.task import make_corpus, read_filler, sky

__all__ = ["COLORS", "FILLER", "make_corpus", "read_filler", "sky"]
