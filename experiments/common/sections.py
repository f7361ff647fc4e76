"""Configurations that experiments share: training, saving, runs, hosts, trained models, data."""

import dataclasses
import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax

from experiments.common.config import Options, option, positive, values_by_name
from seqmodels.training.loop import Inspection
from seqmodels.training.optimizers import SCHEDULES, OptimizerSettings, make_schedule
from seqmodels.training.parallel.processes import check_processes
from seqmodels.training.settings import (
    ON_NONFINITE,
    FitSettings,
    check_settings,
    steps_per_dispatch,
)
from seqmodels.training.watch import KINDS, Reading, make_watch
from seqmodels.types import Cell

LONGEST_DISPATCH = 25  # steps, so that a signal takes effect soon
PRECISIONS = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class TrainingConfig(Options):
    """Options of training."""

    seeds: int = option(
        3, "Number of seeds; each is a training of its own.", at_least=1, at_most=4_096
    )
    first_seed: int = option(0, "The first seed.", at_least=0, at_most=2**31)
    steps: int = option(1000, "Training steps at most.", at_least=1)
    batch: int = option(32, "Sequences a training step.", at_least=1, at_most=1_048_576)
    learning_rate: str = option(
        "0.003",
        "AdamW's rate: one number, or one for every model, rnn:0.001,lstm:0.003.",
        per_name=positive,
    )
    schedule: str = option(
        "constant", "Learning rate after the warm-up; all but constant end at 0.", choices=SCHEDULES
    )
    warmup: int = option(0, "Steps of linear warm-up of the learning rate from 0.", at_least=0)
    weight_decay: float = option(
        0.0,
        "Weight decay of matrices, times the rate; biases, gains and embeddings have none.",
        at_least=0,
    )
    clip_norm: float = option(
        1.0,
        "Global gradient norm above which gradients are clipped; inf: never.",
        above=0,
        infinite=True,
    )
    accumulate: int = option(
        1, "Steps whose gradients are accumulated into one update.", at_least=1, at_most=10**6
    )
    average: float = option(
        0.0,
        "Evaluate a moving average of the parameters with this decay, such as 0.999; 0: the last.",
        at_least=0,
        at_most=0.999999,
    )
    on_nonfinite: str = option(
        "stop",
        "When a loss or gradient is NaN or infinite: stop, or skip the update.",
        choices=ON_NONFINITE,
    )
    log_every: int | None = option(
        None,
        "Steps between two records; by default those between two evaluations.",
        at_least=1,
    )
    eval_every: int = option(
        100, "Steps between two evaluations; a multiple of log_every.", at_least=1
    )
    precision: str = option(
        "float32",
        "Operands of matrix products; sums, states and parameters are float32.",
        choices=PRECISIONS,
    )
    watch: tuple[str, ...] = option(
        (),
        "Metrics of the recurrent cells in metrics.jsonl and TensorBoard: gates (saturation, time "
        "constants), gradients (by distance, spectral radius).",
        choices=KINDS,
        empty=True,
        decides=False,
    )
    watch_every: int | None = option(
        None,
        "Steps between two such metrics, a multiple of log_every; by default those between two "
        "evaluations.",
        at_least=1,
        decides=False,
    )
    devices: str = option(
        "auto",
        "CPU cores or accelerators of each process over which the rows of a batch (the seeds in "
        "long_context) are spread: auto or a number. A number that does not divide them is lowered "
        "to one that does.",
        check=lambda text: check_devices(text),
        number=True,
    )

    def check(self) -> None:
        """Raises ValueError for options that contradict each other."""
        settings = self.fit(SavingConfig())
        check_settings(settings)
        if self.watch_every is not None and not self.watch:
            raise ValueError(f"watch_every: got {self.watch_every} without watch, expected both")
        if self.watch_every is not None and self.watch_every % settings.log_every:
            raise ValueError(
                f"watch_every: got {self.watch_every}, expected a multiple of log_every "
                f"({settings.log_every})"
            )
        make_schedule(self.optimizer(1.0))

    def check_watch(self, program: str, supported: Sequence[str] = ()) -> None:
        """Raises ValueError if the option watch has a kind that a program does not support."""
        for kind in self.watch:
            if kind not in supported:
                expected = " or ".join(supported) or "no watch"
                raise ValueError(f"watch: got {kind} in {program}, expected {expected}")

    def inspection(self, watch: Callable[[Any], dict[str, Any]] | None) -> Inspection | None:
        """Returns what the loop records of `watch(params)`; None for None."""
        if watch is None:
            return None
        clips = "gradients" in self.watch and self.accumulate == 1 and self.clip_norm < math.inf
        return Inspection(watch, self.watch_every or 0, self.clip_norm if clips else None)

    def watching(
        self, cell: Cell | None, read: Callable[[Any, Any], Reading], batch: Callable[[], Any]
    ) -> Inspection | None:
        """Returns what the loop records of a cell inside of a model.

        Args:
          cell: the cell; None for a model without one.
          read: see `make_watch`.
          batch: makes the batch on which it is watched.

        Returns:
          The inspection, or None if the option watch is empty or the model has no cell.
        """
        if not self.watch or cell is None:
            return None
        metrics, rows = jax.jit(make_watch(self.watch, cell, read)), batch()
        return self.inspection(lambda params: metrics(params, rows))

    @property
    def all_seeds(self) -> range:
        """The seeds."""
        return range(self.first_seed, self.first_seed + self.seeds)

    def learning_rates(self, needed: Sequence[str], known: Collection[str]) -> dict[str, float]:
        """Returns the rate of every model that is needed.

        Raises:
          ValueError: for the name of a model that is not known, or one without a rate.
        """
        return values_by_name(
            "learning_rate", self.learning_rate, positive, needed=needed, known=known
        )

    def optimizer(self, learning_rate: float) -> OptimizerSettings:
        """Returns the settings of the optimizer with a learning rate."""
        return OptimizerSettings(
            learning_rate=learning_rate,
            steps=self.steps,
            schedule=self.schedule,
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            accumulate=self.accumulate,
            average=self.average,
            skip=self.on_nonfinite == "skip",
        )

    def fit(self, saving: "SavingConfig") -> FitSettings:
        """Returns the settings of the loop; intervals longer than the training are shortened."""
        eval_every = min(self.eval_every, self.steps)
        settings = FitSettings(
            steps=self.steps,
            log_every=min(self.log_every or eval_every, self.steps),
            eval_every=eval_every,
            checkpoint_every=saving.checkpoint_every,
            on_nonfinite=self.on_nonfinite,
        )
        return settings._replace(steps_per_dispatch=steps_per_dispatch(settings, LONGEST_DISPATCH))


def check_devices(text: str) -> None:
    """Raises ValueError unless the text is "auto" or a positive number."""
    if text != "auto" and not (text.isdecimal() and int(text) > 0):
        raise ValueError(f"got {text!r}, expected auto or a positive number")


@dataclasses.dataclass(frozen=True)
class SavingConfig(Options):
    """Options of checkpoints and event files; they do not change the results."""

    checkpoint_every: float = option(
        60.0,
        "Seconds between two checkpoints; 0: at every dispatch.",
        at_least=0,
        infinite=True,
        decides=False,
    )
    keep_checkpoints: int = option(
        2, "Checkpoints to keep in addition to the best.", at_least=1, decides=False
    )
    tensorboard: bool = option(True, "Write event files for TensorBoard.", decides=False)


@dataclasses.dataclass(frozen=True)
class RunOptions(Options):
    """Folder of a run, and how it resumes."""

    run_dir: str | None = option(
        None,
        "Folder of the run. By default one below runs/ named by the options, so that the same "
        "command finds it again and resumes it.",
        path=True,
    )
    resume: str | None = option(
        None, "Folder of an unfinished run to resume; no other option is needed.", path=True
    )
    overwrite: bool = option(
        False,
        "Replace the run that run_dir holds, if it is finished or has other options; an unfinished "
        "one with the same options resumes.",
    )


@dataclasses.dataclass(frozen=True)
class HostOptions(Options):
    """Several processes, on one host or many."""

    coordinator_address: str | None = option(
        None, "HOST:PORT of process 0 in a run of several processes; the port must be free."
    )
    num_processes: int | None = option(
        None, "Number of processes of the run, on one host or several.", at_least=1
    )
    process_id: int | None = option(None, "Number of this process, from 0.", at_least=0)

    def check(self) -> None:
        """Raises ValueError if only some of the options are given."""
        check_processes(self.coordinator_address, self.num_processes, self.process_id)


@dataclasses.dataclass(frozen=True)
class ModelOptions(Options):
    """Trained models to evaluate or use."""

    model_dir: str | None = option(
        None,
        "Folder of a run or of one of its models, to evaluate or use. Of a run the model that was "
        "best in validation is used. Default: the newest finished run below runs/.",
        path=True,
    )
    evaluate: bool = option(False, "Evaluate the models of model_dir on the test split.")


@dataclasses.dataclass(frozen=True)
class DataConfig(Options):
    """Folder of fetched data; it does not change the results."""

    data_dir: str | None = option(
        None,
        "Folder that keeps fetched data; by default $SEQMODELS_DATA, or seqmodels in the user's "
        "cache folder.",
        path=True,
        decides=False,
    )
