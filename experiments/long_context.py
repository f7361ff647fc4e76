"""How far back can a recurrent network remember?

Trains every cell at every distance with several seeds and reports accuracy by distance, the memory
horizon, and the gradient that reaches the far end of the sequence.

    python -m experiments.long_context --flagfile=experiments/flagfiles/long_context.flags
"""

import pathlib
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
from absl import flags

from experiments import cli, horizon_report
from experiments.horizon_study import (
    CELLS,
    INITIALISATIONS,
    Measurement,
    Metrics,
    Prepared,
    Settings,
    measure,
    prepare,
)
from seqmodels.data import digits, sky, synthetic
from seqmodels.data.tasks import Task
from seqmodels.training.mesh import largest_divisor, make_mesh, use_devices
from seqmodels.training.progress import ProgressDisplay
from seqmodels.training.run_folder import FLAGS, RunFolder

DISTANCES = {  # the tasks, and the distances where none are given
    "sky": [0, 16, 32, 64, 128],
    "digits": [0, 16, 32, 64, 128],
    "adding": [10, 25, 50, 100, 200],
    "copy": [10, 25, 50, 100, 200],
    "temporal_order": [10, 25, 50, 100, 200],
}
TASKS = tuple(DISTANCES)
INTERRUPTED = 130  # the status a shell gives a program ended by Ctrl-C

_TASK = flags.DEFINE_string("task", "sky", f"What is to be remembered: {', '.join(TASKS)}.")
_CELLS = flags.DEFINE_list("cells", ["rnn", "gru", "lstm"], f"Cells, of {', '.join(CELLS)}.")
_DISTANCES = flags.DEFINE_list(
    "distances",
    None,
    "Steps between what is to be remembered and the question; for adding and temporal_order the "
    "length of the sequence. By default 0 to 128 for sky and digits, 10 to 200 for the others.",
)
_SEEDS = flags.DEFINE_integer(
    "seeds", 4, "How many seeds, each trained apart.", lower_bound=1, upper_bound=4_096
)
_FIRST_SEED = flags.DEFINE_integer(
    "first_seed", 0, "The first seed.", lower_bound=0, upper_bound=2**31
)
_HIDDEN = flags.DEFINE_integer(
    "hidden", 64, "Hidden units of every cell.", lower_bound=1, upper_bound=65_536
)
_EMBEDDING = flags.DEFINE_integer(
    "embedding", 32, "Size of an embedded word.", lower_bound=1, upper_bound=65_536
)
_BATCH = flags.DEFINE_integer(
    "batch", 32, "Sequences a training step.", lower_bound=1, upper_bound=1_048_576
)
_STEPS = flags.DEFINE_integer(
    "steps", 1000, "Training steps at most.", lower_bound=1, upper_bound=1_000_000_000
)
_EVAL_EVERY = flags.DEFINE_integer(
    "eval_every",
    100,
    "Training steps a dispatch, between two evaluations.",
    lower_bound=1,
    upper_bound=1_000_000,
)
_LEARNING_RATE = flags.DEFINE_string(
    "learning_rate",
    "0.003",
    "Adam's rate: one number, or one for every cell, rnn:0.001,lstm:0.003.",
)
_INITIALISATION = flags.DEFINE_string(
    "initialisation",
    "memory",
    "standard (orthogonal recurrence, forget bias 1) or memory (identity recurrence in the RNN, "
    "chrono biases in LSTM and GRU); one for all, or one for every cell, rnn:standard,lstm:memory.",
)
_CLIP_NORM = flags.DEFINE_float("clip_norm", 1.0, "Global gradient norm to clip at; inf: never.")
_WARMUP = flags.DEFINE_integer(
    "warmup", 0, "Steps of linear warm-up.", lower_bound=0, upper_bound=1_000_000_000
)
_STOP_AT = flags.DEFINE_float(
    "stop_at", 0.995, "A seed stops when its validation accuracy stays here; above 1: never."
)
_STOP_AFTER = flags.DEFINE_integer(
    "stop_after",
    2,
    "It stays there when it is there at so many evaluations in a row.",
    lower_bound=1,
    upper_bound=1_000_000,
)
_TEST_SEQUENCES = flags.DEFINE_integer(
    "test_sequences",
    1024,
    "Test sequences a seed; a quarter for validation.",
    lower_bound=4,
    upper_bound=1_048_576,
)
_FILLER_FILE = flags.DEFINE_string(
    "filler_file", None, "Your own UTF-8 text as filler of the task sky."
)
_DEVICES = flags.DEFINE_string(
    "devices",
    "auto",
    "CPU cores or accelerators over which the seeds are spread: auto or a number. A number that "
    "does not divide the seeds is lowered to one that does.",
)
_RUN_DIR = flags.DEFINE_string(
    "run_dir", None, "Folder for the results; by default a new one below runs/."
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace the run that run_dir holds.")

# Where a run is kept is not part of what it is, so that flags.txt can be used again as it stands.
_REPEATED = [
    holder.name
    for holder in (
        _TASK, _CELLS, _DISTANCES, _SEEDS, _FIRST_SEED, _HIDDEN, _EMBEDDING, _BATCH, _STEPS,
        _EVAL_EVERY, _LEARNING_RATE, _INITIALISATION, _CLIP_NORM, _WARMUP, _STOP_AT, _STOP_AFTER,
        _TEST_SEQUENCES, _FILLER_FILE, _DEVICES,
    )
]  # fmt: skip


def _rate(text: str, *, infinite: bool = False) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not rate > 0 or (rate == float("inf") and not infinite):
        raise ValueError(f"given {text!r}, wanted a positive number")
    return rate


def _initialisation(text: str) -> str:
    cli.known_name(INITIALISATIONS)(text)
    return text


cli.checked(cli.known_name(TASKS), "task")
cli.checked(cli.devices, "devices")
cli.checked(cli.not_empty, "run_dir", "filler_file")
cli.checked(lambda value: cli.names(value, CELLS), "cells")
cli.checked(lambda value: value is None or cli.numbers(value), "distances")
cli.checked(lambda value: cli.per_name(value, CELLS, _rate), "learning_rate")
cli.checked(lambda value: _rate(str(value), infinite=True), "clip_norm", "stop_at")
cli.checked(lambda value: cli.per_name(value, CELLS, _initialisation), "initialisation")


def main() -> int:
    """Runs the study that the flags describe. Returns the exit status."""
    if _DISTANCES.value is None:
        cli.set_flag("distances", [str(distance) for distance in DISTANCES[_TASK.value]])
    cells, distances = _CELLS.value, cli.numbers(_DISTANCES.value or [])
    if _STEPS.value % min(_EVAL_EVERY.value, _STEPS.value):
        raise cli.UserError(
            f"steps: given {_STEPS.value}, wanted a multiple of eval_every ({_EVAL_EVERY.value})"
        )
    settings = {cell: _settings(cell) for cell in cells}
    try:
        tasks = _tasks(distances)
        wanted = (
            _DEVICES.value
            if _DEVICES.value == "auto"
            else str(min(int(_DEVICES.value), _SEEDS.value))
        )
        devices = largest_divisor(_SEEDS.value, use_devices(wanted))
        folder = RunFolder(
            cli.run_dir(_RUN_DIR.value, f"long_context-{_TASK.value}"), overwrite=_OVERWRITE.value
        )
    except (ValueError, ModuleNotFoundError) as error:
        raise cli.UserError(str(error)) from None
    cli.set_flag("devices", str(devices))
    folder.write_text(
        FLAGS, cli.write_flags(_REPEATED, "python -m experiments.long_context --flagfile=THIS")
    )
    study = horizon_report.Study(
        tasks=tasks,
        cells=cells,
        distances=distances,
        seeds=list(range(_FIRST_SEED.value, _FIRST_SEED.value + _SEEDS.value)),
        num_devices=devices,
        flags={name: _plain(flags.FLAGS[name].value) for name in _REPEATED},
    )
    measured: list[Measurement] = []
    status = 0
    try:
        _measure_all(study, settings, folder, measured)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise cli.UserError(
            "out of memory: lower batch, test_sequences, hidden, distances or seeds; "
            f"{len(measured)} measured so far: {folder.path}"
        ) from None
    horizon_report.show(study, measured, folder, complete=status == 0)
    if status:
        print(f"interrupted; measured so far: {len(measured)}", file=sys.stderr)
    return status


def _measure_all(
    study: horizon_report.Study,
    settings: dict[str, Settings],
    folder: RunFolder,
    measured: list[Measurement],
) -> None:
    """Appends a measurement for every distance and cell, and writes down all there are so far.

    Short distances come first. While one cell is trained the next is compiled in a thread.
    """
    tasks = study.tasks
    mesh = make_mesh(int(_DEVICES.value), "seeds")
    plan = [(cell, distance) for distance in study.distances for cell in study.cells]
    # Work is counted in time steps: training steps times the length of a sequence.
    total = sum(settings[cell].steps * tasks[distance].num_steps for cell, distance in plan)
    begun = time.monotonic()
    with ProgressDisplay(total) as progress, ThreadPoolExecutor(max_workers=1) as pool:

        def compiled(number: int) -> Future[Prepared]:
            cell, distance = plan[number]
            task, num_seeds = tasks[distance], len(study.seeds)
            return pool.submit(prepare, cell, distance, task, settings[cell], mesh, num_seeds)

        following = compiled(0)
        for number in range(len(plan)):
            prepared = following.result()
            if number + 1 < len(plan):
                following = compiled(number + 1)
            watch = _Watch(prepared, tasks[prepared.distance].num_steps, progress, folder)
            result = measure(prepared, study.seeds, watch)
            now = time.monotonic()
            result = result._replace(seconds=round(now - begun, 2))
            begun = now
            measured.append(result)
            horizon_report.write(study, measured, folder, complete=False)
            watch.finish()
            progress.note(horizon_report.line(result))


class _Watch:
    """Shows and records what is seen while one cell is trained at one distance."""

    def __init__(
        self, prepared: Prepared, num_steps: int, progress: ProgressDisplay, folder: RunFolder
    ):
        self._prepared = prepared
        self._num_steps = num_steps
        self._progress = progress
        self._folder = folder
        self._taken = 0

    def __call__(self, seen: Metrics) -> None:
        steps = int(seen.steps.max())
        taken, self._taken = steps - self._taken, steps
        self._progress.update(
            f"{self._prepared.cell} at {self._prepared.distance}",
            f"step {steps}",
            taken * self._num_steps,
            steps=taken,
            loss=float(seen.loss.mean()),
            grad_norm=float(seen.grad_norm.mean()),
        )
        about = {"cell": self._prepared.cell, "distance": self._prepared.distance}
        values = {name: value.tolist() for name, value in seen._asdict().items()}
        self._folder.append_metrics(about | values)

    def finish(self) -> None:
        """Takes the steps that were not needed off the work that is left."""
        self._progress.skip((self._prepared.settings.steps - self._taken) * self._num_steps)


def _settings(cell: str) -> Settings:
    rates = cli.per_name(_LEARNING_RATE.value, CELLS, _rate)
    starts = cli.per_name(_INITIALISATION.value, CELLS, _initialisation)
    return Settings(
        hidden=_HIDDEN.value,
        embedding=_EMBEDDING.value,
        batch=_BATCH.value,
        steps=_STEPS.value,
        eval_every=min(_EVAL_EVERY.value, _STEPS.value),
        learning_rate=cli.value_for("learning_rate", rates, cell),
        clip_norm=_CLIP_NORM.value,
        warmup=_WARMUP.value,
        initialisation=cli.value_for("initialisation", starts, cell),
        stop_at=_STOP_AT.value,
        stop_after=_STOP_AFTER.value,
        test_sequences=_TEST_SEQUENCES.value,
    )


def _tasks(distances: list[int]) -> dict[int, Task]:
    """Returns the task at every distance; ValueError where the task does not have one."""
    if _TASK.value == "sky":
        filler = {}
        if _FILLER_FILE.value is not None:
            cli.set_flag("filler_file", str(pathlib.Path(_FILLER_FILE.value).resolve()))
            filler = {"filler": sky.read_filler(_FILLER_FILE.value)}
        corpus = sky.make_corpus(**filler)
        return {distance: sky.sky(distance, corpus) for distance in distances}
    if _FILLER_FILE.value is not None:
        raise ValueError(f"filler_file: given with task {_TASK.value}, wanted with task sky alone")
    make = {
        "digits": digits.digits,
        "adding": synthetic.adding,
        "copy": synthetic.copy,
        "temporal_order": synthetic.temporal_order,
    }[_TASK.value]
    return {distance: make(distance) for distance in distances}


def _plain(value: Any) -> Any:
    return "inf" if value == float("inf") else value


if __name__ == "__main__":
    cli.run(main)
