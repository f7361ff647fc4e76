"""How far back can a recurrent network remember?

Trains every cell at every distance with several seeds and reports accuracy by distance, the memory
horizon, and the gradient that reaches the far end of the sequence.

    python -m experiments.long_context --flagfile=experiments/long_context/flagfiles/sky.flags
"""

import hashlib
import pathlib
import signal
import sys
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import numpy as np
from absl import flags
from rich.console import Console

from experiments.common import app, hosts, run_flags, training_flags
from experiments.long_context import report as horizon_report
from experiments.long_context.model import (
    CELLS,
    INITIALISATIONS,
    Measurement,
    Prepared,
    Settings,
    measure,
    prepare,
)
from seqmodels.tasks import adding, copy, digits, sky, temporal_order
from seqmodels.tasks.task import Task
from seqmodels.training.errors import RunError
from seqmodels.training.interruption import Interrupted, Interruption
from seqmodels.training.loop import Progress
from seqmodels.training.nonfinite import NonFiniteError
from seqmodels.training.optimizers import make_schedule
from seqmodels.training.parallel import processes
from seqmodels.training.parallel.mesh import make_mesh
from seqmodels.training.progress import ProgressDisplay
from seqmodels.training.run_directory import CHECKPOINTS, RunFolder
from seqmodels.training.settings import check_settings

DISTANCES = {  # the tasks, and the distances where none are given
    "sky": [0, 16, 32, 64, 128],
    "digits": [0, 16, 32, 64, 128],
    "adding": [10, 25, 50, 100, 200],
    "copy": [10, 25, 50, 100, 200],
    "temporal_order": [10, 25, 50, 100, 200],
}
TASKS = tuple(DISTANCES)
# All that decides what comes out. Where a run is kept does not: flags.txt can be used again.
REPEATED = [
    "task", "cells", "distances", "seeds", "first_seed", "hidden", "embedding", "initialisation",
    "stop_at", "stop_after", "test_sequences", "filler_file", *training_flags.NAMES, "devices",
]  # fmt: skip


def define_flags() -> None:
    """Defines the flags of this entry point."""
    flags.DEFINE_string("task", "sky", f"What is to be remembered: {', '.join(TASKS)}.")
    flags.DEFINE_list("cells", ["rnn", "gru", "lstm"], f"Cells, of {', '.join(CELLS)}.")
    flags.DEFINE_list(
        "distances",
        None,
        "Steps between what is to be remembered and the question; for adding and temporal_order "
        "the length of the sequence. By default 0 to 128 for sky and digits, 10 to 200 for the "
        "others.",
    )
    flags.DEFINE_integer(
        "seeds", 4, "How many seeds, each trained apart.", lower_bound=1, upper_bound=4_096
    )
    flags.DEFINE_integer("first_seed", 0, "The first seed.", lower_bound=0, upper_bound=2**31)
    flags.DEFINE_integer(
        "hidden", 64, "Hidden units of every cell.", lower_bound=1, upper_bound=65_536
    )
    flags.DEFINE_integer(
        "embedding", 32, "Size of an embedded word.", lower_bound=1, upper_bound=65_536
    )
    flags.DEFINE_string(
        "initialisation",
        "memory",
        "standard (orthogonal recurrence, forget bias 1) or memory (identity recurrence in the "
        "RNN, chrono biases in LSTM and GRU); one for all, or one for every cell, "
        "rnn:standard,lstm:memory.",
    )
    flags.DEFINE_float(
        "stop_at", 0.995, "A seed stops when its validation accuracy stays here; above 1: never."
    )
    flags.DEFINE_integer(
        "stop_after",
        2,
        "It stays there when it is there at so many evaluations in a row.",
        lower_bound=1,
        upper_bound=1_000_000,
    )
    flags.DEFINE_integer(
        "test_sequences",
        1024,
        "Test sequences a seed; a quarter for validation.",
        lower_bound=4,
        upper_bound=1_048_576,
    )
    flags.DEFINE_string("filler_file", None, "Your own UTF-8 text as filler of the task sky.")
    training_flags.define(
        steps=1000, batch=32, learning_rate="0.003", eval_every=100, clip_norm=1.0
    )
    run_flags.define()
    hosts.define(
        "CPU cores or accelerators of each process over which the seeds are spread: auto or a "
        "number. A number that does not divide the seeds is lowered to one that does."
    )
    app.checked(app.known_name(TASKS), "task")
    app.checked(app.not_empty, "filler_file")
    app.checked(lambda value: app.names(value, CELLS), "cells")
    app.checked(lambda value: value is None or app.numbers(value), "distances")
    app.checked(lambda value: app.per_name(value, CELLS, app.positive), "learning_rate")
    app.checked(lambda value: app.positive(str(value), infinite=True), "stop_at")
    app.checked(lambda value: app.per_name(value, CELLS, _initialisation), "initialisation")


def _initialisation(text: str) -> str:
    app.known_name(INITIALISATIONS)(text)
    return text


def main() -> int:
    """Runs the study that the flags describe. Returns the exit status."""
    values = flags.FLAGS
    if values.distances is None:
        app.set_flag("distances", [str(distance) for distance in DISTANCES[values.task]])
    distances = app.numbers(values.distances)
    settings = {cell: _settings(cell) for cell in values.cells}
    try:
        for each in settings.values():
            check_settings(each.fit)
            make_schedule(each.optimizer)
        tasks = _tasks(distances)
        path = run_flags.folder_of(f"long_context-{values.task}", REPEATED)
        run_flags.adopt(path, "devices", "auto")
        devices = hosts.start_dividing("seeds", REPEATED)
        decides = run_flags.values(REPEATED) | _filler_digest()
        folder = run_flags.open_folder(path, REPEATED, decides, "experiments.long_context")
        study = horizon_report.Study(
            tasks=tasks,
            cells=values.cells,
            distances=distances,
            seeds=list(range(values.first_seed, values.first_seed + values.seeds)),
            num_devices=devices,
            flags=decides,
        )
        measured = horizon_report.measured_in(folder, study) if folder else []
    except (ValueError, OSError, ModuleNotFoundError) as error:
        if processes.is_lost_peer(error):
            raise
        raise app.UserError(str(error)) from None
    measured = [Measurement(*one) for one in processes.broadcast_json(measured)]
    try:
        with Interruption() as interruption:
            status = _measure(study, settings, folder, path, measured, interruption)
            if folder:
                horizon_report.show(study, measured, folder, complete=status == 0)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return hosts.INTERRUPTED
    except (NonFiniteError, RunError, OSError) as error:
        raise app.UserError(str(error)) from None
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise app.UserError(
            "out of memory: lower batch, test_sequences, hidden, distances or seeds; "
            f"{len(measured)} measured so far: {path}"
        ) from None
    return status


def _measure(
    study: horizon_report.Study,
    settings: dict[str, Settings],
    folder: RunFolder | None,
    path: pathlib.Path,
    measured: list[Measurement],
    interruption: Interruption,
) -> int:
    """Measures what is left to measure. Returns the status: 0, or that of a signal."""
    try:
        _measure_all(study, settings, folder, path, measured, interruption)
    except Interrupted as interrupted:
        if folder:
            print(
                f"interrupted; measured so far: {len(measured)}; the same command goes on",
                file=sys.stderr,
            )
        return interrupted.status
    return 0


def _filler_digest() -> dict[str, str]:
    """Returns what tells one text of --filler_file from another; nothing where there is none."""
    name = flags.FLAGS.filler_file
    if name is None:
        return {}
    return {"filler_sha256": hashlib.sha256(pathlib.Path(name).read_bytes()).hexdigest()}


def _measure_all(
    study: horizon_report.Study,
    settings: dict[str, Settings],
    folder: RunFolder | None,
    path: pathlib.Path,
    measured: list[Measurement],
    interruption: Interruption,
) -> None:
    """Appends a measurement for every distance and cell, and writes down all there are so far.

    Short distances come first. While one cell is trained the next is compiled in a thread. What has
    been measured already is not measured again.
    """
    tasks = study.tasks
    mesh = make_mesh(study.num_devices, "seeds")
    done = {(one.cell, one.distance) for one in measured}
    plan = [(cell, d) for d in study.distances for cell in study.cells if (cell, d) not in done]
    # Work is counted in time steps: training steps times the length of a sequence.
    total = sum(settings[cell].fit.steps * tasks[distance].num_steps for cell, distance in plan)
    quiet = None if folder else Console(quiet=True)
    with (
        run_flags.open_log(folder) as log,
        ProgressDisplay(total, console=quiet) as progress,
        ThreadPoolExecutor(max_workers=1) as pool,
    ):

        def compiled(number: int) -> Future[Prepared]:
            cell, distance = plan[number]
            task, num_seeds = tasks[distance], len(study.seeds)
            return pool.submit(prepare, cell, distance, task, settings[cell], mesh, num_seeds)

        if folder:
            horizon_report.write(study, measured, folder, complete=False)
        if not plan:
            return
        following = compiled(0)
        for number, (cell, distance) in enumerate(plan):
            prepared = following.result()
            stop, _ = processes.agree(interruption.signal is not None, save=False)
            if stop:
                raise Interrupted(interruption.signal or signal.SIGTERM, step=0)
            if number + 1 < len(plan):
                following = compiled(number + 1)
            watch = _Watch(prepared, tasks[distance].num_steps, progress)
            about = {"cell": cell, "distance": distance}
            with run_flags.open_checkpoints(
                path / CHECKPOINTS / f"{cell}-{distance}", study.flags, progress.note
            ) as checkpoints:
                if folder and log and not checkpoints.steps():
                    # What a killed run wrote of this training, before its first checkpoint.
                    log.truncate(horizon_report.end_of_measured(folder, measured))
                result = measure(
                    prepared,
                    study.seeds,
                    checkpoints=checkpoints,
                    log=log,
                    about=about,
                    tensorboard=run_flags.events_folder(folder, f"{cell}-{distance}"),
                    watch=watch,
                    interruption=interruption,
                )
            measured.append(result)
            if folder:
                horizon_report.write(study, measured, folder, complete=False)
            watch.finish()
            progress.note(horizon_report.line(result))


class _Watch:
    """Shows the progress while one cell is trained at one distance."""

    def __init__(self, prepared: Prepared, num_steps: int, progress: ProgressDisplay):
        self._prepared = prepared
        self._num_steps = num_steps
        self._progress = progress
        self._label = f"{prepared.cell} at {prepared.distance}"
        self._taken = 0
        # Speeds count from here.
        progress.update(self._label, "begins", 0.0)

    def __call__(self, progress: Progress) -> None:
        before = progress.step - progress.steps
        if before > self._taken:
            self._progress.note(f"{self._label}: goes on from step {before}")
            self._progress.skip((before - self._taken) * self._num_steps)
        self._taken = progress.step
        work = progress.steps * self._num_steps
        self._progress.update(
            self._label,
            f"step {progress.step}",
            work,
            steps=progress.steps,
            time_steps=work * self._prepared.settings.batch * len(progress.values["loss"]),
            loss=float(np.mean(progress.values["loss"])),
            grad_norm=float(np.mean(progress.values["grad_norm"])),
        )

    def finish(self) -> None:
        """Takes the steps that were not needed off the work that is left."""
        self._progress.skip((self._prepared.settings.fit.steps - self._taken) * self._num_steps)


def _settings(cell: str) -> Settings:
    values = flags.FLAGS
    rates = app.per_name(values.learning_rate, CELLS, app.positive)
    starts = app.per_name(values.initialisation, CELLS, _initialisation)
    return Settings(
        hidden=values.hidden,
        embedding=values.embedding,
        batch=values.batch,
        initialisation=app.value_for("initialisation", starts, cell),
        stop_at=values.stop_at,
        stop_after=values.stop_after,
        test_sequences=values.test_sequences,
        optimizer=training_flags.optimizer_settings(app.value_for("learning_rate", rates, cell)),
        fit=training_flags.fit_settings(),
    )


def _tasks(distances: list[int]) -> dict[int, Task]:
    """Returns the task at every distance; ValueError where the task does not have one."""
    values = flags.FLAGS
    if values.task == "sky":
        filler = {}
        if values.filler_file is not None:
            app.set_flag("filler_file", str(pathlib.Path(values.filler_file).resolve()))
            filler = {"filler": sky.read_filler(values.filler_file)}
        corpus = sky.make_corpus(**filler)
        return {distance: sky.sky(distance, corpus) for distance in distances}
    if values.filler_file is not None:
        raise ValueError(f"filler_file: got with task {values.task}, expected with task sky alone")
    make = {
        "digits": digits.digits,
        "adding": adding.adding,
        "copy": copy.copy,
        "temporal_order": temporal_order.temporal_order,
    }[values.task]
    return {distance: make(distance) for distance in distances}
