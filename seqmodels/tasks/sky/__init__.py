"""The sky task: a clue, filler text, and the question which color the sky is."""

from seqmodels.tasks.sky.task import make_corpus, read_filler, sky

__all__ = ["make_corpus", "read_filler", "sky"]
