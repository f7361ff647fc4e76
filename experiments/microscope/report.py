"""The files of the microscope: page, pictures, tables, readings."""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.common.terminal import say
from experiments.long_context.texts import Text
from experiments.microscope import page, tables
from experiments.microscope.measure import Measured
from experiments.microscope.models import Collection, Model
from experiments.microscope.page import PageModel, Sentence, Subject
from experiments.microscope.ratios import Ratio
from seqmodels import plots
from seqmodels.analysis.statistics import horizon_threshold
from seqmodels.plots import CellCurve

PAGE = "microscope.html"
ANSWERS, GRADIENT, HORIZON = "answers", "gradient", "horizon"
READINGS, RATIOS = "readings.txt", "gradient_ratio.csv"
BOUNDED = ("i", "f", "o", "r", "z", "u")  # gates, in the order of their panels


class Findings(NamedTuple):
    """The content of the report.

    Attributes:
      collection: the models.
      text: the traced text.
      sentence: the text as it was written, with its answer.
      measured: the measurements of every model.
      distances: the distances of the horizons.
      readings: a paragraph a model.
      ratios: ratios of gradients.
    """

    collection: Collection
    text: Text
    sentence: Sentence
    measured: Sequence[Measured]
    distances: Sequence[int]
    readings: Sequence[str]
    ratios: Sequence[Ratio]


def file_names(models: Sequence[Model]) -> list[str]:
    """Returns the names of all files that a report may write."""
    names = [PAGE, READINGS, RATIOS]
    for name in (ANSWERS, GRADIENT, HORIZON):
        names += [f"{name}.png", f"{name}.csv"]
    for model in models:
        names += [f"gates-{model.file}.png", f"gates-{model.file}.csv", f"units-{model.file}.csv"]
    return names


def write(found: Findings, folder: pathlib.Path, command: str) -> int:
    """Writes everything but the folder itself, and returns the size of the page in bytes."""
    size = page.write(subject(found, command), folder / PAGE)
    for one in found.measured:
        (folder / f"gates-{one.model.file}.csv").write_text(tables.gates(one, found.text))
        (folder / f"units-{one.model.file}.csv").write_text(tables.units(one))
        plots.save(_heat_maps(found, one), folder / f"gates-{one.model.file}.png")
    collection = found.collection
    texts = {
        f"{ANSWERS}.csv": tables.answers(found.measured, collection.classes, found.text),
        f"{GRADIENT}.csv": tables.gradients(found.measured),
        READINGS: "\n\n".join([f"Text: {found.sentence.text}", *found.readings]) + "\n",
    }
    if collection.task_at is not None:
        texts[f"{HORIZON}.csv"] = tables.horizons(found.measured, found.distances)
        plots.save(_horizon(found), folder / f"{HORIZON}.png")
    if found.ratios:
        texts[RATIOS] = tables.csv_text(
            ("distance", "when", "log10_ratio", "low", "high", "seeds"),
            ((r.distance, r.when, r.mean, r.low, r.high, len(r.by_seed)) for r in found.ratios),
        )
    for name, content in texts.items():
        (folder / name).write_text(content, encoding="utf-8")
    plots.save(_answers(found), folder / f"{ANSWERS}.png")
    if any(one.gradient is not None for one in found.measured):
        plots.save(_gradient(found), folder / f"{GRADIENT}.png")
    return size


def show(found: Findings, folder: pathlib.Path, size: int) -> None:
    """Prints the readings and where the page is."""
    unread = list(dict.fromkeys(found.text.unread))
    if unread:
        say(f"warning: words that the models do not know: {', '.join(unread[:10])}", error=True)
    for reading in found.readings:
        say(reading)
    say(f"page: {folder / PAGE} ({size / 1e6:.1f} MB); pictures and tables next to it")


def subject(found: Findings, command: str) -> Subject:
    """Returns the content of the page."""
    collection = found.collection
    others = [one for one in collection.sentences if one.text != found.sentence.text]
    distances = tuple(found.distances)
    return Subject(
        title=collection.title,
        task=collection.task,
        tokens=collection.tokens,
        classes=collection.classes,
        models=tuple(map(_page_model, sorted(collection.models, key=_place))),
        sentences=(found.sentence, *others),
        generator=collection.generator,
        distances=distances,
        max_words=collection.max_words,
        centre=collection.centre,
        command=command,
    )


def _place(model: Model) -> tuple[int, bool]:
    """Returns the place on the page: the farthest distance first, of these the LSTM."""
    return -(model.distance or 0), "lstm" not in model.cell


def _page_model(model: Model) -> PageModel:
    return PageModel(
        name=model.name,
        cell=model.cell,
        parameters=model.params,
        distance=model.distance,
        seed=model.seed,
        accuracy=model.accuracy,
    )


def _heat_maps(found: Findings, one: Measured) -> Any:
    panels: dict[str, np.ndarray] = {}
    bounded = []
    for direction, arrays in one.traces.items():
        order = one.units[direction].order
        known = [name for name in BOUNDED if name in arrays]
        for name in [*known, *(name for name in arrays if name not in known)]:
            label = f"{direction} {name}".strip()
            panels[label] = arrays[name][:, order]
            if name in known:
                bounded.append(label)
    constant = next(iter(one.units.values())).time_constant
    order_by = "time constant" if constant is not None else "change a step"
    return plots.gate_heat_maps(
        panels,
        found.text.words,
        title=f"{one.model.name}: gates and states (longest memory on top, by {order_by})",
        bounded=bounded,
    )


def _answers(found: Findings) -> Any:
    classes = found.collection.classes
    if classes:
        panels = {one.model.name: one.answers for one in found.measured}
        return plots.answers_by_word(
            panels, classes, found.text.words, title="The answer after each word"
        )
    curves = {one.model.name: one.answers[:, 0].tolist() for one in found.measured}
    return plots.prediction_by_word(
        found.text.words, curves, ylabel="answer", title="The answer after each number"
    )


def _gradient(found: Findings) -> Any:
    curves = [
        CellCurve(one.model.name, one.model.cell, one.gradient.tolist())
        for one in found.measured
        if one.gradient is not None
    ]
    return plots.gradient_by_steps(
        curves,
        title="How much gradient of the answer reaches earlier steps",
        xlabel="distance (steps before the answer)",
    )


def _horizon(found: Findings) -> Any:
    task_at = found.collection.task_at
    assert task_at is not None
    chance = task_at(found.distances[0]).chance
    return plots.horizon_by_distance(
        found.distances,
        [
            CellCurve(one.model.name, one.model.cell, one.horizon.tolist())
            for one in found.measured
            if one.horizon is not None
        ],
        chance=chance,
        threshold=horizon_threshold(chance),
        title="How far back the trained models remember",
        xlabel="distance (steps)",
    )
