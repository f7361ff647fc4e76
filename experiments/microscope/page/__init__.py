"""The page: one HTML file in which a reader runs trained models and turns their gates."""

from experiments.microscope.page.assemble import write
from experiments.microscope.page.subject import (
    Adding,
    Numbers,
    PageModel,
    Sentence,
    Subject,
    WordNgrams,
    Words,
)

__all__ = [
    "Adding",
    "Numbers",
    "PageModel",
    "Sentence",
    "Subject",
    "WordNgrams",
    "Words",
    "write",
]
