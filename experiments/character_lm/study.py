"""The character language models: trainings, measurements and evaluation."""

import os
from typing import Any

from experiments.character_lm import data as texts
from experiments.character_lm.baselines import baselines
from experiments.character_lm.config import CELLS, PROGRAM, Config
from experiments.character_lm.model import ModelConfig, make_bits, restore, training
from experiments.character_lm.report import show
from experiments.common import jobs, runner, saved_models
from experiments.common.errors import UserError
from experiments.common.trainer import Study
from seqmodels.models.sequence_model import parameter_count


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
    return runner.run(PROGRAM, config, build, run_dir=run_dir, overwrite=overwrite)


def build(config: Config) -> Study:
    """Returns the study that a configuration describes."""
    data = texts.load(config.fetched.data_dir)
    return jobs.study(
        trainings(config, data),
        config.training.all_seeds,
        report=lambda results, directory: show(results),
        baselines=lambda: baselines(data),
    )


def trainings(config: Config, data: texts.Data) -> list[jobs.Training]:
    """Returns the training of each model of a configuration."""
    rates = config.training.learning_rates(config.cells, CELLS)
    return [
        training(
            ModelConfig(
                name,
                config.hidden,
                config.embedding,
                data.characters.known,
                config.training.precision,
            ),
            data,
            batch=config.training.batch,
            length=config.length,
            optimizer=config.training.optimizer(rates[name]),
            fit=config.training.fit(config.saving),
            watching=config.training.watching,
        )
        for name in config.cells
    ]


def evaluate(
    model_dir: str | os.PathLike[str] | None = None, config: Config | None = None
) -> list[dict[str, Any]]:
    """Measures the models of a run on the held-out plays.

    Args:
      model_dir: folder of the run; None for the newest below runs/.
      config: a configuration with the folder of fetched data.

    Returns:
      Records with model, seed, parameters, validation_bits and test_bits; they are printed too.
    """
    models = saved_models.all_models(PROGRAM, model_dir)
    try:
        data = texts.load((config or Config()).fetched.data_dir)
        records = []
        for name, seed, saved in models:
            found = restore(saved)
            validation, test = (
                make_bits(found.network, found.characters.encode(text))(found.params)
                for text in (data.text.validation, data.text.test)
            )
            figures = {"validation_bits": validation, "test_bits": test}
            count = parameter_count(found.params)
            records.append({"model": name, "seed": seed, "parameters": count, **figures})
        timed = [record | {"seconds": 0.0} for record in records]
        show({"baselines": baselines(data), "results": timed})
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    return records
