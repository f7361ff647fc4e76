"""Use of the models that the long-context study keeps: the user's own text, the test split."""

import os
from typing import Any

import jax
import numpy as np

from experiments.common import actions as common
from experiments.common import report as study_report
from experiments.common import saved_models
from experiments.common.errors import UserError
from experiments.common.seeds_at_once import test_batch
from experiments.common.terminal import say
from experiments.long_context.config import PROGRAM, Actions, Config
from experiments.long_context.saving import TrainedModel, restore
from experiments.long_context.study import make_tasks
from experiments.long_context.texts import TASKS, Text, encode_numbers, encode_words
from seqmodels.tasks.task import accuracy


def use(actions: Actions) -> None:
    """Predicts the answer to the user's text.

    Raises:
      UserError: for a user error, with a message of one line.
    """
    try:
        text = common.read_text(actions.predict or "")
        trained = restore(saved_models.best(PROGRAM, actions.models.model_dir))
        show(trained, encode(trained, text))
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error


def encode(trained: TrainedModel, text: str) -> Text:
    """Returns a text as inputs; ValueError in one line for one that the model cannot read."""
    if trained.config.task not in TASKS:
        raise ValueError(
            f"predict: got a model of the task {trained.config.task}, expected one of "
            f"{' or '.join(TASKS)}"
        )
    if trained.words:
        return encode_words(text, trained.words, "predict")
    return encode_numbers(text, "predict")


def show(trained: TrainedModel, text: Text) -> None:
    """Prints the answer after the last word."""
    if text.unread:
        say(f"warning: predict: words that the model does not know: {', '.join(text.unread[:10])}",
            error=True)  # fmt: skip
    outputs = trained.model.apply(trained.params, text.inputs)[0, 0]
    answers = trained.config.answers
    if not answers:
        say(f"{float(outputs[0]):.3f}")
        return
    found = np.asarray(jax.nn.softmax(outputs))
    say(f"{answers[int(found.argmax())]}")
    for place in np.argsort(-found):
        say(f"  {answers[place]} {found[place]:.3f}")


def evaluate(
    model_dir: str | os.PathLike[str] | None = None, config: Config | None = None
) -> list[dict[str, Any]]:
    """Measures the kept models of a run on the test split on which they were measured.

    Args:
      model_dir: folder of the run, or of one of its models; None for the newest below runs/.
      config: a configuration with the path of a file of the run, if it is at another place.

    Returns:
      Records with model, seed and accuracy; they are printed too.

    Raises:
      UserError: for a user error, with a message of one line.
    """
    models = saved_models.all_models(PROGRAM, model_dir)
    try:
        found, tasks = saved_models.data_of_run(PROGRAM, model_dir, config or Config(), make_tasks)
        records = []
        for name, seed, saved in models:
            trained = restore(saved)
            task = tasks[trained.config.distance]
            batch = test_batch(task, jax.random.key(seed), found.test_sequences)
            outputs = trained.model.apply(trained.params, batch.inputs, last=task.num_targets)
            share = float(accuracy(task, outputs, batch.targets))
            records.append({"model": name, "seed": seed, "accuracy": share})
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise UserError(str(error)) from error
    study_report.show_by_seed(records)
    return records
