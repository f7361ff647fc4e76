"""Saved models of a long-context study."""

import json
import pathlib
from typing import Any, NamedTuple

import numpy as np

import seqmodels as sm
from experiments.common.seeds_at_once import Settings, build_model
from experiments.long_context.cells import build_cell
from experiments.long_context.config import PROGRAM
from seqmodels import model_files
from seqmodels.model_files import SavedModel
from seqmodels.models.sequence_model import SequenceModel
from seqmodels.tasks.task import Task

VOCABULARY = "vocabulary.json"


class ModelConfig(NamedTuple):
    """Everything needed to rebuild a model, but for the words of its task.

    Attributes:
      task: name of the task.
      cell: name of the cell.
      distance: distance of its training.
      seed: seed of its training.
      hidden: units of the cell.
      embedding: size of an embedded word; None where the inputs are features.
      input_size: features of an input; None where the inputs are words.
      output_size: classes, or 1 for a number.
      initialisation: "standard" or "memory".
      num_steps: length of a training sequence.
      answers: names of the classes; empty for a number.
      precision: dtype of the operands of the matrix products.
    """

    task: str
    cell: str
    distance: int
    seed: int
    hidden: int
    embedding: int | None
    input_size: int | None
    output_size: int
    initialisation: str
    num_steps: int
    answers: tuple[str, ...] = ()
    precision: str = "float32"


class TrainedModel(NamedTuple):
    """A trained model of the study.

    Attributes:
      config: its configuration.
      cell: its cell.
      model: embedding, cell and readout.
      params: its parameters.
      words: the vocabulary; empty where the inputs are features.
    """

    config: ModelConfig
    cell: sm.Cell
    model: SequenceModel
    params: Any
    words: tuple[str, ...]


def best_seed(record: dict[str, Any]) -> int:
    """Returns the index of the seed that is best in validation, the first of equal ones.

    Args:
      record: the result of `seeds_at_once.test`; a seed whose training diverged comes last.
    """
    values = np.array(record["validation_accuracy"], np.float64)
    values[np.array(record["diverged"], bool) | np.isnan(values)] = -np.inf
    return int(np.argmax(values))


def save(
    folder: pathlib.Path, task: Task, settings: Settings, about: dict[str, Any], params: Any
) -> None:
    """Saves a model.

    Args:
      folder: the folder of the model.
      task: task of its training.
      settings: settings of the model.
      about: cell, distance, seed and initialisation.
      params: its parameters.

    Raises:
      ValueError or OSError: as `model_files.save`.
    """
    config = ModelConfig(
        task=task.name,
        hidden=settings.hidden,
        embedding=settings.embedding if task.vocabulary_size else None,
        input_size=task.input_size,
        output_size=task.output_size,
        num_steps=task.num_steps,
        answers=task.answers,
        precision=settings.precision,
        **about,
    )
    words = {VOCABULARY: json.dumps(task.words, ensure_ascii=False)} if task.words else {}
    model_files.save(folder, PROGRAM, config._asdict(), params, words)


def restore(saved: SavedModel) -> TrainedModel:
    """Returns a saved model.

    Raises:
      ValueError: if it cannot be built from its files.
    """
    try:
        config = ModelConfig(**saved.config)
        config = config._replace(answers=tuple(config.answers))
        words = tuple(json.loads(saved.texts[VOCABULARY])) if config.embedding else ()
    except (TypeError, KeyError, ValueError):
        raise ValueError(f"model: {saved.folder} was saved by another version") from None
    cell = build_cell(
        config.cell,
        config.embedding or config.input_size or 1,
        config.hidden,
        num_steps=config.num_steps,
        initialisation=config.initialisation,
        precision=config.precision,
    )
    model = build_model(
        cell,
        config.hidden,
        config.output_size,
        vocabulary=len(words),
        embedding=config.embedding,
        precision=config.precision,
    )
    return TrainedModel(config, cell, model, model_files.restore(saved, model.init), words)
