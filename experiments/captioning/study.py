"""The captioning study: trainings, measurements and evaluation."""

import os
from typing import Any

import numpy as np

from experiments.captioning import data as pictures
from experiments.captioning.baselines import baselines, check_scores
from experiments.captioning.config import CELLS, PICTURES, PROGRAM, Config
from experiments.captioning.model import ModelConfig, make_decoder, restore, tested, training
from experiments.captioning.report import SHEET, show
from experiments.common import jobs, runner, saved_models
from experiments.common.errors import UserError
from experiments.common.jobs import Training
from experiments.common.terminal import say
from experiments.common.trainer import Study


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
    return runner.run(PROGRAM, config, build, run_dir=run_dir, overwrite=overwrite, files=(SHEET,))


def build(config: Config) -> Study:
    """Returns the study that a configuration describes."""
    check_scores()
    data = pictures.load(config)
    return jobs.study(
        trainings(config, data),
        config.training.all_seeds,
        report=lambda results, directory: show(results, directory, data),
        baselines=lambda: baselines(data),
    )


def trainings(config: Config, data: pictures.Data) -> list[Training]:
    """Returns the training of every cell."""
    rates = config.training.learning_rates(config.cells, CELLS)
    return [
        training(
            _model(config, cell, data),
            data,
            config.decoding,
            batch=config.training.batch,
            about=_source(config),
            optimizer=config.training.optimizer(rates[cell]),
            fit=config.training.fit(config.saving),
        )
        for cell in config.cells
    ]


def _model(config: Config, cell: str, data: pictures.Data) -> ModelConfig:
    return ModelConfig(
        cell=cell,
        image_shape=data.image_shape,
        vocabulary_size=len(data.vocabulary.words),
        hidden=config.hidden,
        features=config.features,
        embedding=config.embedding,
        channels=config.channels,
        patch=config.patch,
        steps=data.steps,
        precision=config.training.precision,
    )


def _source(config: Config) -> dict[str, Any]:
    """Returns what a model was trained on, to be saved with it."""
    names = ("data", "language", "images_dir", "captions_file")
    pictures_of_scene = config.pictures or PICTURES.get(config.data)
    return {name: getattr(config, name) for name in names} | {"pictures": pictures_of_scene}


def evaluate(
    model_dir: str | os.PathLike[str] | None = None, config: Config | None = None
) -> list[dict[str, Any]]:
    """Measures the models of a run on the test pictures of the data that they were trained on.

    Args:
      model_dir: folder of the run; None for the newest below runs/.
      config: its `decoding` says how captions are found; None: as in the run.

    Returns:
      Records with model, seed and the figures of the test pictures; they are printed too.

    Raises:
      UserError: for a user error, with a message of one line.
    """
    models = saved_models.all_models(PROGRAM, model_dir)
    records: list[dict[str, Any]] = []
    exact: dict[str, list[float]] = {}
    try:
        check_scores()
        of_run, data = saved_models.data_of_run(
            PROGRAM, model_dir, config or Config(), pictures.load
        )
        how = (config or of_run).decoding
        for name, seed, saved in models:
            predictor = restore(saved)
            decode = make_decoder(predictor.model, predictor.config.steps, how)
            figures = tested(decode, data, predictor.params)
            del figures["captions"]
            shown = ", ".join(f"{figure} {value:.4g}" for figure, value in figures.items())
            say(f"{name}, seed {seed}, {how.decode}: {shown}")
            records.append({"model": name, "seed": seed, **figures})
            exact.setdefault(name, []).append(figures["unseen_exact"])
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise UserError(str(error)) from error
    for name, values in exact.items():
        say(f"{name}, mean: {100 * np.mean(values):.1f}% exact, unseen")
    return records
