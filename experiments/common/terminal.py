"""Terminal output of all experiments, with control characters of the user's text escaped."""

import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from seqmodels.storage.text import printable


def say(*values: object, error: bool = False, lines: bool = False) -> None:
    """Prints values, with spaces between them and control characters escaped.

    Args:
      values: the values to print.
      error: whether to print to standard error.
      lines: whether line breaks and tabs stay.
    """
    stream = sys.stderr if error else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    text = printable(" ".join(map(str, values)), keep="\n\t" if lines else "")
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=error)


class PlainConsole(Console):
    """A console to which every text is plain: without markup, emoji codes and control characters.

    Tables and titles that are made of strings are shown as they are written.
    """

    def __init__(self, **options: Any):
        """Makes the console; options are those of `rich.console.Console`."""
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **options})

    def on_broken_pipe(self) -> None:
        """Lets the caller handle a closed output; rich would end the process."""
        raise BrokenPipeError

    def render_str(self, text: str, **options: Any) -> Text:
        """Returns the text as rich shows it, without any interpretation."""
        plain = {"emoji": False, "markup": False, "highlight": False}
        return super().render_str(printable(text, keep="\n"), **{**options, **plain})
