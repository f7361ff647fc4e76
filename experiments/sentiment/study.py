"""Many to one: is a text positive or negative?

Trains recurrent classifiers on tweets, on sentences or whole reviews of films, or on your own CSV,
beside TF-IDF with logistic regression; then tells what it thinks of your own text.

    python -m experiments.sentiment --flagfile=experiments/sentiment/flagfiles/tweets.flags
    python -m experiments.sentiment --predict="I love this" --plot=love.png
    python -m experiments.sentiment --export=sentiment.seq
"""

import hashlib
import pathlib
from typing import Any

import numpy as np
from absl import flags

from experiments.common import app, runner, saved_models, training_flags
from experiments.common import report as study_report
from experiments.sentiment import data as sentiment_data
from experiments.sentiment import predict as sentiment_use
from experiments.sentiment import report as sentiment_report
from experiments.sentiment.baselines import NGRAMS, baselines, scores
from experiments.sentiment.data import DATA, TARGETS, Source
from experiments.sentiment.model import HEADS, KIND, MODELS, Config, restore, training
from seqmodels.data import word_features
from seqmodels.training.stopping import patience

NAMES = [
    "data", "target", "csv", "text_column", "label_column", "split_seed", "models", "hidden",
    "embedding", "dropout", "word_dropout", "embedding_dropout", "least_count", "buckets", "ngrams",
    "max_words", "balance", "patience", "baselines", "pool_words",
    "vectors_from",
]  # fmt: skip


def define_flags() -> None:
    """Defines the flags of this entry point."""
    flags.DEFINE_string("data", "tweets", f"Which texts: {', '.join(DATA)}.")
    flags.DEFINE_string("csv", None, "Your own file with --data=csv: UTF-8, with a header.")
    flags.DEFINE_string("text_column", "text", "Column of the csv with the texts.")
    flags.DEFINE_string("label_column", "label", "Column of the csv with the classes or ratings.")
    flags.DEFINE_string("data_dir", None, "Where data sets are kept; default: the user's cache.")
    flags.DEFINE_integer(
        "split_seed", 0, "Which texts train, validate and test.", lower_bound=0, upper_bound=2**31
    )
    flags.DEFINE_string("target", "classes", "What to predict: classes or a rating (tweets, csv).")
    flags.DEFINE_list("models", list(MODELS), f"Models, of {', '.join(MODELS)}; bag: no cell.")
    flags.DEFINE_integer("hidden", 64, "Hidden units, of each direction.", 1, 65_536)
    flags.DEFINE_integer("embedding", 64, "Size of an embedded word.", 1, 65_536)
    for name, default, what in (
        ("dropout", 0.5, "Share of the pooled outputs dropped in training."),
        ("word_dropout", 0.3, "Share of the words passed over in training."),
        ("embedding_dropout", 0.5, "Share of an embedding's numbers dropped in training."),
    ):
        flags.DEFINE_float(name, default, what, lower_bound=0.0, upper_bound=0.99)
    flags.DEFINE_integer("least_count", 2, "Rarer words have their n-grams alone.", 1, 10**6)
    flags.DEFINE_integer(
        "buckets", 10_000, "Numbers that all character n-grams share; 0: words alone.", 0, 10**7
    )
    flags.DEFINE_list("ngrams", ["3", "4"], "Shortest and longest n-gram, in characters.")
    flags.DEFINE_integer(
        "max_words", 64, "Words of a text; what follows is left out.", 1, 1_000_000
    )
    flags.DEFINE_float(
        "balance", 0.5, "Weights of the classes: 0 none, 1 equal shares.", lower_bound=0.0
    )
    flags.DEFINE_boolean(
        "pool_words", False, "Pool the words too, beside what the cell makes of them."
    )
    flags.DEFINE_string(
        "vectors_from",
        "none",
        "Texts, without their classes, that the vectors of words start from: none, tweets, "
        "rotten_tomatoes, imdb, or your own file with a text on each line.",
    )
    flags.DEFINE_integer(
        "patience", 1_000, "Stop after so many evaluations without a better one.", 1, 10**6
    )
    flags.DEFINE_list(
        "baselines", list(NGRAMS), f"N-grams of TF-IDF baselines, of {', '.join(NGRAMS)}."
    )
    flags.DEFINE_string("predict", None, "Your own text: what does the model think of it?")
    flags.DEFINE_string("plot", None, "With --predict: a picture of how it moves word by word.")
    flags.DEFINE_string("too_long", "truncate", "Longer than max_words: truncate or refuse.")
    flags.DEFINE_string("export", None, "Write the model into one file, for seqmodels.serving.")
    runner.define(
        seeds=6, steps=700, batch=32, learning_rate="0.003", eval_every=100, clip_norm=1.0
    )
    saved_models.define()
    app.checked(app.known_name(DATA), "data")
    app.checked(app.known_name(TARGETS), "target")
    app.checked(app.known_name(sentiment_use.TOO_LONG), "too_long")
    app.checked(app.not_empty, "csv", "data_dir", "plot", "export", "vectors_from")
    app.checked(app.no_nan, "dropout", "word_dropout", "embedding_dropout", "balance")
    app.checked(lambda value: app.names(value, MODELS), "models")
    app.checked(lambda value: app.names(value, NGRAMS), "baselines")
    app.checked(_sizes, "ngrams")
    app.checked(lambda value: app.per_name(value, MODELS, app.positive), "learning_rate")


def _sizes(values: list[str]) -> tuple[int, int]:
    sizes = app.numbers(values)
    if not 1 <= len(sizes) <= 2 or sizes[0] < 1:
        raise ValueError(f"got {','.join(values)}, expected one or two sizes such as 3,4")
    return sizes[0], sizes[-1]


def main() -> int:
    """Does what the flags say. Returns the exit status."""
    values = flags.FLAGS
    if values.plot is not None and values.predict is None:
        raise app.UserError("plot: got without predict, expected both")
    try:
        if values.predict is not None or values.export is not None:
            predictor = restore(saved_models.best(KIND))
            if values.predict is not None:
                sentiment_use.show(predictor, values.predict, values.too_long, values.plot)
            if values.export is not None:
                sentiment_use.export(predictor, values.export)
            return 0
        if values.evaluate:
            return evaluate()
        sentiment_data.check(_source())
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise app.UserError(str(error)) from None
    return runner.run(KIND, NAMES, build, report, _digest)


def build() -> runner.Study:
    """Returns the study that the flags describe."""
    values = flags.FLAGS
    data = sentiment_data.load(_source())
    sizes = _sizes(values.ngrams)
    raw = sentiment_data.raw_texts(values.vectors_from, data, values.data_dir)
    own = data.splits["train"].texts
    features = word_features.train(
        own if raw is own else [*own, *raw],
        least_count=values.least_count,
        buckets=values.buckets,
        sizes=sizes,
    )
    vectors = sentiment_data.vectors(features, raw, values.embedding)
    rates = app.per_name(values.learning_rate, MODELS, app.positive)
    best = HEADS[values.target]

    def make(name: str) -> runner.Training:
        config = Config(
            cell=name,
            embedding=values.embedding,
            hidden=values.hidden,
            dropout=values.dropout,
            word_dropout=values.word_dropout,
            embedding_dropout=values.embedding_dropout,
            buckets=values.buckets,
            shortest_ngram=sizes[0],
            longest_ngram=sizes[1],
            max_words=values.max_words,
            classes=data.classes,
            centre=0.0 if data.classes else float(np.mean(data.targets("train"))),
            data=values.data,
            pool_words=values.pool_words,
        )
        rate = app.value_for("learning_rate", rates, name)
        return training(
            config,
            features,
            data,
            vectors,
            batch=values.batch,
            balance=values.balance,
            optimizer=training_flags.optimizer_settings(rate),
            fit=training_flags.fit_settings(),
            stopping=patience(best, "max" if data.classes else "min", values.patience),
        )

    return runner.Study(
        [make(name) for name in values.models], lambda: baselines(data, values.baselines)
    )


def report(results: dict[str, Any], folder: pathlib.Path) -> None:
    """Shows what a run has found."""
    sentiment_report.show(results, folder, sentiment_data.load(_source()))


def evaluate() -> int:
    """Measures the models of `--model_dir` on the test split of the data they were trained on."""
    known = saved_models.flags_of_run(KIND)
    for name in Source._fields[:-1]:
        app.set_flag(name, known[name])
    data = sentiment_data.load(_source())
    records = []
    for name, seed, found in saved_models.every(KIND):
        predictor = restore(found)
        predicted = sentiment_use.answers(predictor, data.splits["test"].texts)
        figures = scores(data.targets("test"), predicted, data.classes)
        records.append({"model": name, "seed": seed, **figures})
    for name, own in study_report.by_model({"results": records}).items():
        for figure in sorted(own[0].keys() - {"model", "seed"}):
            every = [record[figure] for record in own]
            shown = " ".join(f"{value:.3f}" for value in every)
            print(f"{name}: {figure} {np.mean(every):.3f}, of each seed: {shown}")
    return 0


def _source() -> Source:
    return Source(*(getattr(flags.FLAGS, name) for name in Source._fields))


def _digest() -> dict[str, str]:
    """Returns what tells the user's own files from others of their names."""
    names = {"csv": flags.FLAGS.csv, "vectors_from": flags.FLAGS.vectors_from}
    return {
        f"{flag}_sha256": hashlib.sha256(pathlib.Path(name).read_bytes()).hexdigest()
        for flag, name in names.items()
        if name is not None and pathlib.Path(name).is_file()
    }
