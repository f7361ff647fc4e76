"""The long-context study: every cell at every distance with all seeds at once."""

import functools
import os
from collections.abc import Callable
from typing import Any

from jax.sharding import Mesh

from experiments.common import runner, seeds_at_once
from experiments.common.seeds_at_once import VALIDATION, Prepared, Settings
from experiments.common.trainer import Job, Program, Study, Trained
from experiments.long_context import report, saving
from experiments.long_context.cells import build_cell
from experiments.long_context.config import CELLS, PROGRAM, Config
from experiments.long_context.report import PLOTS, Table
from seqmodels.analysis.statistics import mean_interval
from seqmodels.tasks import adding, copy, digits, sky, temporal_order
from seqmodels.tasks.task import Task
from seqmodels.training.optimizers import make_schedule
from seqmodels.training.parallel.mesh import make_mesh
from seqmodels.training.run_directory import RunDirectory
from seqmodels.training.settings import check_settings
from seqmodels.training.stopping import reached

CHOSEN_BY = "kept_validation_accuracy"  # name of the saved model of a cell at a distance

_TASKS: dict[str, Callable[[int], Task]] = {
    "digits": digits.digits,
    "adding": adding.adding,
    "copy": copy.copy,
    "temporal_order": temporal_order.temporal_order,
}


def run(
    config: Config, run_dir: str | os.PathLike[str] | None = None, *, overwrite: bool = False
) -> dict[str, Any]:
    """Trains every cell at every distance, prints the table, and returns results.json.

    Args:
      config: the study.
      run_dir: folder of the run; None for one below runs/ named by the configuration.
      overwrite: whether a run that the folder holds may be replaced.

    Raises:
      UserError: for a user error, with a message of one line.
    """
    return runner.run(
        PROGRAM,
        config,
        build,
        run_dir=run_dir,
        overwrite=overwrite,
        divided="seeds",
        files=PLOTS,
        prefix=f"{PROGRAM}-{config.task}",
    )


def build(config: Config) -> Study:
    """Returns the study that a configuration describes."""
    tasks = make_tasks(config)
    settings = make_settings(config)
    seeds = list(config.training.all_seeds)
    for of_cell in settings.values():
        check_settings(of_cell.fit)
        make_schedule(of_cell.optimizer)

    def jobs(devices: int) -> list[Job]:
        mesh = make_mesh(devices, "seeds")
        # Short distances come first.
        return [
            _job(config, cell, distance, task=tasks[distance], settings=settings[cell], mesh=mesh)
            for distance in config.all_distances
            for cell in config.cells
        ]

    def table(records: list[dict[str, Any]]) -> Table:
        measurements = [report.measurement(record) for record in records]
        return Table(tasks, config.cells, config.all_distances, seeds, measurements)

    return Study(
        jobs,
        report=lambda results, directory: report.show(table(results["results"]), directory),
        summary=lambda records: {
            "chosen_by": CHOSEN_BY,
            "chosen_mode": "max",
            **report.summary(table(records)),
        },
        is_valid=lambda record: "model" in record and report.is_valid(record, len(seeds)),
        ahead=True,
    )


def make_tasks(config: Config) -> dict[int, Task]:
    """Returns the task at every distance; ValueError for a distance that the task does not have."""
    if config.task != "sky":
        return {distance: _TASKS[config.task](distance) for distance in config.all_distances}
    filler = {}
    if config.filler_file is not None:
        filler = {"filler": sky.read_filler(config.filler_file)}
    corpus = sky.make_corpus(**filler)
    return {distance: sky.sky(distance, corpus) for distance in config.all_distances}


def make_settings(config: Config) -> dict[str, Settings]:
    """Returns how every cell is built, trained and tested."""
    rates = config.training.learning_rates(config.cells, CELLS)
    return {
        cell: Settings(
            hidden=config.hidden,
            embedding=config.embedding,
            batch=config.training.batch,
            test_sequences=config.test_sequences,
            optimizer=config.training.optimizer(rates[cell]),
            fit=config.training.fit(config.saving),
            precision=config.training.precision,
            watch=config.training.watch,
        )
        for cell in config.cells
    }


def _job(
    config: Config, cell: str, distance: int, *, task: Task, settings: Settings, mesh: Mesh
) -> Job:
    seeds = list(config.training.all_seeds)
    prepared: list[Prepared] = []
    make_cell = functools.partial(
        build_cell,
        cell,
        hidden=config.hidden,
        num_steps=task.num_steps,
        initialisation=config.initialisations[cell],
        precision=config.training.precision,
    )

    def prepare() -> Callable[[], Program]:
        prepared[:] = [seeds_at_once.prepare(make_cell, task, settings, mesh=mesh, seeds=seeds)]
        return functools.partial(seeds_at_once.start, prepared[0], config.training.inspection)

    def finish(trained: Trained, directory: RunDirectory) -> dict[str, Any]:
        record = seeds_at_once.test(prepared.pop(), trained.fit)
        interval = mean_interval(record["accuracy"])
        place = saving.best_seed(record)
        name, seed = f"{cell}-{distance}", seeds[place]
        params = seeds_at_once.params_of(trained.fit, place, settings.optimizer)
        about = {
            "cell": cell,
            "distance": distance,
            "seed": seed,
            "initialisation": config.initialisations[cell],
        }
        saving.save(directory.model(f"{name}-{seed}"), task, settings, about, params)
        # The names by which `saved_models` finds the model.
        kept = {"model": name, "seed": seed, CHOSEN_BY: record["validation_accuracy"][place]}
        return record | dict(zip(("mean", "low", "high"), interval, strict=True)) | kept

    return Job(
        name=f"{cell}-{distance}",
        label=f"{cell} at {distance}",
        about={"cell": cell, "distance": distance},
        fit=settings.fit,
        prepare=prepare,
        finish=finish,
        line=lambda record: report.line(report.measurement(record)),
        stopping=reached(VALIDATION, config.stop_at, config.stop_after),
        work=task.num_steps,
        sequences=config.training.batch,
    )
