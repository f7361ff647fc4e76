"""The small run of the sky task that the microscope trains if no run is given."""

import pathlib

from experiments import long_context
from experiments.common import identity
from experiments.common.errors import UserError
from experiments.common.runner import RUNS
from experiments.common.sections import TrainingConfig
from experiments.common.terminal import say
from experiments.microscope.config import PROGRAM, Config
from seqmodels.training.errors import RunError
from seqmodels.training.run_directory import stored_results

# The best of one grid for every cell, as in sky.flags (docs/design/long_context.md).
RATES = {"rnn": "0.001", "gru": "0.01", "lstm": "0.01"}


def own_config(config: Config) -> long_context.Config:
    """Returns the configuration of the small run."""
    return long_context.Config(
        task="sky",
        cells=config.cells,
        distances=config.distances,
        hidden=config.hidden,
        embedding=max(config.hidden // 2, 1),
        initialisation="memory",
        training=TrainingConfig(
            seeds=config.seeds,
            steps=config.steps,
            eval_every=min(50, config.steps),
            learning_rate=",".join(f"{cell}:{RATES[cell]}" for cell in config.cells),
        ),
    )


def find_or_train(config: Config) -> pathlib.Path:
    """Returns the folder of the small run; trains it, or resumes it, unless it is finished.

    Raises:
      UserError: as `long_context.run`.
    """
    small = own_config(config)
    folder = RUNS / f"{PROGRAM}-{small.task}-{identity.short_name(small)}"
    try:
        found = stored_results(folder) or {}
    except RunError as error:
        raise UserError(str(error)) from error
    if found.get("complete"):
        say(f"run: {folder}, which is finished; nothing is trained")
    else:
        say(f"training {', '.join(small.cells)} on the sky task: {folder}")
        long_context.run(small, folder)
    return folder
