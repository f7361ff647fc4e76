"""Trained models that the microscope shows, of any experiment."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

import seqmodels as sm
from experiments.long_context.texts import Text
from experiments.microscope.page import Adding, Numbers, Sentence, WordNgrams, Words
from seqmodels.tasks.sky.task import SkyCorpus
from seqmodels.tasks.task import Task

LABELS = {
    "rnn": "RNN",
    "rnn_relu": "RNN with ReLU",
    "gru": "GRU",
    "gru_after": "GRU, reset after",
    "lstm": "LSTM",
    "bilstm": "BiLSTM",
}


class Anatomy(NamedTuple):
    """The functions of a model; models of the same cell and sizes share one, and its programs.

    Attributes:
      cell: the cell.
      embed: `embed(params, inputs) -> xs (T, B, D)`, the inputs of the cell.
      read: `read(params, xs, ys, lengths) -> outputs (B, C)` of the cell's outputs (T, B, H).
    """

    cell: sm.Cell
    embed: Callable[[Any, Any], jax.Array]
    read: Callable[[Any, Any, Any, Any], jax.Array]


class Model(NamedTuple):
    """A trained model.

    Attributes:
      name: unique name for titles and legends.
      cell: name of the cell, a key of `LABELS`.
      anatomy: its functions.
      params: its parameters, `SequenceModelParams` or `TextClassifierParams`.
      distance: distance of its training; None for a task without distances.
      seed: seed of its training.
      accuracy: accuracy on the test split; None where the task has none.
    """

    name: str
    cell: str
    anatomy: Anatomy
    params: Any
    distance: int | None
    seed: int
    accuracy: float | None

    @property
    def file(self) -> str:
        """The beginning of the names of its files, such as "lstm-64"."""
        return self.cell if self.distance is None else f"{self.cell}-{self.distance}"


class Collection(NamedTuple):
    """The models of a run, and what is needed to run and measure them.

    Attributes:
      run: folder of the run.
      results: its results.json.
      title: the title of the page.
      task: name of the task or of the data.
      tokens: the tokenization of a text on the page.
      classes: names of the answers; () for a number.
      centre: a number that is added to a numeric answer.
      models: one or more, of one task.
      sentences: one or more, to begin with.
      encode: turns a text into inputs; ValueError, in one line, if it cannot.
      max_words: a text is cut after so many words, on the page and in the pictures.
      generator: source of fresh sentences of the page; None if there is none.
      task_at: the task at a distance, of fresh sequences; None if there is none.
      shortest: distance of the task.
    """

    run: pathlib.Path
    results: dict[str, Any]
    title: str
    task: str
    tokens: Words | WordNgrams | Numbers
    classes: tuple[str, ...]
    centre: float
    models: tuple[Model, ...]
    sentences: tuple[Sentence, ...]
    encode: Callable[[str], Text]
    max_words: int
    generator: SkyCorpus | Adding | None = None
    task_at: Callable[[int], Task] | None = None
    shortest: int = 0
