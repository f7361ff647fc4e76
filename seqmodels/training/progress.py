"""Progress of a run: a bar on a terminal, plain lines elsewhere."""

import collections
import time
from collections.abc import Callable
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from seqmodels.storage.text import printable

WINDOW = 30.0  # seconds over which a speed is taken, or since the last update before them


class Speed(NamedTuple):
    """steps: optimizer steps a second. time_steps: time steps, or tokens, a second."""

    steps: float
    time_steps: float


class ProgressDisplay:
    """Display of the current work, its speed, and an upper bound of the remaining time.

    Use it as a context manager. On a terminal it is one live line. Elsewhere it prints one line at
    most every `seconds`, and every text given to `note`.
    """

    def __init__(
        self,
        total: float,
        *,
        done: float = 0.0,
        seconds: float = 10.0,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Prepares the display.

        Args:
          total: the whole work, in a unit of the caller's choice.
          done: the work that the resumed run did before; it counts as done but is not used to
            estimate the remaining time.
          seconds: least time between plain lines; 0 for a line with every update.
          console: where to write; None for standard error.
          clock: returns the time in seconds.
        """
        self._console = console or Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("", total=total, text="")
        self._bar.update(self._task, completed=done)
        self._total = total
        self._seconds = seconds
        self._clock = clock
        self._before = self._done = done
        self._begun = self._printed = clock()
        self._label = ""
        self._steps = self._time_steps = 0.0
        # (time, steps, time steps) at the updates of the label that are within the window
        self._seen = collections.deque([(self._begun, 0.0, 0.0)])

    def __enter__(self) -> "ProgressDisplay":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    @property
    def speed(self) -> Speed:
        """The speed over the last half minute of the current label; 0 before any update."""
        (first, *from_there), (last, *to_here) = self._seen[0], self._seen[-1]
        seconds = max(last - first, 1e-9)
        rates = [(b - a) / seconds for a, b in zip(from_there, to_here, strict=True)]
        return Speed(*rates)

    def update(
        self,
        label: str,
        text: str,
        work: float,
        *,
        steps: float = 0,
        time_steps: float = 0,
        loss: float | None = None,
        grad_norm: float | None = None,
    ) -> None:
        """Adds `work` to the finished work and updates the display.

        Args:
          label: the name of the current work; a new label restarts the measurement of speeds.
          text: further text; "" for none.
          work: the work done since the last update, in the unit of `total`.
          steps: optimizer steps taken since the last update; 0 to show no speed.
          time_steps: time steps, or tokens, that went through the model since the last update, over
            all sequences and seeds; 0 to show no such speed.
          loss: the training loss; None to show none.
          grad_norm: the norm of the gradient; None to show none.
        """
        now = self._clock()
        self._done += work
        self._watch(label, now, steps, time_steps)
        parts = [text] if text else []
        parts += [f"loss {loss:.4g}"] if loss is not None else []
        parts += [f"gradient {grad_norm:.3g}"] if grad_norm is not None else []
        parts += [f"{_number(self.speed.steps)} steps/s"] if steps else []
        parts += [f"{_number(self.speed.time_steps)} time steps/s"] if time_steps else []
        if self._done > self._before:
            share_left = (self._total - self._done) / (self._done - self._before)
            parts.append(f"at most {_duration((now - self._begun) * max(share_left, 0))} left")
        shown = ", ".join(parts)
        self._bar.update(self._task, completed=self._done, description=label, text=shown)
        if not self._console.is_terminal and now - self._printed >= self._seconds:
            self._printed = now
            share = self._done / self._total if self._total else 1.0
            self._print(f"{share:4.0%} {label}: {shown}")

    def skip(self, work: float) -> None:
        """Subtracts skipped `work` from the total."""
        self._total -= work
        self._bar.update(self._task, total=self._total)

    def note(self, text: str) -> None:
        """Prints a permanent line."""
        self._printed = self._clock()
        self._print(text)

    def _watch(self, label: str, now: float, steps: float, time_steps: float) -> None:
        if label != self._label:
            self._label = label
            # An update without steps marks their start.
            self._seen = collections.deque([self._seen[-1]] if steps else [])
        self._steps += steps
        self._time_steps += time_steps
        self._seen.append((now, self._steps, self._time_steps))
        while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW:
            self._seen.popleft()

    def _print(self, text: str) -> None:
        self._console.print(printable(text), markup=False, emoji=False, soft_wrap=True)


def _number(value: float) -> str:
    """Returns a number with three digits: 0.0123, 12.3, 1,230, 4.56 million."""
    if value < 999.5:
        return f"{value:.3g}"
    return f"{float(f'{value:.3g}'):,.0f}" if value < 999_500 else f"{value / 1e6:.3g} million"


def _duration(seconds: float) -> str:
    """Returns a duration in the largest unit of which it has at least two."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.{0 if seconds >= 10 * size else 1}f} {unit}"
    return f"{seconds:.0f} s"
