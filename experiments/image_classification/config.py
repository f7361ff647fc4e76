"""Options of the image classification."""

import dataclasses

from experiments.common.config import Options, option, section
from experiments.common.sections import DataConfig, ModelOptions, SavingConfig, TrainingConfig
from seqmodels.datasets.digit_images import SETS
from seqmodels.models.image_reader import POOLINGS, READINGS

PROGRAM = "image_classification"
CELLS = ("rnn", "gru", "lstm")
MODELS = ("cnn", *CELLS)


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of the image classification."""

    data: str = option(
        "digits",
        "Images: digits (8x8, scikit-learn) or mnist (5,000 of 28x28, fetched).",
        choices=SETS,
    )
    models: tuple[str, ...] = option(MODELS, "Models; the cnn has no cell.", choices=MODELS)
    reading: tuple[str, ...] = option(
        ("rows",), "How a cell reads an image: rows, pixels, or both.", choices=READINGS
    )
    hidden: int = option(
        128,
        "Hidden units of a cell, and of the CNN's fully connected layer.",
        at_least=1,
        at_most=65_536,
    )
    channels: tuple[int, ...] = option(
        (16, 32),
        "Feature maps of the CNN's convolutions, in order.",
        at_least=1,
        at_most=4096,
        distinct=False,
    )
    dropout: float = option(0.2, "Share of units dropped in training.", at_least=0, at_most=0.99)
    pooling: str = option("mean", "Outputs of a cell that the classifier reads.", choices=POOLINGS)
    shift: int = option(
        1, "Pixels by which training images are shifted at most, at random.", at_least=0, at_most=8
    )
    fetched: DataConfig = section(DataConfig())
    training: TrainingConfig = section(
        TrainingConfig(seeds=3, steps=1000, batch=64, learning_rate="0.002", eval_every=100)
    )
    saving: SavingConfig = section(SavingConfig())

    def check(self) -> None:
        """Raises ValueError for options that contradict each other."""
        self.training.learning_rates(self.models, MODELS)
        # Outputs are pooled over all steps by default, so a gradient has no distance.
        self.training.check_watch(PROGRAM, ("gates",))
        if self.training.watch and self.models == ("cnn",):
            raise ValueError("watch: got gates with models cnn, expected a model with a cell")


@dataclasses.dataclass(frozen=True)
class Actions(Options):
    """Use of a trained model."""

    predict: str | None = option(
        None,
        "Your own image with one digit: of any mode and size; it is made gray, inverted where the "
        "background is light, cut to the digit and centered, as the training images are.",
        path=True,
    )
    plot: str | None = option(
        None,
        "With predict: a picture of the image as the model sees it and of the probabilities.",
        path=True,
    )
    export: str | None = option(
        None, "Write the model into one file, for seqmodels.serving.", path=True
    )
    models: ModelOptions = section(ModelOptions())

    def check(self) -> None:
        """Raises ValueError for options that contradict each other."""
        if self.plot is not None and self.predict is None:
            raise ValueError("plot: got it without predict, expected both")
