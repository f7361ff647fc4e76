"""The runner: a study as a function of its configuration, with a run directory."""

import contextlib
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax

from experiments.common import identity as identities
from experiments.common import terminal
from experiments.common.config import absolute_path
from experiments.common.errors import UserError
from experiments.common.flags import flagfile
from experiments.common.sections import SavingConfig, TrainingConfig
from experiments.common.trainer import Study, Trainer
from seqmodels.storage import reading
from seqmodels.training.checkpointing.manifest import settings_difference
from seqmodels.training.errors import RunError
from seqmodels.training.files import json_value
from seqmodels.training.interruption import Interrupted, Interruption
from seqmodels.training.nonfinite import NonFiniteError
from seqmodels.training.parallel import processes
from seqmodels.training.parallel.mesh import largest_divisor, use_devices
from seqmodels.training.run_directory import (
    RunDirectory,
    check_run_directory,
    stored_results,
)

RUNS = pathlib.Path("runs")
Results = dict[str, Any]


def run(
    program: str,
    config: Any,
    build: Callable[[Any], Study],
    *,
    run_dir: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    divided: str = "batch",
    files: Sequence[str] = (),
    prefix: str | None = None,
) -> Results:
    """Runs a study, or resumes it, and returns the content of its results.json.

    Args:
      program: the name of the experiment.
      config: its configuration, with the sections `training` and `saving`.
      build: `build(config) -> Study`, with the devices resolved. It loads and checks the data
        once, so that errors in them appear before training.
      run_dir: the folder of the run; None for one below runs/ named by the configuration, in which
        the same configuration resumes.
      overwrite: whether the run that the folder holds may be replaced.
      divided: the option that counts what is spread over the devices.
      files: names of the files that the report writes.
      prefix: the beginning of the folder's name below runs/; by default `program`.

    Raises:
      UserError: for a user error, with a message of one line.
      Interrupted: after SIGINT or SIGTERM; the same call resumes.
    """
    try:
        # One reading for the identity, which the processes compare, and for what is trained on.
        with reading.read_once():
            path, config = _resolved(config, run_dir, prefix or program, divided)
            settings = identities.identity(config)
            _check_same({"program": program, **settings}, config)
            kept: dict[str, Any] = {
                "program": program,
                "settings": settings,
                "overwrite": overwrite,
                "files": files,
            }
            with processes.failing_together():
                if processes.is_main():
                    _check_directory(path, config, kept)
                study = build(config)
                saving: SavingConfig = config.saving
                directory = RunDirectory(
                    path,
                    **kept,
                    writes=processes.is_main(),
                    keep_checkpoints=saving.keep_checkpoints,
                    tensorboard=saving.tensorboard,
                )
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise _user_error(error) from error
    with directory:
        return _run(program, config, study, directory, settings=settings)


def _run(
    program: str,
    config: Any,
    study: Study,
    directory: RunDirectory,
    *,
    settings: dict[str, Any],
) -> Results:
    try:
        comment = f"python -m experiments.{program} --flagfile=THIS"
        directory.write_settings(flagfile(config, comment))
        devices = int(config.training.devices)
        places = identities.locations(config)
        trainer = Trainer(program, study, directory, settings, devices=devices, paths=places)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise _user_error(error) from error
    try:
        with Interruption() as interruption:
            try:
                trainer.run(interruption)
            except Interrupted:
                if directory.writes:
                    done = len(trainer.results["results"])
                    terminal.say(
                        f"interrupted; trained so far: {done}; the same command resumes",
                        error=True,
                    )
                    if done:
                        study.report(trainer.results, directory)
                raise
            try:
                if directory.writes:
                    study.report(trainer.results, directory)
            except BrokenPipeError:
                # Standard output is closed, as under `| head`; the files are still written.
                with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
                    study.report(trainer.results, directory)
                trainer.finish()
                raise
            trainer.finish()
    except (NonFiniteError, RunError, OSError) as error:
        raise _user_error(error) from error
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        done = len(trainer.results["results"])
        raise UserError(
            f"out of memory: lower the batch or the model's size; trained so far: {done}: "
            f"{directory.path}"
        ) from error
    return processes.broadcast_json(json_value(trainer.results))


def _user_error(error: BaseException) -> BaseException:
    """Returns the error as a `UserError`, unless another process caused it."""
    return error if processes.is_lost_peer(error) else UserError(str(error))


def _check_same(settings: dict[str, Any], config: Any) -> None:
    """Checks that all processes have the same settings and files; an error names the file here."""
    try:
        processes.check_same(settings)
    except ValueError as error:
        name = str(error).partition(":")[0]
        place = identities.place_of(name, identities.locations(config))
        raise ValueError(f"{error}; here: {place}" if place else str(error)) from error


def _check_directory(path: pathlib.Path, config: Any, kept: dict[str, Any]) -> None:
    """Checks that the run can use its directory; an error names the files that differ."""
    try:
        check_run_directory(path, **kept)
    except RunError as error:
        stored = (stored_results(path) or {}).get("flags", {})
        files = identities.file_lines(stored, kept["settings"], identities.locations(config))
        raise RunError(
            f"{error} ({files})" if files and "_sha256" in str(error) else str(error)
        ) from None


def _resolved(
    config: Any, run_dir: str | os.PathLike[str] | None, prefix: str, divided: str
) -> tuple[pathlib.Path, Any]:
    """Returns the folder of the run, and the configuration with the same devices everywhere.

    Raises:
      ValueError or OSError: on every process, if one of them cannot read a file of the
        configuration or has other devices.
    """
    path, failed, count = RUNS, None, processes.process_count()
    try:
        name = f"{prefix}-{identities.short_name(config)}"
        path = RUNS / name if run_dir is None else absolute_path(run_dir)
        # Before the backend starts.
        config = _with_devices(config, path, divided)
    except (ValueError, OSError) as error:
        failed = error
    # Collectives of the processes start with the backend.
    with processes.failing_together():
        if failed is not None:
            raise failed
    processes.check_same({"num_processes": count, "devices": config.training.devices})
    return path, config


def _with_devices(config: Any, path: pathlib.Path, divided: str) -> Any:
    """Returns the configuration with the number of devices that it runs on.

    "auto" is resolved once: an unfinished run resumes on as many devices as it began on. A number
    that does not divide what is spread over the devices is lowered to one that does.
    """
    training: TrainingConfig = config.training
    devices = training.devices
    if devices == "auto":
        stored = stored_results(path) or {}
        known = stored.get("flags", {}).get("devices")
        if known is not None and not stored.get("complete"):
            try:
                resumed = config.replace(devices=known)
            except ValueError as error:
                raise RunError(f"run_dir: {path}: {error}") from None
            if settings_difference(stored["flags"], identities.identity(resumed)) is None:
                devices = resumed.training.devices
    number, count = int(getattr(training, divided)), processes.process_count()
    if number % count:
        raise ValueError(f"{divided}: got {number}, expected a multiple of the {count} processes")
    share = number // count
    if devices != "auto":
        devices = str(min(int(devices), share))
    return config.replace(devices=str(largest_divisor(share, use_devices(devices))))
