"""One to one: which digit is in the image? A feed-forward network beside recurrent readers.

The CNN sees the whole image at once. A cell reads it as a sequence: row by row, or pixel by pixel.

python -m experiments.image_classification
python -m experiments.image_classification --flagfile=experiments/image_classification/flagfiles/mnist.flags
python -m experiments.image_classification --evaluate
python -m experiments.image_classification --predict=MY_DIGIT.png
"""  # noqa: E501 - a command is one line

import functools
import pathlib
from typing import Any

import numpy as np
from absl import flags

from experiments.common import app, runner, saved_models, training_flags
from experiments.datasets import study as data
from experiments.image_classification import report as image_report
from experiments.image_classification.model import (
    BOXES,
    MODELS,
    SIDES,
    Config,
    probabilities,
    restore,
)
from experiments.image_classification.training import PROGRAM, baselines, scores, training
from seqmodels.data import image_files
from seqmodels.datasets import digit_images
from seqmodels.models.image_reader import POOLINGS, READINGS

# All that decides what comes out, beside the flags of every study.
NAMES = ("data", "models", "reading", "hidden", "channels", "dropout", "pooling", "shift")


def define_flags() -> None:
    """Defines the flags of this entry point."""
    flags.DEFINE_string(
        "data", "digits", "Images: digits (8x8, scikit-learn) or mnist (5,000 of 28x28, fetched)."
    )
    flags.DEFINE_list("models", list(MODELS), f"Models, of {', '.join(MODELS)}.")
    flags.DEFINE_list(
        "reading", ["rows"], "How a cell reads an image: rows, pixels, or both; rows,pixels."
    )
    flags.DEFINE_integer(
        "hidden",
        128,
        "Hidden units of a cell, and of the CNN's fully connected layer.",
        lower_bound=1,
        upper_bound=65_536,
    )
    flags.DEFINE_list("channels", ["16", "32"], "Feature maps of the CNN's convolutions, in order.")
    flags.DEFINE_float(
        "dropout", 0.2, "Share of units left out in training.", lower_bound=0.0, upper_bound=0.99
    )
    flags.DEFINE_string("pooling", "mean", "Which outputs of a cell are read: last or mean.")
    flags.DEFINE_integer(
        "shift",
        1,
        "Training images are moved by up to so many pixels at random.",
        lower_bound=0,
        upper_bound=8,
    )
    flags.DEFINE_string(
        "predict",
        None,
        "An image of yours with one digit: of any mode and size; it is made grey, inverted where "
        "the ground is light, cut to the digit and put in the middle, as the training images are.",
    )
    data.define_data_dir()
    runner.define(
        seeds=3, steps=1000, batch=64, learning_rate="0.002", eval_every=100, clip_norm=1.0
    )
    saved_models.define()
    app.checked(app.known_name(digit_images.SETS), "data")
    app.checked(app.known_name(POOLINGS), "pooling")
    app.checked(app.not_empty, "predict")
    app.checked(lambda value: app.names(value, MODELS), "models")
    app.checked(lambda value: app.names(value, READINGS), "reading")
    app.checked(_channels, "channels")
    app.checked(lambda value: app.per_name(value, MODELS, app.positive), "learning_rate")


def _channels(values: list[str]) -> tuple[int, ...]:
    if not values or not all(value.isdecimal() and 0 < int(value) <= 4096 for value in values):
        raise ValueError(
            f"got {','.join(values)!r}, expected numbers of feature maps such as 16,32"
        )
    return tuple(map(int, values))


def main() -> int:
    """Trains, evaluates or predicts, as the flags say. Returns the exit status."""
    if flags.FLAGS.predict is not None:
        return _predict(flags.FLAGS.predict)
    if flags.FLAGS.evaluate:
        return _evaluate()
    return runner.run(PROGRAM, NAMES, _study, _report)


def _study() -> runner.Study:
    values = flags.FLAGS
    splits = digit_images.load(values.data, values.data_dir)
    rates = app.per_name(values.learning_rate, MODELS, app.positive)
    trainings = []
    for model in values.models:
        rate = app.value_for("learning_rate", rates, model)
        for reading in [""] if model == "cnn" else values.reading:
            config = Config(
                data=values.data,
                model=model,
                reading=reading,
                hidden=values.hidden,
                channels=_channels(values.channels),
                pooling=values.pooling,
                dropout=values.dropout,
            )
            trainings.append(
                training(
                    config,
                    splits,
                    batch=values.batch,
                    shift=values.shift,
                    optimizer=training_flags.optimizer_settings(rate),
                    fit=training_flags.fit_settings(),
                )
            )
    return runner.Study(trainings, functools.partial(baselines, splits))


def _report(results: dict[str, Any], folder: pathlib.Path) -> None:
    test = digit_images.load(flags.FLAGS.data, flags.FLAGS.data_dir)["test"]
    image_report.show(results, folder, test)


def _evaluate() -> int:
    """Prints what every model of a run makes of the test images."""
    found: dict[str, list[float]] = {}
    for name, seed, model in saved_models.every(PROGRAM):
        try:
            config, classifier, params = restore(model)
            test = digit_images.load(config.data, flags.FLAGS.data_dir)["test"]
        except (ValueError, OSError) as error:
            raise app.UserError(str(error)) from None
        figures = scores(probabilities(classifier, params, test.images), test)
        print(
            f"{name}, seed {seed}: {100 * figures['accuracy']:.1f} % of {len(test.labels)} test "
            f"images of {config.data}, loss {figures['loss']:.4f}"
        )
        found.setdefault(name, []).append(figures["accuracy"])
    for name, values in found.items():
        print(f"{name}, mean: {100 * np.mean(values):.1f} %")
    return 0


def _predict(path: str) -> int:
    """Prints the probability of each class for the user's own image."""
    try:
        config, classifier, params = restore(saved_models.best(PROGRAM))
        image = image_files.read_digit(path, SIDES[config.data], BOXES[config.data])
    except ValueError as error:
        raise app.UserError(str(error)) from None
    found = probabilities(classifier, params, image[None])[0]
    print(f"{path}: {found.argmax()} (by {config.name}, trained on {config.data})")
    for digit, probability in enumerate(found):
        print(f"  {digit}  {probability:.4f}  {'#' * round(40 * float(probability))}".rstrip())
    return 0
