"""Training length and the intervals of logging, evaluation and checkpoints."""

import math
from typing import Any, NamedTuple

ON_NONFINITE = ("stop", "skip")
CONSECUTIVE_SKIPS = 10  # more skipped updates in a row end the training


class FitSettings(NamedTuple):
    """Training length and the intervals of logging, evaluation and checkpoints.

    Attributes:
      steps: the total number of training steps.
      steps_per_dispatch: steps in one call of `train`; divides the next two and `steps`.
      log_every: steps between two records; a record holds means over them.
      eval_every: steps between two evaluations, a multiple of `log_every`; 0 for none but the last.
      checkpoint_every: least seconds between two checkpoints; infinite for none but the last.
      on_nonfinite: "stop" raises at the first loss or gradient that is not finite. "skip" counts
        the updates that the optimizer skips (`OptimizerSettings.skip`). After more than
        `CONSECUTIVE_SKIPS` in a row it stops that seed, or raises if there is only one.
      best: name of the metric by which the best checkpoint is kept, or None.
      best_mode: "min" or "max", which value of it is better. Of equal values the later one is kept,
        because it was trained for longer.
      best_tie: name of a metric of the same mode that decides between equal values of `best`.
    """

    steps: int
    steps_per_dispatch: int = 1
    log_every: int = 100
    eval_every: int = 0
    checkpoint_every: float = 60.0
    on_nonfinite: str = "stop"
    best: str | None = None
    best_mode: str = "min"
    best_tie: str | None = None


def steps_per_dispatch(settings: FitSettings, at_most: int) -> int:
    """Returns the largest common divisor of the intervals and `steps`, up to `at_most`."""
    whole = math.gcd(settings.steps, settings.log_every, settings.eval_every)
    return max(n for n in range(1, min(whole, at_most) + 1) if whole % n == 0)


def check_settings(settings: FitSettings) -> None:
    """Raises ValueError, in one line, if the settings are inconsistent."""
    for name in ("steps", "steps_per_dispatch", "log_every"):
        if getattr(settings, name) < 1:
            raise ValueError(f"{name}: got {getattr(settings, name)}, expected at least 1")
    per_dispatch = settings.steps_per_dispatch
    for name in ("steps", "log_every", "eval_every"):
        if getattr(settings, name) % per_dispatch:
            raise ValueError(
                f"{name}: got {getattr(settings, name)}, expected a multiple of "
                f"steps_per_dispatch ({per_dispatch})"
            )
    if settings.eval_every % settings.log_every:
        raise ValueError(
            f"eval_every: got {settings.eval_every}, expected a multiple of log_every "
            f"({settings.log_every})"
        )
    if settings.on_nonfinite not in ON_NONFINITE:
        raise ValueError(
            f"on_nonfinite: got {settings.on_nonfinite!r}, expected {' or '.join(ON_NONFINITE)}"
        )
    if settings.best_mode not in ("min", "max"):
        raise ValueError(f"best_mode: got {settings.best_mode!r}, expected min or max")


def run_settings(settings: FitSettings) -> dict[str, Any]:
    """Returns the settings that must stay the same for a resume to be exact.

    `steps` may change: a finished training can be extended.
    """
    kept = settings._asdict()
    del kept["steps"], kept["checkpoint_every"]
    return kept
