"""Where trained models are, for the commands that evaluate and use them."""

import pathlib
from typing import Any

from absl import flags

from experiments.common import app
from seqmodels import model_files
from seqmodels.model_files import SavedModel
from seqmodels.training.errors import RunError
from seqmodels.training.run_directory import MODELS, RESULTS, stored_results


def define() -> None:
    """Defines the flags `--model_dir` and `--evaluate`."""
    flags.DEFINE_string(
        "model_dir",
        None,
        "Folder of a run or of one of its models, to evaluate or use; of a run's models the one "
        "that was best in validation is used. By default that of the newest finished run below "
        "runs/.",
    )
    flags.DEFINE_bool("evaluate", False, "Evaluate the models of model_dir on the test split.")
    app.checked(app.not_empty, "model_dir")


def best(program: str) -> SavedModel:
    """Returns the model that `--model_dir` means.

    Args:
      program: the experiment, which is also the kind of its models.

    Returns:
      A `SavedModel`.

    Raises:
      cli.UserError: if there is none, or one of another kind.
    """
    given = flags.FLAGS.model_dir
    if given is not None and (pathlib.Path(given) / model_files.MODEL).exists():
        return _loaded(pathlib.Path(given), program)
    run, results = _run(program)
    records, name = results.get("results", []), results.get("chosen_by")
    if not records:
        raise app.UserError(f"model_dir: {run} holds no trained model yet")
    chosen = records[0]
    if name is not None:
        pick = max if results.get("chosen_mode") == "max" else min
        chosen = pick(records, key=lambda record: record[name])
    return _loaded(run / MODELS / f"{chosen['model']}-{chosen['seed']}", program)


def every(program: str) -> list[tuple[str, int, SavedModel]]:
    """Returns (name of the model, seed, model) for each model of the run that is meant.

    Args and raises as `best`.
    """
    run, results = _run(program)
    return [
        (
            one["model"],
            one["seed"],
            _loaded(run / MODELS / f"{one['model']}-{one['seed']}", program),
        )
        for one in results.get("results", [])
    ]


def flags_of_run(program: str) -> dict[str, Any]:
    """Returns the flags that decided the run that is meant; its data are to be loaded by them.

    Args and raises as `best`.
    """
    return _run(program)[1].get("flags", {})


def _run(program: str) -> tuple[pathlib.Path, dict[str, Any]]:
    """Returns the run's folder and results; of a model's folder those of the run above it."""
    given = flags.FLAGS.model_dir
    try:
        if given is not None:
            path = pathlib.Path(given)
            if (path / model_files.MODEL).exists():
                path = path.resolve().parents[1]
            results = stored_results(path)
            if results is None:
                raise app.UserError(
                    f"model_dir: got {given!r}, expected the folder of a run ({RESULTS}) or of a "
                    f"model ({model_files.MODEL})"
                )
            if results.get("program") != program:
                raise app.UserError(
                    f"model_dir: {path} holds a run of {results.get('program', 'something else')}, "
                    f"expected one of {program}"
                )
            return path, results
        finished = []
        for path in pathlib.Path("runs").glob(f"{program}-*"):
            results = stored_results(path)
            if results and results.get("complete") and results.get("program") == program:
                finished.append(((path / RESULTS).stat().st_mtime, path, results))
    except RunError as error:
        raise app.UserError(str(error).replace("run_dir", "model_dir", 1)) from None
    if not finished:
        raise app.UserError(
            "model_dir: got nothing, and there is no finished run below runs/; train first: "
            f"python -m experiments.{program}"
        )
    _, path, results = max(finished, key=lambda one: one[0])
    return path, results


def _loaded(folder: pathlib.Path, program: str) -> SavedModel:
    try:
        return model_files.load(folder, program)
    except ValueError as error:
        raise app.UserError(str(error)) from None
