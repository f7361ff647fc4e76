"""Models of a run of long_context: the sky task and the adding problem."""

import functools
import os
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import long_context
from experiments.common import saved_models
from experiments.common.errors import UserError
from experiments.common.saved_models import RecordedModel
from experiments.long_context.config import SHORTEST
from experiments.long_context.saving import TrainedModel, restore
from experiments.long_context.texts import TASKS, encode_numbers, encode_words
from experiments.microscope.models import LABELS, Anatomy, Collection, Model
from experiments.microscope.page import Adding, Numbers, Sentence, Words
from seqmodels.models.sequence_model import SequenceModel
from seqmodels.tasks import adding, sky
from seqmodels.tasks.sky import sentences
from seqmodels.tasks.sky.task import split_words

PROGRAM = "long_context"
MOST_MODELS = 6  # shown without a choice of distance
MOST_WORDS = 600  # of a text of a reader; more if sentences of the task are longer
STEPS = {"sky": "words", "adding": "steps"}


class _Kept(NamedTuple):
    """A model that is shown: its entry in results.json, and what was restored."""

    recorded: RecordedModel
    trained: TrainedModel


def load(
    folder: str | os.PathLike[str], results: dict[str, Any], distance: int | None
) -> Collection:
    """Returns the models of a finished run.

    Args:
      folder: the folder of the run, or of one of its models.
      results: results.json of the run.
      distance: the distance of the models; None for all, or for the longest that a model
        remembers if there are more than `MOST_MODELS`.

    Raises:
      UserError: for a run that cannot be shown.
      ValueError or OSError: for a model or a file that cannot be read.
    """
    task = results.get("task")
    if task not in TASKS:
        raise UserError(
            f"model_dir: got a run of the task {task}, expected one of {' or '.join(TASKS)}"
        )
    found = [_Kept(one, restore(one.saved)) for one in saved_models.best_of_each(PROGRAM, folder)]
    kept = _chosen(found, results, distance)
    longest = max(one.trained.config.distance for one in kept)
    shared: dict[tuple[Any, ...], Anatomy] = {}
    models = tuple(_model(one, results, shared) for one in kept)
    run = kept[0].recorded.saved.folder.parents[1]
    if task == "adding":
        return _adding(run, results, models, longest)
    return _sky(run, results, models, longest)


def _chosen(found: list[_Kept], results: dict[str, Any], distance: int | None) -> list[_Kept]:
    """Returns the models that are shown."""
    distances = sorted({one.trained.config.distance for one in found})
    if distance is None and len(found) > MOST_MODELS:
        remembered = [
            one.trained.config.distance
            for one in found
            if (one.recorded.record[results["chosen_by"]] or 0) >= results["horizon_threshold"]
        ]
        distance = max(remembered, default=distances[0])
    if distance is None:
        return found
    if distance not in distances:
        raise UserError(
            f"distance: got {distance}, expected one of {', '.join(map(str, distances))}"
        )
    return [one for one in found if one.trained.config.distance == distance]


def _model(kept: _Kept, results: dict[str, Any], shared: dict[tuple[Any, ...], Anatomy]) -> Model:
    config, record = kept.trained.config, kept.recorded.record
    sizes = (config.cell, config.hidden, config.embedding, config.initialisation, config.precision)
    anatomy = shared.setdefault(sizes, _anatomy(kept.trained))
    return Model(
        name=f"{LABELS[config.cell]}, {config.distance} {STEPS[config.task]}",
        cell=config.cell,
        anatomy=anatomy,
        params=kept.trained.params,
        distance=config.distance,
        seed=config.seed,
        accuracy=record["accuracy"][results["seeds"].index(config.seed)],
    )


def _anatomy(trained: TrainedModel) -> Anatomy:
    return Anatomy(trained.cell, trained.model.embed, functools.partial(_read, trained.model))


def _read(model: SequenceModel, params: Any, xs: Any, ys: Any, lengths: Any) -> jax.Array:
    """Returns the outputs (B, C) after the last step of each sequence."""
    del xs
    last = jnp.maximum(lengths - 1, 0)[None, :, None]
    return model.read(params, jnp.take_along_axis(ys, last, axis=0)[0])


def _sky(
    run: pathlib.Path, results: dict[str, Any], models: tuple[Model, ...], longest: int
) -> Collection:
    def sources(config: long_context.Config) -> tuple[str, ...]:
        if config.filler_file is None:
            return sky.FILLER
        return sky.read_filler(config.filler_file)

    _, filler = saved_models.data_of_run(PROGRAM, run, long_context.Config(), sources)
    corpus = sky.make_corpus(filler)
    texts = tuple(Sentence(*one) for one in sentences.examples(longest, filler, seed=1))
    return Collection(
        run=run,
        results=results,
        title="The sky task",
        task="sky",
        tokens=Words(corpus.words),
        classes=sky.COLORS,
        centre=0.0,
        models=models,
        sentences=texts,
        encode=lambda text: encode_words(text, corpus.words),
        generator=corpus,
        task_at=lambda distance: sky.sky(distance, corpus),
        max_words=max(MOST_WORDS, *(len(split_words(one.text)) for one in texts)),
    )


def _adding(
    run: pathlib.Path, results: dict[str, Any], models: tuple[Model, ...], longest: int
) -> Collection:
    batch = adding.adding(longest).sample(jax.random.key(1), 3, "test")
    return Collection(
        run=run,
        results=results,
        title="The adding problem",
        task="adding",
        tokens=Numbers(),
        classes=(),
        centre=0.0,
        models=models,
        sentences=tuple(Sentence(_written(one)) for one in np.array(batch.inputs.swapaxes(0, 1))),
        encode=encode_numbers,
        generator=Adding(adding.adding(longest).tolerance or 0.0),
        task_at=adding.adding,
        shortest=SHORTEST["adding"],
        max_words=max(MOST_WORDS, len(batch.inputs)),
    )


def _written(rows: np.ndarray) -> str:
    """Returns a sequence (T, 2) of the adding problem as text."""
    return " ".join(f"{number:.2f}{'*' if mark else ''}" for number, mark in rows)
