"""Options of the character language models."""

import dataclasses

from experiments.common.config import Options, option, section
from experiments.common.sections import DataConfig, ModelOptions, SavingConfig, TrainingConfig

PROGRAM = "character_lm"
CELLS = ("rnn", "gru", "lstm")


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of the character language models."""

    cells: tuple[str, ...] = option(("rnn", "lstm"), "Models.", choices=CELLS)
    hidden: int = option(256, "Hidden units.", at_least=1, at_most=65_536)
    embedding: int = option(64, "Size of an embedded character.", at_least=1, at_most=65_536)
    length: int = option(
        64, "Steps of a training piece, over which gradients are propagated.", at_least=1
    )
    fetched: DataConfig = section(DataConfig())
    training: TrainingConfig = section(
        TrainingConfig(
            seeds=2, steps=1800, batch=32, learning_rate="0.003", eval_every=600, clip_norm=1.0
        )
    )
    saving: SavingConfig = section(SavingConfig())

    def check(self) -> None:
        """Raises ValueError for options that contradict each other."""
        self.training.learning_rates(self.cells, CELLS)


@dataclasses.dataclass(frozen=True)
class Actions(Options):
    """Use of a trained model."""

    predict: str | None = option(
        None, "Your own text, which the model continues; - reads standard input.", empty=True
    )
    characters: int = option(400, "Characters to generate.", at_least=1)
    temperature: float = option(0.8, "Below 1: probable characters become more probable.", above=0)
    sample_seed: int = option(0, "Seed of the generated text.", at_least=0)
    plot: str | None = option(
        None, "With predict: a picture of the bits of each character of the whole text.", path=True
    )
    export: str | None = option(
        None, "Write one step of the model into one file, for seqmodels.serving.", path=True
    )
    models: ModelOptions = section(ModelOptions())

    def check(self) -> None:
        """Raises ValueError for options that contradict each other."""
        if self.plot is not None and self.predict is None:
            raise ValueError("plot: got it without predict, expected both")
