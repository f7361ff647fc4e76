"""The ablation study: every variant on every task, all learning rates and seeds at once."""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from experiments.ablations import report
from experiments.ablations.config import PROGRAM, Config
from experiments.ablations.variants import make_variant
from experiments.common import runner, seeds_at_once
from experiments.common.seeds_at_once import VALIDATION, Prepared, Settings
from experiments.common.trainer import Job, Program, Study, Trained
from seqmodels.datasets import plays
from seqmodels.tasks import adding, sky
from seqmodels.tasks.characters import characters
from seqmodels.tasks.task import Task
from seqmodels.training.parallel.mesh import make_mesh
from seqmodels.training.run_directory import RunDirectory
from seqmodels.training.stopping import reached

LISTS = ("accuracy", "loss", "validation_accuracy", "steps", "diverged")


def run(
    config: Config, run_dir: str | os.PathLike[str] | None = None, *, overwrite: bool = False
) -> dict[str, Any]:
    """Trains every variant on every task, prints the tables, and returns results.json.

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
        files=report.FILES,
    )


def build(config: Config) -> Study:
    """Returns the study that a configuration describes."""
    tasks = make_tasks(config)
    settings = Settings(
        hidden=config.hidden,
        embedding=config.embedding,
        batch=config.training.batch,
        test_sequences=config.test_sequences,
        optimizer=config.training.optimizer(config.rates[0]),
        fit=config.training.fit(config.saving),
        watch=config.training.watch,
        precision=config.training.precision,
    )

    def jobs(devices: int) -> list[Job]:
        mesh = make_mesh(devices, "seeds")
        return [
            _job(config, variant, name, task=task, settings=settings, mesh=mesh)
            for name, task in tasks.items()
            for variant in config.variants
        ]

    return Study(
        jobs,
        report=lambda results, directory: report.show(results, config, tasks, directory),
        summary=lambda records: {
            "chance": {name: task.chance for name, task in tasks.items()},
            "chance_loss": {name: task.chance_loss for name, task in tasks.items()},
            "seeds": list(config.training.all_seeds),
        },
        is_valid=lambda record: all(len(record[n]) == config.training.seeds for n in LISTS),
        ahead=True,
    )


def make_tasks(config: Config) -> dict[str, Task]:
    """Returns the tasks by name, the distance or length at the end of the name."""
    tasks: dict[str, Task] = {}
    if "sky" in config.tasks:
        corpus = sky.make_corpus()
        tasks |= {f"sky {d}": sky.sky(d, corpus) for d in sorted(config.distances)}
    if "adding" in config.tasks:
        tasks[f"adding {config.adding_length}"] = adding.adding(config.adding_length)
    if "characters" in config.tasks:
        text = plays.load(config.fetched.data_dir)
        known = plays.character_set(text.train)
        splits = {split: known.encode(part) for split, part in text._asdict().items()}
        tasks["characters"] = characters(splits, len(known.known), config.window)
    return tasks


def best_rate(rates: Sequence[float], validation: np.ndarray) -> int:
    """Returns the number of the learning rate with the best mean validation accuracy.

    Args:
      rates: R rates.
      validation: (R, S) accuracies; NaN, of a training that diverged, counts as 0.

    Returns:
      Its index; of equal ones that with the fewest trainings that diverged, and then that of the
      largest rate, which got there at least as fast.
    """
    validation = np.asarray(validation, np.float64)
    means, lost = np.nan_to_num(validation).mean(-1), np.isnan(validation).sum(-1)
    return max(range(len(rates)), key=lambda n: (means[n], -lost[n], rates[n]))


def _job(
    config: Config, variant: str, task_name: str, *, task: Task, settings: Settings, mesh: Mesh
) -> Job:
    seeds, rates = list(config.training.all_seeds), list(config.rates)
    prepared: list[Prepared] = []

    def prepare() -> Callable[[], Program]:
        prepared[:] = [
            seeds_at_once.prepare(
                make_variant(variant, config.hidden, task.num_steps, settings.precision),
                task,
                settings,
                mesh=mesh,
                seeds=seeds * len(rates),
                rates=np.repeat(rates, len(seeds)).tolist(),
            )
        ]
        return functools.partial(seeds_at_once.start, prepared[0], config.training.inspection)

    def finish(trained: Trained, directory: RunDirectory) -> dict[str, Any]:
        del directory
        tested = seeds_at_once.test(prepared.pop(), trained.fit)
        table = {name: np.reshape(tested[name], (len(rates), len(seeds))) for name in LISTS}
        # The last parameters before a training diverged may be right by chance.
        validation = np.where(table["diverged"], np.nan, np.asarray(table[VALIDATION], np.float64))
        best, by_rate = best_rate(rates, validation), np.nan_to_num(validation).mean(-1).tolist()
        return {
            "parameters": tested["parameters"],
            "seconds": tested["seconds"],
            "rate": rates[best],
            "validation_by_rate": by_rate,
        } | {name: values[best].tolist() for name, values in table.items()}

    return Job(
        name=f"{variant}-{task_name.replace(' ', '-')}",
        label=f"{variant}, {task_name}",
        about={"variant": variant, "task": task_name},
        fit=settings.fit,
        prepare=prepare,
        finish=finish,
        line=report.line,
        stopping=reached(VALIDATION, config.stop_at, 2),
        work=task.num_steps,
        sequences=config.training.batch,
    )
