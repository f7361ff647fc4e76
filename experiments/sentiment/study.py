"""The sentiment study: trainings, measurements and evaluation."""

import os
from typing import Any

import numpy as np

from experiments.common import jobs, report, runner, saved_models
from experiments.common.errors import UserError
from experiments.common.jobs import Training
from experiments.common.trainer import Study
from experiments.sentiment import data as texts
from experiments.sentiment.baselines import baselines, scores
from experiments.sentiment.config import MODELS, PROGRAM, Config
from experiments.sentiment.model import HEADS, ModelConfig, restore, training
from experiments.sentiment.predict import answers
from experiments.sentiment.report import CONFUSION, show
from seqmodels.data import word_features
from seqmodels.training.stopping import patience


def run(
    config: Config, run_dir: str | os.PathLike[str] | None = None, *, overwrite: bool = False
) -> dict[str, Any]:
    """Trains the models of a configuration, prints the table, and returns results.json.

    Args:
      config: the study.
      run_dir: folder of the run; None for one below runs/ named by the configuration.
      overwrite: whether a run that the folder holds may be replaced.

    Raises:
      UserError: for a user error, with a message of one line.
    """
    return runner.run(
        PROGRAM, config, build, run_dir=run_dir, overwrite=overwrite, files=(CONFUSION,)
    )


def build(config: Config) -> Study:
    """Returns the study that a configuration describes."""
    data = texts.load(config)
    return jobs.study(
        trainings(config, data),
        config.training.all_seeds,
        report=lambda results, directory: show(results, directory, data),
        baselines=lambda: baselines(data, config.baselines),
    )


def trainings(config: Config, data: texts.Data) -> list[Training]:
    """Returns the training of every model of a configuration.

    Args:
      config: the study.
      data: the result of `data.load`.

    Raises:
      ValueError or OSError: for word vectors that cannot be made.
    """
    raw = texts.raw_texts(config.vectors_from, data, config.fetched.data_dir)
    own = data.splits["train"].texts
    features = word_features.train(
        own if raw is own else [*own, *raw],
        least_count=config.least_count,
        buckets=config.buckets,
        sizes=config.ngram_sizes,
    )
    vectors = texts.vectors(features, raw, config.embedding)
    encoded = texts.Encoded(features, data, config.max_words)
    rates = config.training.learning_rates(config.models, MODELS)
    stopping = patience(HEADS[config.target], "max" if data.classes else "min", config.patience)
    return [
        training(
            _model(config, name, data),
            encoded,
            vectors,
            batch=config.training.batch,
            balance=config.balance,
            optimizer=config.training.optimizer(rates[name]),
            fit=config.training.fit(config.saving),
            stopping=stopping,
            watching=config.training.watching,
        )
        for name in config.models
    ]


def _model(config: Config, name: str, data: texts.Data) -> ModelConfig:
    shortest, longest = config.ngram_sizes
    return ModelConfig(
        cell=name,
        embedding=config.embedding,
        hidden=config.hidden,
        dropout=config.dropout,
        word_dropout=config.word_dropout,
        embedding_dropout=config.embedding_dropout,
        buckets=config.buckets,
        shortest_ngram=shortest,
        longest_ngram=longest,
        max_words=config.max_words,
        classes=data.classes,
        centre=0.0 if data.classes else float(np.mean(data.targets("train"))),
        data=config.data,
        pool_words=config.pool_words,
        precision=config.training.precision,
    )


def evaluate(
    model_dir: str | os.PathLike[str] | None = None, config: Config | None = None
) -> list[dict[str, Any]]:
    """Measures the models of a run on the test split of the data that they were trained on.

    Args:
      model_dir: folder of the run; None for the newest below runs/.
      config: a configuration with the folder of fetched data.

    Returns:
      Records with model, seed and the figures of the test split; they are printed too.
    """
    models = saved_models.all_models(PROGRAM, model_dir)
    try:
        _, data = saved_models.data_of_run(PROGRAM, model_dir, config or Config(), texts.load)
        records = []
        for name, seed, saved in models:
            predicted = answers(restore(saved), data.splits["test"].texts)
            figures = scores(data.targets("test"), predicted, data.classes)
            records.append({"model": name, "seed": seed, **figures})
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise UserError(str(error)) from error
    report.show_by_seed(records)
    return records
