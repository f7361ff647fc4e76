"""Trained models of runs, for the commands that evaluate and use them."""

import os
import pathlib
from typing import Any, NamedTuple

from experiments.common import identity as identities
from experiments.common.errors import UserError
from experiments.common.report import best_record
from experiments.common.runner import RUNS
from seqmodels import model_files
from seqmodels.model_files import SavedModel
from seqmodels.training.errors import RunError
from seqmodels.training.run_directory import RESULTS, model_path, run_of_model, stored_results

Folder = str | os.PathLike[str] | None


class NamedModel(NamedTuple):
    """A model of a run: its name in the table, its seed, its files."""

    name: str
    seed: int
    saved: SavedModel


def best(program: str, model_dir: Folder) -> SavedModel:
    """Returns the model of a folder; of the models of a run, the one best in validation.

    Args:
      program: the experiment, which is also the kind of its models.
      model_dir: folder of a run or of a model; None for the newest finished run below runs/.

    Raises:
      UserError: if there is no model, or one of another kind.
    """
    if model_dir is not None and (pathlib.Path(model_dir) / model_files.MODEL).exists():
        return _loaded(pathlib.Path(model_dir), program)
    run, results = _run(program, model_dir)
    if not results.get("results"):
        raise UserError(f"model_dir: {run} holds no trained model yet")
    chosen = best_record(results)
    return _loaded(model_path(run, f"{chosen['model']}-{chosen['seed']}"), program)


def all_models(program: str, model_dir: Folder) -> list[NamedModel]:
    """Returns every model of a run. Args and raises as `best`."""
    run, results = _run(program, model_dir)
    return [
        NamedModel(
            record["model"],
            record["seed"],
            _loaded(model_path(run, f"{record['model']}-{record['seed']}"), program),
        )
        for record in results.get("results", [])
    ]


def config_of_run(program: str, model_dir: Folder, config: Any) -> Any:
    """Returns the configuration of a run; its data are to be loaded by it.

    Args:
      program: as in `best`.
      model_dir: as in `best`.
      config: of the same class, with the values of options that the run does not know, such as
        where fetched data are kept.

    Raises:
      UserError: as `best`, and if the run has a value that is not valid.
    """
    run, results = _run(program, model_dir)
    try:
        return identities.from_stored(config, results.get("flags", {}))
    except ValueError as error:
        raise UserError(f"model_dir: {run / RESULTS}: {error}") from None


def _run(program: str, model_dir: Folder) -> tuple[pathlib.Path, dict[str, Any]]:
    """Returns the run's folder and results; of a model's folder those of the run above it."""
    try:
        if model_dir is not None:
            path = pathlib.Path(model_dir)
            if (path / model_files.MODEL).exists():
                path = run_of_model(path)
            results = stored_results(path)
            if results is None:
                raise UserError(
                    f"model_dir: got {str(model_dir)!r}, expected the folder of a run ({RESULTS}) "
                    f"or of a model ({model_files.MODEL})"
                )
            if results.get("program") != program:
                raise UserError(
                    f"model_dir: {path} holds a run of {results.get('program', 'something else')}, "
                    f"expected one of {program}"
                )
            return path, results
        finished = []
        for path in RUNS.glob(f"{program}-*"):
            results = stored_results(path)
            if results and results.get("complete") and results.get("program") == program:
                finished.append(((path / RESULTS).stat().st_mtime, path, results))
    except RunError as error:
        raise UserError(str(error).replace("run_dir", "model_dir", 1)) from None
    if not finished:
        raise UserError(
            "model_dir: got nothing, and there is no finished run below runs/; train first: "
            f"python -m experiments.{program}"
        )
    _, path, results = max(finished, key=lambda run: run[0])
    return path, results


def _loaded(folder: pathlib.Path, program: str) -> SavedModel:
    try:
        return model_files.load(folder, program)
    except ValueError as error:
        raise UserError(str(error)) from None
