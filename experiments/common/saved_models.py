"""Trained models of runs, and the data that they were trained on, for the other commands."""

import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from experiments.common import identity as identities
from experiments.common import terminal
from experiments.common.config import absolute_path, all_options, is_optional, public_name
from experiments.common.errors import UserError
from experiments.common.report import best_record, by_model
from experiments.common.runner import RUNS
from seqmodels import model_files
from seqmodels.model_files import SavedModel
from seqmodels.storage import reading
from seqmodels.training.errors import RunError
from seqmodels.training.run_directory import RESULTS, model_path, run_of_model, stored_results

Folder = str | os.PathLike[str] | None
Loaded = TypeVar("Loaded")


class NamedModel(NamedTuple):
    """A model of a run: its name in the table, its seed, its files."""

    name: str
    seed: int
    saved: SavedModel


class RecordedModel(NamedTuple):
    """A model of a run: its name in the table, its seed, its files, its entry in results.json."""

    name: str
    seed: int
    saved: SavedModel
    record: dict[str, Any]


def best(program: str, model_dir: Folder) -> SavedModel:
    """Returns the model of a folder; of the models of a run, the one best in validation.

    The model is named in the first line that is printed.

    Args:
      program: the experiment, which is also the kind of its models.
      model_dir: folder of a run or of a model; None for the newest finished run below runs/.

    Raises:
      UserError: if there is no model, or one of another kind.
    """
    folder = _model_folder(model_dir)
    if folder is None:
        run, results = _run(program, model_dir)
        if not results.get("results"):
            raise UserError(f"model_dir: {run} holds no trained model yet")
        _check_named(run, results["results"])
        chosen = best_record(results)
        folder = model_path(run, f"{chosen['model']}-{chosen['seed']}")
    saved = _loaded(folder, program)
    _name(f"model: {folder}")
    return saved


def all_models(program: str, model_dir: Folder) -> list[NamedModel]:
    """Returns every model of a run, or the one of a model's folder. Args and raises as `best`."""
    run, results = _run(program, model_dir)
    found = _recorded(program, model_dir, run, results.get("results", []))
    return [NamedModel(one.name, one.seed, one.saved) for one in found]


def best_of_each(program: str, model_dir: Folder) -> list[RecordedModel]:
    """Returns the model of every name of a finished run with the seed best in validation.

    Args:
      program: as in `best`.
      model_dir: as in `best`; the folder of a model selects only that model.

    Raises:
      UserError: as `best`, and if the run is not finished.
    """
    run, results = _run(program, model_dir)
    if not results.get("complete"):
        raise UserError(
            f"model_dir: {run} is not finished, expected a finished run; first "
            f"python -m experiments.{program} --resume={run}"
        )
    records = results.get("results", [])
    _check_named(run, records)
    if _model_folder(model_dir) is None:
        groups = by_model(results).values()
        records = [best_record(results | {"results": group}) for group in groups]
    return _recorded(program, model_dir, run, records)


def results_of(model_dir: Folder, expected: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Returns the experiment and the results.json of a run, or of the run of a model.

    Args:
      model_dir: folder of a run or of a model.
      expected: names of experiments.

    Raises:
      UserError: if there is no run, or one of another experiment.
    """
    model = _model_folder(model_dir)
    path = absolute_path(model_dir or ".") if model is None else run_of_model(model)
    results = _results(path, model_dir)
    program = results.get("program")
    if program not in expected:
        raise UserError(
            f"model_dir: got a run of {program or 'something else'}, expected one of "
            f"{' or '.join(expected)}"
        )
    return str(program), results


def _check_named(run: pathlib.Path, records: list[dict[str, Any]]) -> None:
    """Raises UserError if the records do not name a model, as in runs of an old version."""
    if any("model" not in record for record in records):
        raise UserError(f"model_dir: {run} is of a version that kept no models; train it again")


def _recorded(
    program: str, model_dir: Folder, run: pathlib.Path, records: list[dict[str, Any]]
) -> list[RecordedModel]:
    """Returns the models of records of a run, or only the one of a model's folder."""
    _check_named(run, records)
    folder = _model_folder(model_dir)
    found = [(record, model_path(run, f"{record['model']}-{record['seed']}")) for record in records]
    if folder is not None:
        found = [one for one in found if one[1].name == folder.resolve().name]
        if not found:
            raise UserError(f"model_dir: got {str(folder)!r}, expected a model that {run} lists")
    _name(f"run: {run}" if folder is None else f"model: {folder}")
    return [
        RecordedModel(record["model"], record["seed"], _loaded(path, program), record)
        for record, path in found
    ]


def data_of_run(
    program: str, model_dir: Folder, config: Any, load: Callable[[Any], Loaded]
) -> tuple[Any, Loaded]:
    """Returns the configuration of a run, and the data that the run was trained on.

    Args:
      program: as in `best`.
      model_dir: as in `best`.
      config: a configuration of the same class with the options that the run does not store. These
        are the folder of fetched data, and the paths of moved files of the run.
      load: `load(config) -> data`.

    Raises:
      UserError: as `best`, if the run has a value that is not valid, or if a file has another
        digest than the file of the run.
      ValueError or OSError: as `load`.
    """
    run, results = _run(program, model_dir)
    stored: dict[str, Any] = results.get("flags", {})
    places = results.get("paths")
    if not isinstance(places, dict):
        places = {}
    given = identities.locations(config)
    for name in sorted(given.keys() - places.keys() - stored.keys()):
        raise UserError(f"{name}: got {given[name]!r}, and {run} was not trained on such a file")
    values = stored | {name: given.get(name, place) for name, place in places.items()}
    for name, kind, about, _ in all_options(config):
        if about.path and about.decides and is_optional(kind):
            values.setdefault(public_name(name, about), None)
    with reading.read_once():
        try:
            found = identities.from_stored(config, values)
            got, expected = (
                {name: value for name, value in files.items() if name.endswith(identities.SUFFIX)}
                for files in (identities.identity(found), stored)
            )
        except ValueError as error:
            raise UserError(f"model_dir: {run / RESULTS}: {error}") from None
        different = identities.file_lines(expected, got, identities.locations(found))
        if different:
            raise UserError(f"{different}, the file that {run} was trained on")
        return found, load(found)


def _name(line: str) -> None:
    """Prints the run or model that is used."""
    terminal.say(line)


def _model_folder(model_dir: Folder) -> pathlib.Path | None:
    """Returns the folder of a model; None if the folder is that of a run."""
    if model_dir is None:
        return None
    folder = absolute_path(model_dir)
    return folder if (folder / model_files.MODEL).exists() else None


def _run(program: str, model_dir: Folder) -> tuple[pathlib.Path, dict[str, Any]]:
    """Returns the folder and results of a run; a model's folder stands for the run above it."""
    if model_dir is None:
        return _newest(program)
    path = _model_folder(model_dir)
    path = absolute_path(model_dir) if path is None else run_of_model(path)
    results = _results(path, model_dir)
    if results.get("program") != program:
        raise UserError(
            f"model_dir: {path} holds a run of {results.get('program', 'something else')}, "
            f"expected one of {program}"
        )
    return path, results


def _results(path: pathlib.Path, model_dir: Folder) -> dict[str, Any]:
    """Returns the results.json of a run; UserError, which names `model_dir`, if it is missing."""
    try:
        results = stored_results(path)
    except RunError as error:
        raise UserError(str(error).replace("run_dir", "model_dir", 1)) from None
    if results is None:
        raise UserError(
            f"model_dir: got {str(model_dir)!r}, expected the folder of a run ({RESULTS}) "
            f"or of a model ({model_files.MODEL})"
        )
    return results


def _newest(program: str) -> tuple[pathlib.Path, dict[str, Any]]:
    """Returns the run of a program below runs/ that ended last, by its results.json."""
    finished = []
    for path in _runs_below(RUNS):
        try:
            results = stored_results(path) or {}
            changed = (path / RESULTS).stat().st_mtime
        except (RunError, OSError):
            continue  # not the file of a run
        if results.get("complete") is True and results.get("program") == program:
            ended = results.get("ended")
            finished.append((ended if isinstance(ended, str) else "", changed, path, results))
    if not finished:
        raise UserError(
            "model_dir: got nothing, and there is no finished run below runs/; train first: "
            f"python -m experiments.{program}"
        )
    _, _, path, results = max(finished, key=lambda run: run[:2])
    return path, results


def _runs_below(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    for parent, names, files in os.walk(folder):
        if RESULTS in files:
            names.clear()  # a run holds no other
            yield pathlib.Path(parent)


def _loaded(folder: pathlib.Path, program: str) -> SavedModel:
    try:
        return model_files.load(folder, program)
    except ValueError as error:
        raise UserError(str(error)) from None
