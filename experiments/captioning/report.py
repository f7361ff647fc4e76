"""The report of the captioning study: the table and the sheet of test pictures."""

from typing import Any

from experiments.captioning.data import Data
from experiments.common import report as study_report
from experiments.common.terminal import say
from seqmodels import plots
from seqmodels.training.run_directory import RunDirectory

SHEET = "contact_sheet.png"
COLUMNS = {
    "unseen_exact": ("exact, unseen %", study_report.percent),
    "unseen_chrf": ("chrF", study_report.decimals(1, 0, 100)),
    "unseen_bleu": ("BLEU", study_report.decimals(1, 0, 100)),
    "seen_exact": ("exact, seen %", study_report.percent),
    "seen_chrf": ("chrF", study_report.decimals(1, 0, 100)),
    "seen_bleu": ("BLEU", study_report.decimals(1, 0, 100)),
}


def show(results: dict[str, Any], directory: RunDirectory, data: Data) -> None:
    """Prints the table and writes the first test pictures with the captions of the best model.

    Args:
      results: the content of results.json.
      directory: the run directory.
      data: the data of the run.
    """
    records = results["results"]
    present = {
        name: column
        for name, column in COLUMNS.items()
        if any(name in record for record in records)
    }
    study_report.show(study_report.table(results, present))
    best = study_report.best_record(results)
    test, captions = data.tests["unseen"], best["captions"]
    right = [one == other for one, other in zip(captions, test.captions, strict=False)]
    figure = plots.contact_sheet(
        test.images[: len(captions)],
        captions,
        right,
        title=f"{best['model']}, seed {best['seed']}: combinations that were never trained on",
    )
    figure.savefig(directory.file(SHEET))
    say(f"{directory.file(SHEET)}: test pictures with their captions")
