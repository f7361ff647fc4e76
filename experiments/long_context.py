"""How far back can a recurrent network remember?

Trains every cell at every distance with several seeds and reports accuracy by distance, the memory
horizon, and the gradient that reaches the far end of the sequence.

    python -m experiments.long_context --flagfile=experiments/flagfiles/long_context.flags
"""

import datetime
import pathlib
import time

from absl import flags

from experiments import cli, horizon_report
from experiments.horizon_study import CELLS, INITIALISATIONS, Measurement, Round, Settings, measure
from seqmodels.data import digits, sky, synthetic
from seqmodels.data.tasks import Task
from seqmodels.training.mesh import largest_divisor, make_mesh, use_devices
from seqmodels.training.progress import ProgressDisplay
from seqmodels.training.run_folder import FLAGS, RunFolder

TASKS = ("sky", "digits", "adding", "copy", "temporal_order")
INTERRUPTED = 130  # the status a shell gives a program ended by Ctrl-C

_TASK = flags.DEFINE_string("task", "sky", f"What is to be remembered: {', '.join(TASKS)}.")
_CELLS = flags.DEFINE_list("cells", ["rnn", "gru", "lstm"], f"Cells, of {', '.join(CELLS)}.")
_DISTANCES = flags.DEFINE_list(
    "distances",
    ["0", "8", "16", "32", "64", "128"],
    "Steps between what is to be remembered and the question. For adding and temporal_order the "
    "length of the sequence.",
)
_SEEDS = flags.DEFINE_integer("seeds", 4, "How many seeds, each trained apart.", lower_bound=1)
_FIRST_SEED = flags.DEFINE_integer("first_seed", 0, "The first seed.", lower_bound=0)
_HIDDEN = flags.DEFINE_integer("hidden", 64, "Hidden units of every cell.", lower_bound=1)
_EMBEDDING = flags.DEFINE_integer("embedding", 32, "Size of an embedded word.", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch", 32, "Sequences a training step.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 1000, "Training steps at most.", lower_bound=1)
_EVAL_EVERY = flags.DEFINE_integer(
    "eval_every", 100, "Training steps a dispatch, between two looks.", lower_bound=1
)
_LEARNING_RATE = flags.DEFINE_string(
    "learning_rate", "0.003", "Adam's rate: one number, or rnn:0.001,lstm:0.003 for each cell."
)
_INITIALISATION = flags.DEFINE_string(
    "initialisation",
    "memory",
    "standard (orthogonal recurrence, forget bias 1) or memory (identity recurrence in the RNN, "
    "chrono biases in LSTM and GRU); one for all, or rnn:standard,lstm:memory for each cell.",
)
_CLIP_NORM = flags.DEFINE_float("clip_norm", 1.0, "Global gradient norm to clip at.", lower_bound=0)
_WARMUP = flags.DEFINE_integer("warmup", 0, "Steps of linear warm-up.", lower_bound=0)
_STOP_AT = flags.DEFINE_float(
    "stop_at", 0.995, "Stop when every seed's validation accuracy stays here; above 1: never."
)
_PATIENCE = flags.DEFINE_integer("patience", 2, "For so many looks in a row.", lower_bound=1)
_TEST_SEQUENCES = flags.DEFINE_integer(
    "test_sequences", 1024, "Test sequences a seed; a quarter for validation.", lower_bound=4
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
        _EVAL_EVERY, _LEARNING_RATE, _INITIALISATION, _CLIP_NORM, _WARMUP, _STOP_AT, _PATIENCE,
        _TEST_SEQUENCES, _FILLER_FILE, _DEVICES,
    )
]  # fmt: skip


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 < rate < float("inf"):
        raise ValueError(f"given {text!r}, wanted a positive number")
    return rate


def _initialisation(text: str) -> str:
    cli.known_name(INITIALISATIONS)(text)
    return text


cli.checked(cli.known_name(TASKS), "task")
cli.checked(lambda value: cli.names(value, CELLS), "cells")
cli.checked(cli.numbers, "distances")
cli.checked(lambda value: cli.per_name(value, CELLS, _rate), "learning_rate")
cli.checked(lambda value: cli.per_name(value, CELLS, _initialisation), "initialisation")


def main() -> int:
    """Runs the study that the flags describe. Returns the exit status."""
    cells, distances = _CELLS.value, cli.numbers(_DISTANCES.value)
    settings = {cell: _settings(cell) for cell in cells}
    try:
        tasks = _tasks(distances)
        devices = largest_divisor(_SEEDS.value, use_devices(_DEVICES.value))
        folder = RunFolder(_run_dir(), overwrite=_OVERWRITE.value)
    except (ValueError, ModuleNotFoundError) as error:
        raise cli.UserError(str(error)) from None
    _set("devices", str(devices))
    folder.write_text(
        FLAGS, cli.write_flags(_REPEATED, "python -m experiments.long_context --flagfile=THIS")
    )
    study = horizon_report.Study(
        task=tasks[distances[0]],
        cells=cells,
        distances=distances,
        seeds=list(range(_FIRST_SEED.value, _FIRST_SEED.value + _SEEDS.value)),
        flags={name: flags.FLAGS[name].value for name in _REPEATED},
    )
    measured: list[Measurement] = []
    status = 0
    try:
        _measure_all(study, tasks, settings, folder, measured)
    except KeyboardInterrupt:
        status = INTERRUPTED
    horizon_report.write(study, measured, folder, complete=status == 0)
    if status:
        print(f"interrupted: {len(measured)} measurements are in {folder.path}")
    return status


def _measure_all(
    study: horizon_report.Study,
    tasks: dict[int, Task],
    settings: dict[str, Settings],
    folder: RunFolder,
    measured: list[Measurement],
) -> None:
    """Appends a measurement for every distance and cell, the short distances first."""
    mesh = make_mesh(int(_DEVICES.value), "seeds")
    plan = [(distance, cell) for distance in study.distances for cell in study.cells]
    # Work is counted in time steps: training steps times the length of a sequence.
    total = sum(settings[cell].steps * tasks[distance].num_steps for distance, cell in plan)
    with ProgressDisplay(total) as progress:
        for distance, cell in plan:
            task, begun = tasks[distance], time.monotonic()
            label = f"{cell} at {distance}"
            taken = 0

            def watch(steps: int, seen: Round) -> None:
                nonlocal taken
                done, taken = steps - taken, steps
                speed = steps / (time.monotonic() - begun)  # noqa: B023 (called in this round)
                loss = float(seen.loss.mean())
                progress.update(
                    label,  # noqa: B023
                    f"step {steps}, {speed:.0f} steps/s, loss {loss:.3f}",
                    done * task.num_steps,  # noqa: B023
                )
                folder.append_metrics(
                    {
                        "cell": cell,  # noqa: B023
                        "distance": distance,  # noqa: B023
                        "step": steps,
                        **{k: v.tolist() for k, v in seen._asdict().items()},
                    }
                )

            result = measure(cell, distance, task, settings[cell], mesh, study.seeds, watch)
            result = result._replace(seconds=round(time.monotonic() - begun, 2))
            measured.append(result)
            progress.skip((settings[cell].steps - taken) * task.num_steps)
            progress.note(horizon_report.line(result))


def _set(name: str, value: str) -> None:
    """Sets a flag to what it was resolved to, so that flags.txt holds that."""
    flags.FLAGS[name].value = value


def _settings(cell: str) -> Settings:
    return Settings(
        hidden=_HIDDEN.value,
        embedding=_EMBEDDING.value,
        batch=_BATCH.value,
        steps=_STEPS.value,
        eval_every=min(_EVAL_EVERY.value, _STEPS.value),
        learning_rate=cli.per_name(_LEARNING_RATE.value, CELLS, _rate)[cell],
        clip_norm=_CLIP_NORM.value,
        warmup=_WARMUP.value,
        initialisation=cli.per_name(_INITIALISATION.value, CELLS, _initialisation)[cell],
        stop_at=_STOP_AT.value,
        patience=_PATIENCE.value,
        test_sequences=_TEST_SEQUENCES.value,
    )


def _tasks(distances: list[int]) -> dict[int, Task]:
    """Returns the task at every distance; ValueError where the task does not have one."""
    if _TASK.value == "sky":
        filler = {}
        if _FILLER_FILE.value is not None:
            _set("filler_file", str(pathlib.Path(_FILLER_FILE.value).resolve()))
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


def _run_dir() -> pathlib.Path:
    if _RUN_DIR.value is not None:
        return pathlib.Path(_RUN_DIR.value)
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return pathlib.Path("runs") / f"long_context-{_TASK.value}-{now}"


if __name__ == "__main__":
    cli.run(main)
