"""Options of the ablation study."""

import dataclasses

from experiments.ablations.variants import BASELINE, NAMES
from experiments.common.config import Options, option, section
from experiments.common.sections import DataConfig, SavingConfig, TrainingConfig

PROGRAM = "ablations"
TASKS = ("sky", "adding", "characters")
# A variant that diverges is a result; the others continue.
_TRAINING = TrainingConfig(seeds=6, steps=1500, on_nonfinite="skip")


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of the ablation study."""

    variants: tuple[str, ...] = option(
        NAMES, f"Variants of the LSTM; {BASELINE} is the baseline.", choices=NAMES
    )
    tasks: tuple[str, ...] = option(
        TASKS, "Tasks on which the variants are trained.", choices=TASKS
    )
    distances: tuple[int, ...] = option(
        (16, 64, 128), "Words between clue and question in sky.", at_least=0, at_most=100_000
    )
    adding_length: int = option(200, "Steps of the adding task.", at_least=2, at_most=100_000)
    window: int = option(64, "Characters of a training sequence.", at_least=2, at_most=100_000)
    rates: tuple[float, ...] = option(
        (0.001, 0.003, 0.01),
        "Learning rates, instead of learning_rate; every variant gets the best one in validation.",
        above=0,
    )
    hidden: int = option(64, "Hidden units of every cell.", at_least=1, at_most=65_536)
    embedding: int = option(32, "Size of an embedded token.", at_least=1, at_most=65_536)
    stop_at: float = option(
        0.995,
        "Validation accuracy at which a seed stops; above 1: never.",
        above=0,
        infinite=True,
    )
    test_sequences: int = option(
        1024,
        "Test sequences per seed; validation has a quarter as many.",
        at_least=4,
        at_most=1_048_576,
    )
    fetched: DataConfig = section(DataConfig())
    training: TrainingConfig = section(_TRAINING)
    saving: SavingConfig = section(SavingConfig())

    def check(self) -> None:
        """Raises ValueError for options that contradict each other."""
        if self.training.learning_rate != _TRAINING.learning_rate:
            raise ValueError(
                f"learning_rate: got {self.training.learning_rate}, expected rates instead"
            )
        if self.training.average:
            raise ValueError(f"average: got {self.training.average}, expected 0")
