"""Options of the translation study."""

import dataclasses

from experiments.common.config import Options, option, section
from experiments.common.sections import DataConfig, ModelOptions, SavingConfig, TrainingConfig
from seqmodels.data.subwords import SMALLEST_VOCABULARY
from seqmodels.models.translator import ATTENTIONS

PROGRAM = "translation"
PICTURE = "attention.png"
TOO_LONG = ("cut", "refuse")


def _even(value: int) -> None:
    if value % 2:
        raise ValueError(f"got {value}, expected an even number")


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of the translation study."""

    attention: tuple[str, ...] = option(("luong",), "Models.", choices=ATTENTIONS)
    hidden: int = option(
        192, "Hidden units, an even number.", at_least=1, at_most=65_536, check=_even
    )
    embedding: int = option(128, "Size of an embedded token.", at_least=1, at_most=65_536)
    dropout: float = option(
        0.3, "Share of the features dropped in training.", at_least=0, at_most=0.99
    )
    label_smoothing: float = option(
        0.1, "Probability that is spread over all tokens.", at_least=0, at_most=0.99
    )
    scheduled_sampling: float = option(
        0.0,
        "Share of decoder inputs that are its own predictions, at the end of training.",
        at_least=0,
        at_most=0.99,
    )
    vocabulary: int = option(
        2500,
        "Largest number of tokens of each language.",
        at_least=SMALLEST_VOCABULARY,
        at_most=1_000_000,
    )
    max_tokens: int = option(
        40,
        "Longest source in tokens; a translation may have half as many more.",
        at_least=2,
        at_most=10_000,
    )
    beam: int = option(4, "Width of the beam; 1: greedy.", at_least=1, at_most=256)
    length_penalty: float = option(
        1.0, "Exponent of the length normalization of beam search; 0: none."
    )
    pairs_file: str | None = option(
        None,
        "Your own pairs: UTF-8, on each line a source, a tab, its translation.",
        digest=True,
    )
    split_seed: int = option(
        0, "Seed of the split into training, validation and test pairs.", at_least=0, at_most=2**31
    )
    fetched: DataConfig = section(DataConfig())
    training: TrainingConfig = section(
        TrainingConfig(
            seeds=3, steps=3000, batch=64, learning_rate="0.005", eval_every=300, clip_norm=1.0
        )
    )
    saving: SavingConfig = section(SavingConfig())

    def check(self) -> None:
        """Raises ValueError for options that contradict each other."""
        self.training.learning_rates(self.attention, ATTENTIONS)
        self.training.check_watch(PROGRAM)


@dataclasses.dataclass(frozen=True)
class Actions(Options):
    """Use of a trained model."""

    predict: str | None = option(
        None, "Your own text, to be translated; - reads standard input.", empty=True
    )
    picture: str = option(PICTURE, "Where predict draws the attention of the best translation.")
    plot: str | None = option(
        None,
        "Another name of the option picture, as in the other experiments; it takes precedence.",
        path=True,
    )
    too_long: str = option(
        "cut", "A text of more than max_tokens: cut or refuse.", choices=TOO_LONG
    )
    export: str | None = option(
        None, "Write the model into one file, for seqmodels.serving.", path=True
    )
    models: ModelOptions = section(ModelOptions())

    def check(self) -> None:
        """Raises ValueError for options that contradict each other."""
        if self.plot is not None and self.predict is None:
            raise ValueError("plot: got it without predict, expected both")
