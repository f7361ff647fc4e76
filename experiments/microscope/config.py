"""Options of the microscope."""

import dataclasses

from experiments.common.config import Options, option

PROGRAM = "microscope"
PROGRAMS = ("long_context", "sentiment")
MOST_NUMBERS = 2**28  # inputs of all fresh sequences, of 1 GB
CELLS = ("rnn", "gru", "lstm")
OWN_RUN = ("cells", "distances", "hidden", "seeds", "steps")  # the options of the run it trains


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of the microscope."""

    model_dir: str | None = option(
        None,
        "Folder of a finished run of long_context (tasks sky and adding) or sentiment, or of one "
        "of its models. By default a small run of the sky task, which the first call trains.",
        path=True,
    )
    out: str | None = option(
        None,
        "Folder of the page, the pictures and the tables; by default one below runs/microscope/ "
        "with the name of the run.",
        path=True,
    )
    text: str | None = option(
        None, "Sentence to begin with, on the page and in the pictures; by default one of the task."
    )
    distance: int | None = option(
        None,
        "Of a run with several distances, the one whose models are shown; by default the longest "
        "one that a model remembers.",
        at_least=0,
        at_most=1_000_000,
    )
    reach: tuple[int, ...] = option(
        (0, 2, 4, 8, 16, 32, 64, 96, 128, 192),
        "Distances at which the memory horizon is measured.",
        at_least=0,
        at_most=10_000,
    )
    fresh: int = option(
        256, "Fresh sequences at each of these distances.", at_least=8, at_most=65_536
    )
    cells: tuple[str, ...] = option(
        CELLS, "Cells of the small run (only without model_dir).", choices=CELLS
    )
    distances: tuple[int, ...] = option(
        (16, 64), "Distances of the small run, in words.", at_least=0, at_most=10_000
    )
    hidden: int = option(32, "Hidden units of the small run.", at_least=1, at_most=65_536)
    seeds: int = option(2, "Seeds of the small run.", at_least=1, at_most=4_096)
    steps: int = option(600, "Largest number of training steps of the small run.", at_least=1)

    def check(self) -> None:
        """Raises ValueError for options that contradict each other."""
        numbers = self.fresh * len(self.reach) * (max(self.reach) + 1)
        if numbers > MOST_NUMBERS:
            most = MOST_NUMBERS // (len(self.reach) * (max(self.reach) + 1))
            raise ValueError(
                f"fresh: got {self.fresh} at {len(self.reach)} distances up to {max(self.reach)}, "
                f"expected at most {most}"
            )
        if self.model_dir is None:
            return
        default = {field.name: field.default for field in dataclasses.fields(Config)}
        for name in OWN_RUN:
            if getattr(self, name) != default[name]:
                raise ValueError(f"{name}: got it with model_dir, expected only one of the two")

    @property
    def all_reach(self) -> tuple[int, ...]:
        """The distances of the memory horizon, ascending."""
        return tuple(sorted(self.reach))
