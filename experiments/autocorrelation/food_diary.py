"""The demo: a diary in which a meal depends on the meals before, and not on the weekday."""

import csv
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich import box
from rich.table import Table

import seqmodels as sm
from experiments.autocorrelation import labels
from experiments.common import report as study_report
from experiments.common.terminal import say
from seqmodels.analysis.autocorrelation import Association
from seqmodels.analysis.statistics import mean_interval
from seqmodels.data.batches import shuffled
from seqmodels.datasets.food_diary import MEALS, WEEKDAYS, Diary, bayes_rate, bayes_rule, diary
from seqmodels.models.layers import DenseParams, dense, dense_init
from seqmodels.models.sequence_model import sequence_model
from seqmodels.training.fit import fit
from seqmodels.training.optimizers import OptimizerSettings, make_optimizer
from seqmodels.training.prefetch import prefetch_dispatches
from seqmodels.training.settings import FitSettings
from seqmodels.training.state import create_train_state
from seqmodels.training.steps import Loss, make_train_steps
from seqmodels.types import Array, Params

DAYS, TRAIN = 4_000, 3_000
WINDOW, BATCH, STEPS, SEEDS = 30, 32, 800, 3
HIDDEN = 16
NLAGS = 7

# From parameters, meals (T, B) of the days before and weekdays (T, B) of the days that are
# predicted, to logits (T, B, C).
Reader = Callable[[Params, Array, Array], Array]


def show(
    folder: pathlib.Path, seed: int, alpha: float
) -> tuple[str, list[Association], dict[str, list[float]]]:
    """Draws a diary, and reports its associations and the accuracy of networks.

    Writes diary.csv, association.csv, association.png, verdict.txt and predictions.csv.

    Args:
      folder: the folder of the report.
      seed: decides the diary, the permutations and the networks.
      alpha: level of the tests.

    Returns:
      The conclusion, the associations, and of each model the accuracy per seed.
    """
    drawn = diary(jax.random.key(seed), DAYS)
    _write_diary(drawn, folder)
    table = Table(title="A diary: does the weekday determine the meal?", box=box.SIMPLE)
    for heading in ("date", "day", "food"):
        table.add_column(heading)
    for date, weekday, meal in zip(*_rows(drawn, 8), strict=True):
        table.add_row(date, weekday, meal)
    study_report.show(table)
    associations = labels.associations(drawn.meals, drawn.weekdays, NLAGS, alpha, seed)
    words = labels.report(("food", "day"), associations, folder, alpha)
    accuracies = _predict(drawn, folder, seed)
    say(f"report: {folder}")
    return words, associations, accuracies


def _rows(drawn: Diary, count: int) -> tuple[list[str], list[str], list[str]]:
    return (
        [str(date) for date in drawn.dates[:count]],
        [WEEKDAYS[n] for n in drawn.weekdays[:count]],
        [MEALS[n] for n in drawn.meals[:count]],
    )


def _write_diary(drawn: Diary, folder: pathlib.Path) -> None:
    with (folder / "diary.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["date", "day", "food"])
        writer.writerows(zip(*_rows(drawn, len(drawn.meals)), strict=True))


def _predict(drawn: Diary, folder: pathlib.Path, seed: int) -> dict[str, list[float]]:
    """Trains both networks; shows and returns the accuracy of each on the last days."""
    truth = drawn.meals[TRAIN:]
    majority = np.bincount(drawn.meals[:TRAIN]).argmax()
    accuracies: dict[str, list[float]] = {"majority": [float(np.mean(truth == majority))]}
    readers = {"feed-forward, the day alone": _by_day(), "rnn, the meals before": _by_meals()}
    for name, (init, reader) in readers.items():
        predictions = [_predictions(init, reader, drawn, seed + n) for n in range(SEEDS)]
        accuracies[name] = [float(np.mean(meals == truth)) for meals in predictions]
    accuracies["best possible rule"] = [float(np.mean(bayes_rule(drawn.meals)[TRAIN:] == truth))]
    table = Table(
        title=f"Accuracy on {len(truth):,} days after {TRAIN:,} to train on, mean of {SEEDS} "
        f"seeds and 95% interval. The best possible rule is right in {bayes_rate():.1%} of all "
        "days.",
        box=box.SIMPLE,
        title_justify="left",
    )
    table.add_column("model")
    table.add_column("accuracy, %", justify="right")
    with (folder / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["model", "seed", "accuracy"])
        for name, values in accuracies.items():
            mean, low, high = mean_interval(values)
            interval = (
                f" [{100 * max(low, 0):.1f}, {100 * min(high, 1):.1f}]" if len(values) > 1 else ""
            )
            table.add_row(name, f"{100 * mean:.1f}{interval}")
            for number, value in enumerate(values):
                writer.writerow([name, seed + number if len(values) > 1 else "", f"{value:.6g}"])
    study_report.show(table)
    return accuracies


def _by_meals() -> tuple[Callable[[Array], Params], Reader]:
    model = sequence_model(
        sm.rnn(HIDDEN, HIDDEN),
        hidden_size=HIDDEN,
        output_size=len(MEALS),
        vocabulary_size=len(MEALS),
        embedding_size=HIDDEN,
        embedding_scale=1.0,
    )

    def read(params: Any, meals: Array, weekdays: Array) -> Array:
        del weekdays
        return model.apply(params, meals, last=meals.shape[0])

    return model.init, read


def _by_day() -> tuple[Callable[[Array], Params], Reader]:
    def init(key: Array) -> tuple[DenseParams, DenseParams]:
        key_in, key_out = jax.random.split(key)
        return (
            dense_init(key_in, len(WEEKDAYS), HIDDEN),
            dense_init(key_out, HIDDEN, len(MEALS)),
        )

    def read(params: tuple[DenseParams, DenseParams], meals: Array, weekdays: Array) -> Array:
        del meals
        inner, outer = params
        return dense(outer, jnp.tanh(dense(inner, jax.nn.one_hot(weekdays, len(WEEKDAYS)))))

    return init, read


def _predictions(
    init: Callable[[Array], Params], reader: Reader, drawn: Diary, seed: int
) -> np.ndarray:
    """Trains a network on the first days; returns its predictions of the others."""
    places = np.arange(TRAIN - WINDOW)[:, None] + np.arange(WINDOW + 1)
    windows = (drawn.meals[places], drawn.weekdays[places])
    optimizer = make_optimizer(
        OptimizerSettings(3e-3, steps=STEPS, warmup=20, schedule="cosine", clip_norm=1.0)
    )

    def loss(params: Params, rows: Any, key: Array, carry: Any) -> Loss:
        del key, carry
        meals, weekdays = (jnp.swapaxes(jnp.asarray(row), 0, 1) for row in rows)
        logits = reader(params, meals[:-1], weekdays[1:])
        likelihood = jnp.take_along_axis(jax.nn.log_softmax(logits), meals[1:, :, None], axis=-1)
        return Loss(total=-jnp.sum(likelihood), weight=likelihood.size)

    data = shuffled(windows, BATCH, seed=seed)
    fitted = fit(
        create_train_state(init, optimizer, jax.random.key(seed)),
        jax.jit(make_train_steps(loss, optimizer, 20), donate_argnums=0),
        FitSettings(steps=STEPS, steps_per_dispatch=20, log_every=STEPS),
        batches=prefetch_dispatches(data.at, 20),
    )
    logits = reader(
        fitted.state.params,
        jnp.asarray(drawn.meals[:-1, None]),
        jnp.asarray(drawn.weekdays[1:, None]),
    )
    return np.asarray(jnp.argmax(logits[TRAIN - 1 :, 0], axis=-1))
