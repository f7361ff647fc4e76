"""The microscope: gates of trained models on a text, gradients, and memory horizons."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from experiments.common import saved_models
from experiments.common.config import absolute_path
from experiments.common.errors import UserError
from experiments.common.runner import RUNS
from experiments.common.terminal import say
from experiments.long_context.texts import Text
from experiments.microscope import from_long_context, from_sentiment, ratios, report
from experiments.microscope.config import PROGRAM, PROGRAMS, Config
from experiments.microscope.measure import Measured, fresh_sequences, measure, probe_inputs
from experiments.microscope.models import Collection
from experiments.microscope.own_run import find_or_train
from experiments.microscope.page import Sentence
from experiments.microscope.readings import readings
from experiments.microscope.report import Findings
from seqmodels.training.errors import RunError
from seqmodels.training.report_folder import report_folder

FEWEST_SEEDS = 3  # with an informative interval


class Seen(NamedTuple):
    """Results of the microscope.

    Attributes:
      folder: folder of page, pictures and tables.
      page: the page.
      measured: the measurements of every model.
      readings: a paragraph a model.
      ratios: ratios of the gradients of LSTM and RNN, at each distance with both.
    """

    folder: pathlib.Path
    page: pathlib.Path
    measured: list[Measured]
    readings: list[str]
    ratios: list[ratios.Ratio]


def run(config: Config) -> Seen:
    """Writes the page of a run, prints the readings, and returns what was measured.

    Args:
      config: the run, and what is shown.

    Raises:
      UserError: for a user error, with a message of one line.
      Interrupted: after SIGINT or SIGTERM while the small run is trained; the same call resumes.
    """
    folder = config.model_dir or find_or_train(config)
    try:
        collection = load(folder, config.distance)
        sentence = _sentence(collection, config.text)
        text = _cut(collection.encode(sentence.text), collection.max_words)
        distances = [d for d in config.all_reach if d >= collection.shortest]
        if not distances:
            raise ValueError(
                f"reach: got {max(config.reach)}, expected at least {collection.shortest}"
            )
        found = _found(collection, sentence, text, distances, size=config.fresh)
        with _folder(config, collection) as out:
            command = f"python -m experiments.{PROGRAM} --model_dir={folder}"
            size = report.write(found, out, command)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise UserError(str(error)) from error
    for ratio in found.ratios:
        if len(ratio.by_seed) >= FEWEST_SEEDS:
            say(ratios.line(ratio))
    report.show(found, out, size)
    return Seen(
        out, out / report.PAGE, list(found.measured), list(found.readings), list(found.ratios)
    )


def load(folder: str | os.PathLike[str], distance: int | None = None) -> Collection:
    """Returns the models of a finished run of long_context or sentiment.

    Args:
      folder: the folder of the run, or of one of its models.
      distance: the distance of the models of a run of long_context.

    Raises:
      UserError: for a folder without such a run.
      ValueError or OSError: for models that cannot be read.
    """
    program, results = saved_models.results_of(folder, PROGRAMS)
    if program == from_sentiment.PROGRAM:
        if distance is not None:
            raise ValueError(f"distance: got {distance} with a run of {program}, expected none")
        collection = from_sentiment.load(folder, results)
    else:
        collection = from_long_context.load(folder, results, distance)
    for model in collection.models:
        if not all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(model.params)):
            raise ValueError(f"model_dir: the parameters of {model.name} are not finite")
    return collection


def _found(
    collection: Collection, sentence: Sentence, text: Text, distances: list[int], *, size: int
) -> Findings:
    fresh = fresh_sequences(collection, distances, size)
    measured = measure(collection, text, fresh, probe_inputs(collection, text))
    found = []
    if collection.results["program"] == from_long_context.PROGRAM:
        found = ratios.gradient_ratios(collection.results)
    words = readings(collection, measured, text, distances)
    return Findings(collection, text, sentence, measured, distances, words, found)


def _cut(text: Text, most: int) -> Text:
    """Returns the first words of a text, as the page reads it."""
    if len(text.words) > most:
        say(f"warning: got {len(text.words)} words, read the first {most}", error=True)
    return text._replace(words=text.words[:most], inputs=text.inputs[:most])


def _sentence(collection: Collection, text: str | None) -> Sentence:
    return collection.sentences[0] if text is None else Sentence(text)


@contextlib.contextmanager
def _folder(config: Config, collection: Collection) -> Iterator[pathlib.Path]:
    """Makes the folder of the report, in which only files of an earlier report are replaced."""
    place = RUNS / PROGRAM / collection.run.name if config.out is None else config.out
    names = report.file_names(collection.models)
    try:
        with report_folder(absolute_path(place), program=PROGRAM, files=names):
            yield pathlib.Path(place)
    except RunError as error:
        raise ValueError(str(error).replace("run_dir", "out", 1)) from None
    except OSError as error:
        raise OSError(f"out: {error}") from None
