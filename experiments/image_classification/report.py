"""The table and the pictures of an image classification."""

from typing import Any

import numpy as np

from experiments.common import report as study_report
from experiments.common.terminal import say
from experiments.image_classification.config import PROGRAM
from experiments.image_classification.data import CLASSES
from experiments.image_classification.model import probabilities, restore
from seqmodels import model_files, plots
from seqmodels.datasets.digit_images import Images
from seqmodels.training.run_directory import RunDirectory

CONFUSION = "confusion.png"
TEST_IMAGES = "test_images.png"
SHOWN = 12
HARDEST = 8  # hardest images; the others are the first of the test split


def show(results: dict[str, Any], directory: RunDirectory, test: Images) -> None:
    """Prints the table and writes confusion.png and test_images.png.

    Args:
      results: the content of results.json.
      directory: the run directory, with its models.
      test: the test split.
    """
    columns = {
        "test_accuracy": ("test accuracy, %", study_report.percent),
        "test_loss": ("test loss", study_report.decimals(3, 0)),
        "validation_accuracy": ("validation, %", study_report.percent),
    }
    title = f"{results['flags']['data']}: {len(test.labels)} test images"
    study_report.show(study_report.table(results, columns, title))
    models = study_report.by_model(results)
    counts = {
        name: np.sum([record["confusion"] for record in records], axis=0)
        for name, records in models.items()
    }
    seeds = max(len(records) for records in models.values())
    figure = plots.confusion_matrices(
        counts, CLASSES, title=f"{title}, {seeds} seeds: confusion matrices"
    )
    figure.savefig(directory.file(CONFUSION))
    found = {}
    for name, records in models.items():
        model = model_files.load(directory.model(f"{name}-{records[0]['seed']}"), PROGRAM)
        _, classifier, params = restore(model)
        found[name] = probabilities(classifier, params, test.images)
    rows = _chosen(found, test)
    figure = plots.image_probabilities(
        test.images[rows, :, :, 0],
        [CLASSES[label] for label in test.labels[rows]],
        {name: values[rows] for name, values in found.items()},
        CLASSES,
        title=f"Class probabilities: the first {len(rows) - HARDEST} test images, "
        f"then the {HARDEST} hardest",
    )
    figure.savefig(directory.file(TEST_IMAGES))
    say(f"pictures: {directory.file(CONFUSION)}, {directory.file(TEST_IMAGES)}")


def _chosen(found: dict[str, np.ndarray], test: Images) -> np.ndarray:
    """Returns the first images, then those whose true class was the least likely to the models."""
    every = np.arange(len(test.labels))
    likely = np.mean([values[every, test.labels] for values in found.values()], axis=0)
    first = every[: SHOWN - HARDEST]
    hardest = [row for row in np.argsort(likely, kind="stable") if row not in first][:HARDEST]
    return np.array([*first, *hardest])
