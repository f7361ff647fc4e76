"""The report of a forecasting study."""

import pathlib
from typing import Any


def show(results: dict[str, Any], folder: pathlib.Path) -> None:
    """Prints the table."""
    for record in [*results["baselines"], *results["results"]]:
        for name, own in record["columns"].items():
            print(
                record["model"],
                record.get("seed"),
                record.get("validation_mase"),
                record.get("validation_rmsse"),
                record.get("best_step"),
                name,
                *(f"{k} {own[k]:.4g}" for k in ("mse", "mase", "coverage_80", "coverage_95")),
                own["all_steps"]["mase"],
                own["verdict"],
            )
