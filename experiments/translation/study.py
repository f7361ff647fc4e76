"""The translation study: trainings, measurements and evaluation."""

import os
from typing import Any

from experiments.common import jobs, runner, saved_models
from experiments.common.errors import UserError
from experiments.common.trainer import Study
from experiments.translation import data as texts
from experiments.translation import metrics
from experiments.translation.baselines import baselines
from experiments.translation.config import PICTURE, PROGRAM, Config
from experiments.translation.model import ModelConfig, measure, restore, training
from experiments.translation.report import show, show_table
from seqmodels.models.sequence_model import parameter_count
from seqmodels.models.translator import ATTENTIONS


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
        PROGRAM, config, build, run_dir=run_dir, overwrite=overwrite, files=(PICTURE,)
    )


def build(config: Config) -> Study:
    """Returns the study that a configuration describes."""
    metrics.check_installed()
    splits = texts.load(config)
    tokenizers = texts.train_tokenizers(splits, config.vocabulary)
    data = texts.encode(splits, tokenizers, config.max_tokens)
    return jobs.study(
        trainings(config, data),
        config.training.all_seeds,
        report=lambda results, directory: show(results, directory, splits),
        baselines=lambda: baselines(splits),
    )


def trainings(config: Config, data: texts.Data) -> list[jobs.Training]:
    """Returns the training of each model of a configuration."""
    rates = config.training.learning_rates(config.attention, ATTENTIONS)
    return [
        training(
            _model(config, name, data.tokenizers),
            data,
            batch=config.training.batch,
            label_smoothing=config.label_smoothing,
            scheduled_sampling=config.scheduled_sampling,
            optimizer=config.training.optimizer(rates[name]),
            fit=config.training.fit(config.saving),
        )
        for name in config.attention
    ]


def _model(config: Config, name: str, tokenizers: texts.Tokenizers) -> ModelConfig:
    return ModelConfig(
        attention=name,
        source_size=tokenizers.source.get_vocab_size(),
        target_size=tokenizers.target.get_vocab_size(),
        hidden_size=config.hidden,
        embedding_size=config.embedding,
        dropout=config.dropout,
        max_tokens=config.max_tokens,
        beam=config.beam,
        length_penalty=config.length_penalty,
        precision=config.training.precision,
    )


def evaluate(
    model_dir: str | os.PathLike[str] | None = None, config: Config | None = None
) -> list[dict[str, Any]]:
    """Measures the models of a run on the test splits of the pairs that they were trained on.

    Args:
      model_dir: folder of the run; None for the newest below runs/.
      config: a configuration with the folder of fetched data.

    Returns:
      Records with model, seed, parameters and the figures of the test splits; the table is printed.
    """
    models = saved_models.all_models(PROGRAM, model_dir)
    try:
        metrics.check_installed()
        _, splits = saved_models.data_of_run(PROGRAM, model_dir, config or Config(), texts.load)
        records = []
        for name, seed, saved in models:
            trained = restore(saved)
            count = parameter_count(trained.params)
            figures = measure(trained, splits)
            records.append({"model": name, "seed": seed, "parameters": count, **figures})
        timed = [record | {"seconds": 0.0} for record in records]
        show_table({"baselines": baselines(splits), "results": timed})
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise UserError(str(error)) from error
    return records
