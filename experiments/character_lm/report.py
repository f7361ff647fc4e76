"""The report of the character language models: the table."""

from typing import Any

from experiments.common import report as study_report

COLUMNS = {
    "validation_bits": ("validation, bits per character", study_report.decimals(3, 0)),
    "test_bits": ("test", study_report.decimals(3, 0)),
}


def show(results: dict[str, Any]) -> None:
    """Prints the table.

    Args:
      results: the content of results.json, or its baselines and results.
    """
    study_report.show(study_report.table(results, COLUMNS, "Next character of Shakespeare's plays"))
