"""Options of the sentiment study."""

import dataclasses

from experiments.common.config import Options, option, section
from experiments.common.sections import DataConfig, ModelOptions, SavingConfig, TrainingConfig

PROGRAM = "sentiment"
DATA = ("tweets", "rotten_tomatoes", "imdb", "csv")
FILM_REVIEWS = ("rotten_tomatoes", "imdb")
TARGETS = ("classes", "rating")
MODELS = ("bag", "rnn", "gru", "lstm", "bilstm")
NGRAMS = ("words", "characters")
TOO_LONG = ("truncate", "refuse")


def _sizes(value: tuple[int, ...]) -> None:
    if len(value) > 2:
        raise ValueError(f"got {','.join(map(str, value))}, expected one or two sizes such as 3,4")


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of the sentiment study."""

    data: str = option("tweets", "The texts.", choices=DATA)
    csv: str | None = option(
        None, "Your own file with data=csv: UTF-8, with a header.", digest=True
    )
    text_column: str = option("text", "Column of the csv with the texts.")
    label_column: str = option("label", "Column of the csv with the classes or ratings.")
    split_seed: int = option(
        0, "Seed of the split into training, validation and test texts.", at_least=0, at_most=2**31
    )
    target: str = option(
        "classes", "What to predict: classes or a rating (tweets, csv).", choices=TARGETS
    )
    models: tuple[str, ...] = option(
        MODELS, "Models; bag is a mean of word vectors, without a cell.", choices=MODELS
    )
    hidden: int = option(64, "Hidden units, of each direction.", at_least=1, at_most=65_536)
    embedding: int = option(64, "Size of an embedded word.", at_least=1, at_most=65_536)
    dropout: float = option(
        0.5, "Share of the pooled outputs dropped in training.", at_least=0, at_most=0.99
    )
    word_dropout: float = option(
        0.3, "Share of the words skipped in training.", at_least=0, at_most=0.99
    )
    embedding_dropout: float = option(
        0.5, "Share of an embedding's numbers dropped in training.", at_least=0, at_most=0.99
    )
    least_count: int = option(
        2,
        "Count from which a word gets a vector of its own; rarer words have only n-grams.",
        at_least=1,
        at_most=10**6,
    )
    buckets: int = option(
        10_000,
        "Hash buckets of the character n-grams; 0: no n-grams.",
        at_least=0,
        at_most=10**7,
    )
    ngrams: tuple[int, ...] = option(
        (3, 4), "Shortest and longest n-gram, in characters.", at_least=1, check=_sizes
    )
    max_words: int = option(
        64, "Words of a text; the words after them are left out.", at_least=1, at_most=1_000_000
    )
    balance: float = option(
        0.5, "Weighting of the classes: 0 for none, 1 for equal shares.", at_least=0
    )
    pool_words: bool = option(False, "Pool the words too, in addition to the outputs of the cell.")
    vectors_from: str = option(
        "none",
        "Texts, without their labels, of which initial word vectors are made: none, tweets, "
        "rotten_tomatoes, imdb, or your own file with a text on each line.",
        digest=True,
        names=("none", *DATA),
    )
    patience: int = option(
        1_000,
        "Evaluations without improvement after which training stops.",
        at_least=1,
        at_most=10**6,
    )
    baselines: tuple[str, ...] = option(NGRAMS, "N-grams of TF-IDF baselines.", choices=NGRAMS)
    fetched: DataConfig = section(DataConfig())
    training: TrainingConfig = section(TrainingConfig(seeds=6, steps=700))
    saving: SavingConfig = section(SavingConfig())

    @property
    def ngram_sizes(self) -> tuple[int, int]:
        """The shortest and the longest n-gram, in characters."""
        return min(self.ngrams), max(self.ngrams)

    def check(self) -> None:
        """Raises ValueError for options that contradict each other."""
        if (self.data == "csv") != (self.csv is not None):
            raise ValueError(
                f"csv: got {self.csv!r} with data {self.data}, expected both data csv and a csv "
                "file, or neither"
            )
        if self.target == "rating" and self.data in FILM_REVIEWS:
            raise ValueError(f"target: got rating with {self.data}, which has classes alone")
        self.training.learning_rates(self.models, MODELS)
        # Outputs are pooled over all steps, so a gradient has no distance.
        self.training.check_watch(PROGRAM, ("gates",))
        if self.training.watch and self.models == ("bag",):
            raise ValueError("watch: got gates with models bag, expected a model with a cell")


@dataclasses.dataclass(frozen=True)
class Actions(Options):
    """Use of a trained model."""

    predict: str | None = option(
        None, "Your own text, to be classified; - reads standard input.", empty=True
    )
    plot: str | None = option(
        None, "With predict: a picture of how the prediction changes word by word.", path=True
    )
    too_long: str = option(
        "truncate", "A text of more than max_words: truncate or refuse.", choices=TOO_LONG
    )
    export: str | None = option(
        None, "Write the model into one file, for seqmodels.serving.", path=True
    )
    models: ModelOptions = section(ModelOptions())

    def check(self) -> None:
        """Raises ValueError for options that contradict each other."""
        if self.plot is not None and self.predict is None:
            raise ValueError("plot: got it without predict, expected both")
