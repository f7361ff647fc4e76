"""The page: one HTML file that runs trained models and lets a reader set their gates."""

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
