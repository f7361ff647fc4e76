"""The image classification: trainings, measurements and evaluation."""

import os
from typing import Any

import numpy as np

from experiments.common import jobs, runner, saved_models
from experiments.common.errors import UserError
from experiments.common.jobs import Training
from experiments.common.terminal import say
from experiments.common.trainer import Study
from experiments.image_classification import data as images
from experiments.image_classification.baselines import baselines, check_baselines, scores
from experiments.image_classification.config import MODELS, PROGRAM, Config
from experiments.image_classification.model import ModelConfig, probabilities, restore, training
from experiments.image_classification.report import CONFUSION, TEST_IMAGES, show
from seqmodels.datasets.digit_images import Images


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
        PROGRAM,
        config,
        build,
        run_dir=run_dir,
        overwrite=overwrite,
        files=(CONFUSION, TEST_IMAGES),
    )


def build(config: Config) -> Study:
    """Returns the study that a configuration describes."""
    check_baselines()
    splits = images.load(config)
    return jobs.study(
        trainings(config, splits),
        config.training.all_seeds,
        report=lambda results, directory: show(results, directory, splits["test"]),
        baselines=lambda: baselines(splits),
    )


def trainings(config: Config, splits: dict[str, Images]) -> list[Training]:
    """Returns the training of every model."""
    rates = config.training.learning_rates(config.models, MODELS)
    return [
        training(
            model,
            splits,
            batch=config.training.batch,
            shift=config.shift,
            optimizer=config.training.optimizer(rates[model.model]),
            fit=config.training.fit(config.saving),
            watching=config.training.watching,
        )
        for model in _models(config)
    ]


def _models(config: Config) -> list[ModelConfig]:
    return [
        ModelConfig(
            data=config.data,
            model=model,
            reading=reading,
            hidden=config.hidden,
            channels=config.channels,
            pooling=config.pooling,
            dropout=config.dropout,
            precision=config.training.precision,
        )
        for model in config.models
        for reading in (("",) if model == "cnn" else config.reading)
    ]


def evaluate(
    model_dir: str | os.PathLike[str] | None = None, config: Config | None = None
) -> list[dict[str, Any]]:
    """Measures the models of a run on the test split of the images that they were trained on.

    Args:
      model_dir: folder of the run; None for the newest below runs/.
      config: a configuration with the folder of fetched data.

    Returns:
      Records with model, seed and the figures of the test split; they are printed too.

    Raises:
      UserError: for a user error, with a message of one line.
    """
    models = saved_models.all_models(PROGRAM, model_dir)
    records: list[dict[str, Any]] = []
    accuracies: dict[str, list[float]] = {}
    try:
        of_run, splits = saved_models.data_of_run(
            PROGRAM, model_dir, config or Config(), images.load
        )
        test = splits["test"]
        for name, seed, saved in models:
            _, classifier, params = restore(saved)
            figures = scores(probabilities(classifier, params, test.images), test)
            say(
                f"{name}, seed {seed}: {100 * figures['accuracy']:.1f}% of {len(test.labels)} "
                f"test images of {of_run.data}, loss {figures['loss']:.4f}"
            )
            tested = {f"test_{figure}": value for figure, value in figures.items()}
            records.append({"model": name, "seed": seed, **tested})
            accuracies.setdefault(name, []).append(figures["accuracy"])
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise UserError(str(error)) from error
    for name, values in accuracies.items():
        say(f"{name}, mean: {100 * np.mean(values):.1f}%")
    return records
