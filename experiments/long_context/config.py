"""Options of the long-context study."""

import dataclasses

from experiments.common.config import Options, option, section, unknown, values_by_name
from experiments.common.sections import ModelOptions, SavingConfig, TrainingConfig

PROGRAM = "long_context"
CELLS = ("rnn", "rnn_relu", "gru", "gru_after", "lstm")
INITIALISATIONS = ("standard", "memory")
DISTANCES = {  # the tasks, and the distances where none are given
    "sky": (0, 16, 32, 64, 128),
    "digits": (0, 16, 32, 64, 128),
    "adding": (10, 25, 50, 100, 200),
    "copy": (10, 25, 50, 100, 200),
    "temporal_order": (10, 25, 50, 100, 200),
}
SHORTEST = {"sky": 0, "digits": 0, "adding": 2, "copy": 1, "temporal_order": 10}  # distances


def _initialisation(text: str) -> str:
    if text not in INITIALISATIONS:
        raise ValueError(unknown(text, INITIALISATIONS))
    return text


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of the long-context study."""

    task: str = option("sky", "The task: what has to be remembered.", choices=tuple(DISTANCES))
    cells: tuple[str, ...] = option(("rnn", "gru", "lstm"), "Cells.", choices=CELLS)
    distances: tuple[int, ...] | None = option(
        None,
        "Steps between what has to be remembered and the question; for adding and temporal_order "
        "the length of the sequence. By default 0 to 128 for sky and digits, 10 to 200 for the "
        "others.",
        at_least=0,
        at_most=1_000_000,
    )
    hidden: int = option(64, "Hidden units of every cell.", at_least=1, at_most=65_536)
    embedding: int = option(32, "Size of an embedded word.", at_least=1, at_most=65_536)
    initialisation: str = option(
        "memory",
        "standard (orthogonal recurrence, forget bias 1) or memory (identity recurrence in the "
        "RNN, chrono biases in LSTM and GRU); one for all, or one for every cell, "
        "rnn:standard,lstm:memory.",
        per_name=_initialisation,
    )
    stop_at: float = option(
        0.995,
        "Validation accuracy at which a seed stops; above 1: never.",
        above=0,
        infinite=True,
    )
    stop_after: int = option(
        2,
        "Evaluations in a row with that accuracy before a seed stops.",
        at_least=1,
        at_most=1_000_000,
    )
    test_sequences: int = option(
        1024,
        "Test sequences per seed; validation has a quarter as many.",
        at_least=4,
        at_most=1_048_576,
    )
    filler_file: str | None = option(
        None, "Your own UTF-8 text as filler of the task sky.", digest=True
    )
    training: TrainingConfig = section(TrainingConfig(seeds=4))
    saving: SavingConfig = section(SavingConfig())

    @property
    def all_distances(self) -> tuple[int, ...]:
        """The distances, ascending."""
        return tuple(sorted(self.distances or DISTANCES[self.task]))

    @property
    def initialisations(self) -> dict[str, str]:
        """The initialization of every cell."""
        return values_by_name(
            "initialisation", self.initialisation, _initialisation, needed=self.cells, known=CELLS
        )

    def check(self) -> None:
        """Raises ValueError for options that contradict each other."""
        if self.filler_file is not None and self.task != "sky":
            raise ValueError(f"filler_file: got it with task {self.task}, expected task sky")
        least = SHORTEST[self.task]
        if self.all_distances[0] < least:
            raise ValueError(
                f"distances: got {self.all_distances[0]} with task {self.task}, expected at least "
                f"{least}"
            )
        self.training.learning_rates(self.cells, CELLS)
        _ = self.initialisations


@dataclasses.dataclass(frozen=True)
class Actions(Options):
    """Use of the models that the study keeps."""

    predict: str | None = option(
        None,
        'Your own text: of the sky task such as "Ash is on every roof. The sky is", of adding such '
        'as "0.31 0.87* 0.12*"; - reads standard input.',
        empty=True,
    )
    models: ModelOptions = section(ModelOptions())
