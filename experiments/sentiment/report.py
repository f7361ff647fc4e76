"""The report of a sentiment study: the table, paired intervals, confusion matrices."""

from typing import Any

import numpy as np

from experiments.common import report as study_report
from experiments.common.report import decimals
from experiments.common.terminal import say
from experiments.sentiment.data import Data
from seqmodels import plots
from seqmodels.analysis.classification import confusion_matrix, paired_bootstrap
from seqmodels.training.run_directory import RunDirectory

CONFUSION = "confusion.png"


def show(results: dict[str, Any], directory: RunDirectory, data: Data) -> None:
    """Prints the table and the paired intervals; writes the confusion matrices.

    Args:
      results: the content of results.json.
      directory: the run directory.
      data: the texts of the run.
    """
    columns = {"rmse": ("RMSE", decimals(3, 0)), "correlation": ("correlation", decimals(3, -1, 1))}
    if data.classes:
        columns = {
            "macro_f1": ("macro-F1", decimals(3, 0, 1)),
            "accuracy": ("accuracy", decimals(3, 0, 1)),
        }
    sizes = ", ".join(f"{len(texts.texts):,} {name}" for name, texts in data.splits.items())
    title = f"{data.name}: {sizes}. Test split; mean over the seeds, 95% interval."
    study_report.show(study_report.table(results, columns, title))
    if not data.classes or not results["baselines"]:
        return
    truth = data.targets("test")
    best = max(results["baselines"], key=lambda record: record["macro_f1"])
    matrices = {best["model"]: confusion_matrix(truth, best["predicted"], len(data.classes))}
    say(f"Macro-F1 minus that of {best['model']!r}, 95% interval over test texts and seeds:")
    for name, records in study_report.by_model(results).items():
        predicted = [np.array(record["predicted"]) for record in records]
        found = paired_bootstrap(truth, predicted, np.array(best["predicted"]), len(data.classes))
        say(f"  {name}: {found[0]:+.3f} [{found[1]:+.3f}, {found[2]:+.3f}]")
        matrices[name] = np.sum(
            [confusion_matrix(truth, one, len(data.classes)) for one in predicted], axis=0
        )
    figure = plots.confusion_matrices(
        matrices, data.classes, title=f"{data.name}, test split, all seeds"
    )
    figure.savefig(directory.file(CONFUSION))
    say(f"results: {directory.path}")
