"""The report of a translation study: the table, and a picture of the attention."""

from typing import Any

from experiments.common import report as study_report
from experiments.translation.config import PICTURE, PROGRAM
from experiments.translation.model import restore, translations
from experiments.translation.predict import draw
from seqmodels import model_files
from seqmodels.data.phrase_splits import Splits
from seqmodels.training.run_directory import RunDirectory

TITLE = "English to German, test"
EXAMPLE = "Delete files permanently"
EXAMPLE_WORDS = 7
COLUMNS = {
    f"{part}_{metric}": (f"{heading}{label}", study_report.decimals(1, 0, 100))
    for part, heading in (
        ("components", "held-out components"),
        ("far", "sources, cosine < .6"),
        ("middle", ".6-.8"),
        ("near", "> .8"),
    )
    for metric, label in (("bleu", "\nBLEU"), ("chrf", "\nchrF"))
    if metric == "bleu" or part in ("components", "far")
}


def show(results: dict[str, Any], directory: RunDirectory, splits: Splits) -> None:
    """Prints the table, and draws the attention of the best model that has one.

    Args:
      results: the content of results.json.
      directory: the run directory.
      splits: the pairs of the run.
    """
    show_table(results)
    records = [record for record in results["results"] if record["model"] != "none"]
    if not records:
        return
    best = study_report.best_record(results | {"results": records})
    folder = directory.model(f"{best['model']}-{best['seed']}")
    trained = restore(model_files.load(folder, PROGRAM))
    sources = (pair.source for pair in splits.components)
    example = next((text for text in sources if len(text.split()) == EXAMPLE_WORDS), EXAMPLE)
    draw(trained, example, translations(trained, [example])[0][0], directory.file(PICTURE))


def show_table(results: dict[str, Any]) -> None:
    """Prints the table of the content of results.json, or of its baselines and results."""
    study_report.show(study_report.table(results, COLUMNS, TITLE))
