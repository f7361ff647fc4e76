"""Words of texts in any script: combining marks belong to their letter, joiners are not words."""

import functools
import unicodedata
from collections.abc import Iterable
from typing import Any

# Invisible characters: soft hyphen, joiners of words, marks of direction.
INVISIBLE = "\u00ad\u061c\u180e\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
BREAK = "\u200b"  # a space without width, where a line may break
JOINERS = "\u200c\u200d"  # they join letters or emoji and are not words
_SELECTORS = ("\ufe00", "\ufe0f", "\U000e0100", "\U000e01ef")  # variation selectors, two ranges


def check_texts(name: str, texts: Iterable[Any]) -> list[str]:
    """Returns texts as a list.

    Args:
      name: the argument's name in an error.
      texts: any number of strings.

    Raises:
      ValueError: if `texts` is one bare string, whose letters would count as texts, or holds
        something else than strings.

    Examples:
      >>> check_texts("texts", ("a red ball",))
      ['a red ball']
    """
    if isinstance(texts, str | bytes):
        raise ValueError(f"{name}: got a bare {type(texts).__name__}, expected a list of texts")
    found = list(texts)
    for place, text in enumerate(found):
        if not isinstance(text, str):
            kind = type(text).__name__
            raise ValueError(f"{name}: got a {kind} at place {place}, expected texts")
    return found


def bare_words(text: str) -> str:
    """Returns the letters, marks and digits of a text, single spaces in the place of the rest.

    A mark stays with the letter before it, and one without a letter is dropped. Joiners, soft
    hyphens, marks of direction and variation selectors are dropped without a space.

    Examples:
      >>> bare_words("co\u00adop, it's")
      'coop it s'
    """
    kept: list[str] = []
    follows_letter = False
    for character in text:
        if character.isalnum():
            kept.append(character)
            follows_letter = True
        elif not is_visible(character) and character != BREAK:
            continue
        elif unicodedata.category(character).startswith("M"):
            kept += character if follows_letter else ""
        else:
            kept.append(" ")
            follows_letter = False
    return " ".join("".join(kept).split())


def caseless(text: str) -> str:
    """Returns a lower-case form in which spellings that look alike are equal.

    Compatibility forms are composed and case is folded, as in the caseless matching of The Unicode
    Standard, section 3.13. Marks stay.

    Examples:
      >>> caseless("E\u0301") == caseless("\u00e9")
      True
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", folded)


@functools.cache
def mark_class() -> str:
    r"""Returns the inside of a character class of `re`: combining marks, and joiners of letters.

    `\w` of `re` has no combining marks, so that it would cut Hindi and pointed Hebrew apart.
    """
    codes = [*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)]
    marks = {code for code in codes if unicodedata.category(chr(code)).startswith("M")}
    starts = sorted(code for code in marks if code - 1 not in marks)
    ends = sorted(code for code in marks if code + 1 not in marks)
    ranges = [f"{chr(first)}-{chr(last)}" for first, last in zip(starts, ends, strict=True)]
    return JOINERS + "".join(ranges)


def is_visible(character: str) -> bool:
    """Returns whether a character is visible, a space or a line break."""
    return unicodedata.category(character) != "Cf" and not _is_selector(character)


def _is_selector(character: str) -> bool:
    first, last, more, most = _SELECTORS
    return first <= character <= last or more <= character <= most
