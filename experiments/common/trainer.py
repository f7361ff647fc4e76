"""The trainer: runs the remaining jobs of a study, with exact resume."""

import datetime
import platform
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from seqmodels.training.errors import RunError
from seqmodels.training.files import json_value
from seqmodels.training.fit import FitResult, fit
from seqmodels.training.interruption import Interrupted, Interruption
from seqmodels.training.loop import Inspection, Progress
from seqmodels.training.metrics import MetricsLog
from seqmodels.training.parallel import processes, transfer
from seqmodels.training.progress import ProgressDisplay
from seqmodels.training.run_directory import RESULTS, RunDirectory
from seqmodels.training.settings import FitSettings
from seqmodels.training.state import TrainState
from seqmodels.training.stopping import Stopping


class Program(NamedTuple):
    """The functions and data that `fit` runs for a job.

    Attributes:
      state: the state before the first step; `fit` may donate it.
      train: `train(state, batches=None) -> (state, StepMetrics)`, compiled or to be compiled.
      evaluate: `evaluate(state) -> values by name`.
      batches: `batches(cursor) -> iterator`; None where `train` makes its batches.
      inspection: further values for the records, or None.
    """

    state: TrainState
    train: Callable[..., Any]
    evaluate: Callable[[TrainState], dict[str, Any]]
    batches: Callable[[int], Any] | None = None
    inspection: Inspection | None = None


class Trained(NamedTuple):
    """A job that has ended.

    Attributes:
      fit: the result of `fit`.
      state: the best state where `FitSettings.best` names a metric, otherwise the last.
      step: the step of that state.
    """

    fit: FitResult
    state: TrainState
    step: int


class Job(NamedTuple):
    """One call of `fit`: a model with a seed, or with all seeds at once.

    Attributes:
      name: the name of its checkpoints, event files and model, such as "lstm-0".
      label: the label of the job in progress lines, such as "lstm, seed 0".
      about: values that identify its record and begin its log lines, JSON.
      fit: settings of the training loop.
      prepare: compiles what the job needs and returns `start() -> Program`; with `Study.ahead` it
        runs in a thread while another job is trained.
      finish: `finish(trained, directory) -> record`, JSON, of the job that has ended; it saves the
        model.
      line: `line(record) -> text`, printed when the job has ended.
      stopping: a rule that ends the training early, or None.
      work: units of progress of one step; with `sequences`, time steps.
      sequences: sequences of a step, where the speed counts their time steps; 0 where it does not.
    """

    name: str
    label: str
    about: dict[str, Any]
    fit: FitSettings
    prepare: Callable[[], Callable[[], Program]]
    finish: Callable[[Trained, RunDirectory], dict[str, Any]]
    line: Callable[[dict[str, Any]], str]
    stopping: Stopping | None = None
    work: int = 1
    sequences: int = 0


class Study(NamedTuple):
    """The trainings and measurements of a run.

    Attributes:
      jobs: `jobs(devices) -> jobs`, at least one, for a number of devices of each process.
      report: `report(results, directory)` prints the table and writes pictures; also called with
        the results so far after an interruption. Only the process that writes calls it.
      baselines: makes records such as {"model": "majority", ...}; None for a study without.
      summary: `summary(records) -> further entries of results.json`.
      is_valid: `is_valid(record)` checks a record of an unfinished run; may raise KeyError.
      ahead: whether the next job is prepared in a thread while one is trained.
    """

    jobs: Callable[[int], Sequence[Job]]
    report: Callable[[dict[str, Any], RunDirectory], None]
    baselines: Callable[[], list[dict[str, Any]]] | None = None
    summary: Callable[[list[dict[str, Any]]], dict[str, Any]] = lambda records: {}
    is_valid: Callable[[dict[str, Any]], bool] = lambda record: True
    ahead: bool = False


class Trainer:
    """Trains the jobs of a study that are not done, and records every one of them.

    Attributes:
      results: the content of results.json.
    """

    def __init__(
        self, program: str, study: Study, directory: RunDirectory, settings: dict[str, Any],
        *, devices: int, paths: Mapping[str, str] | None = None,
    ):  # fmt: skip
        """Loads the results of an unfinished run.

        Args:
          program: the name of the experiment.
          study: the study.
          directory: the run directory, open.
          settings: everything that decides the run, JSON.
          devices: the devices of each process.
          paths: paths by option of the files whose digests the settings hold.

        Raises:
          RunError: if results.json is not of such a study.
        """
        self._study, self._directory = study, directory
        self._jobs = list(study.jobs(devices))
        best = self._jobs[0].fit
        count = devices * processes.process_count()
        described = {
            "complete": False,
            "program": program,
            "flags": settings,
            "paths": dict(paths or {}),
            "run": directory.run,
            "versions": {"python": platform.python_version(), "jax": jax.__version__},
            "devices": f"{count} x {jax.devices()[0].device_kind}",
        }
        if best.best is not None:
            described |= {"chosen_by": best.best, "chosen_mode": best.best_mode}
        if study.baselines is not None:
            described["baselines"] = None
        described["results"] = []
        self.results: dict[str, Any] = processes.broadcast_json(described | self._stored())

    def _stored(self) -> dict[str, Any]:
        """Returns the part of results.json with which an unfinished run resumes."""
        found = self._directory.results
        if found is None:
            return {}
        try:
            names = ("results",) if self._study.baselines is None else ("baselines", "results")
            kept = {name: found[name] for name in names}
            if not all(isinstance(record, dict) for record in kept["results"]):
                raise ValueError
            for record in kept["results"]:
                known = self._job_of(record) is not None and self._study.is_valid(record)
                if not known or record["metrics_bytes"] < 0:
                    raise ValueError
        except (KeyError, TypeError, ValueError):
            raise RunError(
                f"run_dir: {self._directory.path / RESULTS} does not belong to this study; use "
                "another directory"
            ) from None
        return kept

    def _job_of(self, record: dict[str, Any]) -> Job | None:
        return next((job for job in self._jobs if job.about.items() <= record.items()), None)

    def run(self, interruption: Interruption) -> None:
        """Trains what is left, and writes results.json after every job.

        Args:
          interruption: entered.

        Raises:
          Interrupted: after a signal; others as `fit`.
        """
        done = [self._job_of(record) for record in self.results["results"]]
        left = [job for job in self._jobs if job not in done]
        if self._study.baselines is not None and self.results["baselines"] is None:
            self.results["baselines"] = json_value(self._study.baselines())
        self._write()
        quiet = None if self._directory.writes else Console(quiet=True)
        total = sum(job.fit.steps * job.work for job in left)
        with (
            self._directory.metrics_log() as log,
            ProgressDisplay(total, console=quiet) as progress,
            ThreadPoolExecutor(max_workers=1) as pool,
        ):
            pending: Future[Callable[[], Program]] | None = None
            for number, job in enumerate(left):
                start = job.prepare() if pending is None else pending.result()
                stop, _ = processes.agree(interruption.signal is not None, save=False)
                if stop:
                    raise Interrupted(interruption.signal or signal.SIGTERM, step=0)
                if self._study.ahead and number + 1 < len(left):
                    pending = pool.submit(left[number + 1].prepare)
                self._train(job, start(), log, progress, interruption)

    def finish(self) -> None:
        """Marks the run complete and notes the time; to be called when its report is written."""
        self.results["ended"] = datetime.datetime.now(datetime.UTC).isoformat(
            timespec="microseconds"
        )
        self.results["complete"] = True
        self._write()

    def _train(
        self, job: Job, program: Program, log: MetricsLog, progress: ProgressDisplay,
        interruption: Interruption,
    ) -> None:  # fmt: skip
        """Trains one job and appends its record."""
        template = jax.eval_shape(lambda: program.state)
        watch = _Watch(job, progress)
        with self._directory.checkpoints(job.name, progress.note) as checkpoints:
            fitted = fit(
                program.state,
                program.train,
                job.fit,
                batches=program.batches,
                evaluate=program.evaluate,
                inspection=program.inspection,
                stopping=job.stopping,
                checkpoints=checkpoints,
                log=log,
                about=job.about,
                tensorboard=self._directory.events(job.name),
                watch=watch,
                interruption=interruption,
            )
            trained = Trained(fitted, fitted.state, fitted.progress.step)
            keeps_best = job.fit.best and self._directory.writes
            found = checkpoints.best(template) if keeps_best else None
            step = processes.broadcast_json(found and found.step)
            if step is not None:
                best = transfer.broadcast(found.state if found else fitted.state)
                trained = Trained(fitted, best, step)
        record = job.about | job.finish(trained, self._directory) | {"metrics_bytes": log.offset}
        # In the form of results.json, so that a resumed run reports the same.
        self.results["results"].append(json_value(record))
        self._write()
        watch.finish()
        progress.note(job.line(record))

    def _write(self) -> None:
        records = self.results["results"]
        self.results |= self._study.summary(records)
        self._directory.write_results(self.results)


class _Watch:
    """Shows the progress of one job."""

    def __init__(self, job: Job, progress: ProgressDisplay):
        self._job, self._progress = job, progress
        self._taken = 0
        # Speeds count from here.
        progress.update(job.label, "begins", 0.0)

    def __call__(self, at: Progress) -> None:
        job = self._job
        before = at.step - at.steps
        if before > self._taken:
            self._progress.note(f"{job.label}: resumes from step {before}")
            self._progress.skip((before - self._taken) * job.work)
        self._taken = at.step
        loss = np.asarray(at.values["loss"])
        work = at.steps * job.work
        speed = {"time_steps": work * job.sequences * loss.size} if job.sequences else {}
        self._progress.update(
            job.label,
            f"step {at.step}",
            work,
            steps=at.steps,
            loss=float(np.mean(loss)),
            grad_norm=float(np.mean(at.values["grad_norm"])),
            **speed,
        )

    def finish(self) -> None:
        """Subtracts the steps that were not needed from the total."""
        self._progress.skip((self._job.fit.steps - self._taken) * self._job.work)
