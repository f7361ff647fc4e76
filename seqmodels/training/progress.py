"""Progress of a run: a bar on a terminal, plain lines elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn


class ProgressDisplay:
    """Shows what is running, how fast, and how long it will take at most.

    Use it as a context manager. On a terminal it is one live line; elsewhere it prints a line of
    its own at most every `seconds`, and whatever `note` is given.
    """

    def __init__(self, total: float, *, seconds: float = 10.0, console: Console | None = None):
        """Prepares the display.

        Args:
          total: all the work there is, in a unit of the caller's choice.
          seconds: least time between plain lines.
          console: where to write; None for standard error.
        """
        self._console = console or Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[text]}"),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("", total=total, text="")
        self._total = total
        self._seconds = seconds
        self._done = 0.0
        self._begun = self._printed = time.monotonic()

    def __enter__(self) -> "ProgressDisplay":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def update(self, label: str, text: str, work: float) -> None:
        """Adds `work` to what is done and shows `label` and `text` with the time left."""
        self._done += work
        now = time.monotonic()
        left = (now - self._begun) * (self._total - self._done) / max(self._done, 1e-9)
        text = f"{text}, at most {max(left, 0):.0f} s left"
        self._bar.update(self._task, completed=self._done, description=label, text=text)
        if not self._console.is_terminal and now - self._printed >= self._seconds:
            self._printed = now
            share = self._done / self._total
            self._print(f"{share:4.0%} {label}: {text}")

    def skip(self, work: float) -> None:
        """Takes `work` off what is left, because it will not be needed."""
        self._total -= work
        self._bar.update(self._task, total=self._total)

    def note(self, text: str) -> None:
        """Prints a line that stays."""
        self._printed = time.monotonic()
        self._print(text)

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)
