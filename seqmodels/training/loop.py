"""The state of the training loop, and what it does between two dispatches."""

import math
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqmodels.training import distributed, transfer
from seqmodels.training.checkpoints import Checkpoints
from seqmodels.training.finite import (
    LAST_NORMS,
    NonFiniteError,
    describe,
    find_non_finite,
    first_bad,
)
from seqmodels.training.metrics import MetricsLog
from seqmodels.training.state import TrainState
from seqmodels.training.steps import StepMetrics, leaf_names
from seqmodels.training.stopping import Stopping, better, wanted
from seqmodels.training.tensorboard import TensorBoardLog

ON_NONFINITE = ("stop", "skip")
CONSECUTIVE_SKIPS = 10  # more than so many updates left out in a row end the training


class FitSettings(NamedTuple):
    """How long to train, and how often to do what.

    Attributes:
      steps: training steps in all.
      steps_per_dispatch: steps that `train` takes a call; divides the next two and `steps`.
      log_every: steps between two records; a record holds means over them.
      eval_every: steps between two evaluations, a multiple of `log_every`; 0 for none but the last.
      checkpoint_every: least seconds between two checkpoints; infinite for none but the last.
      on_nonfinite: "stop" raises at the first loss or gradient that is not finite; "skip" leaves
        that to the optimiser (`OptimizerSettings.skip`), counts, and goes on, unless it comes
        more than `CONSECUTIVE_SKIPS` times in a row: then a seed of several ends, one alone raises.
      best: name of the metric by which the best checkpoint is kept, or None.
      best_mode: "min" or "max", which value of it is better.
    """

    steps: int
    steps_per_dispatch: int = 1
    log_every: int = 100
    eval_every: int = 0
    checkpoint_every: float = 60.0
    on_nonfinite: str = "stop"
    best: str | None = None
    best_mode: str = "min"


class Seen(NamedTuple):
    """What a record shows.

    Attributes:
      step: steps taken so far by the loop.
      values: means since the last record, by name, and what was evaluated; floats or (S,) lists;
        the step itself too, which stands still for a seed that has stopped.
      steps_per_second: over the time since the last record, without evaluations.
      seconds: of training so far, those before a resume included.
    """

    step: int
    values: dict[str, Any]
    steps_per_second: float
    seconds: float


def steps_per_dispatch(settings: FitSettings, at_most: int) -> int:
    """Returns the largest number of steps up to `at_most` that divides all that it must divide."""
    whole = math.gcd(settings.steps, settings.log_every, settings.eval_every)
    return max(n for n in range(1, min(whole, at_most) + 1) if whole % n == 0)


def check(settings: FitSettings) -> None:
    """Raises ValueError, in one line, for settings that cannot be."""
    for name in ("steps", "steps_per_dispatch", "log_every"):
        if getattr(settings, name) < 1:
            raise ValueError(f"{name}: given {getattr(settings, name)}, wanted at least 1")
    each = settings.steps_per_dispatch
    for name in ("steps", "log_every", "eval_every"):
        if getattr(settings, name) % each:
            raise ValueError(
                f"{name}: given {getattr(settings, name)}, wanted a multiple of "
                f"steps_per_dispatch ({each})"
            )
    if settings.eval_every % settings.log_every:
        raise ValueError(
            f"eval_every: given {settings.eval_every}, wanted a multiple of log_every "
            f"({settings.log_every})"
        )
    if settings.on_nonfinite not in ON_NONFINITE:
        raise ValueError(
            f"on_nonfinite: given {settings.on_nonfinite!r}, wanted {' or '.join(ON_NONFINITE)}"
        )
    if settings.best_mode not in ("min", "max"):
        raise ValueError(f"best_mode: given {settings.best_mode!r}, wanted min or max")


class Loop:
    """Where training is. `fit` takes it through: dispatch, collect, record, save.

    Metrics of a dispatch are read only after the next one has been started, so that the device does
    not wait for the host; before a checkpoint everything is read, so that no checkpoint holds a
    state after a step that was not finite.

    Attributes:
      state: the newest `TrainState`.
      step: steps taken.
      resumed: the step it went on from; 0 for a fresh start.
      seen: the last record.
    """

    def __init__(
        self,
        state: TrainState,
        settings: FitSettings,
        stopping: Stopping | None,
        checkpoints: Checkpoints | None,
        log: MetricsLog | None,
        about: dict[str, Any],
        tensorboard: pathlib.Path | None,
    ):
        """Checks the settings and takes the newest checkpoint, if there is one.

        Args: as of `seqmodels.training.fit.fit`, which names what is raised.
        """
        check(settings)
        self._settings, self._stopping = settings, stopping
        self._checkpoints, self._log, self._about = checkpoints, log, about
        self._names = leaf_names(state.params)
        self._shape = state.stopped.shape
        self.state, self.step = state, 0
        # All that the host knows and a resume needs; JSON.
        self._memory: dict[str, Any] = {
            "sums": {},
            "counts": np.zeros(self._shape).tolist(),
            "skips": np.zeros(self._shape, int).tolist(),
            "skipped": np.zeros(self._shape, int).tolist(),
            "diverged": np.zeros(self._shape, bool).tolist(),
            "norms": [],
            "values": {"step": np.zeros(self._shape, int).tolist()},
            "stopping": stopping.init() if stopping else None,
            "best": None,
            "seconds": 0.0,
            "metrics_bytes": log.offset if log else 0,
        }
        self._restore()
        self.resumed = self._saved_step = self.step
        self._stopped = np.array(transfer.to_host(self.state.stopped))
        self._pending: list[tuple[StepMetrics, Any]] = []
        self._begun = self._saved = self._recorded = time.monotonic()
        self._before = self._memory["seconds"]
        self._recorded_step = self.step
        self.seen = self._seen(0.0)
        self._events = None
        if tensorboard is not None:
            again = tensorboard.exists()
            self._events = TensorBoardLog(tensorboard, purge_step=self.step + 1 if again else None)

    @property
    def diverged(self) -> np.ndarray:
        """Whether training ended because updates were not finite, () or (S,) bools."""
        return np.array(self._memory["diverged"])

    @property
    def finished(self) -> bool:
        """Whether the last step is taken, or every seed has stopped."""
        return self.step >= self._settings.steps or bool(self._stopped.all())

    @property
    def record_is_due(self) -> bool:
        """Whether a record is to be written at this step."""
        return self.step % self._settings.log_every == 0 or self.finished

    @property
    def save_is_due(self) -> bool:
        """Whether the last checkpoint is old enough for another."""
        old = time.monotonic() - self._saved
        return self._checkpoints is not None and old >= self._settings.checkpoint_every

    def dispatch(self, train: Callable[..., tuple[TrainState, StepMetrics]], *batches: Any) -> None:
        """Starts the next steps on the device."""
        self.state, metrics = train(self.state, *batches)
        self.step += self._settings.steps_per_dispatch
        self._pending.append((metrics, batches))

    def collect(self, *, everything: bool) -> None:
        """Reads the metrics of all dispatches, or of all but the newest."""
        while len(self._pending) > (0 if everything else 1):
            metrics, batches = self._pending.pop(0)
            metrics = transfer.to_host(metrics)
            if self._shape:
                # Of seeds side by side: (S, K, ...) to (K, S, ...).
                metrics = jax.tree.map(lambda leaf: np.moveaxis(leaf, 0, 1), metrics)
            behind = self.step - len(self._pending) * self._settings.steps_per_dispatch
            self._check_finite(metrics, batches, behind - len(metrics.loss) + 1)
            self._add(metrics)

    def _check_finite(self, metrics: StepMetrics, batches: Any, first_step: int) -> None:
        bad = first_bad(metrics)
        if bad is None:
            self._memory["skips"] = np.zeros(self._shape, int).tolist()
        else:
            batch = jax.tree.map(lambda leaf: leaf[bad[0]], batches[0]) if batches else ()
            data = find_non_finite(batch)
            line = describe(
                metrics, bad, self._names, step=first_step, before=self._norms(bad[1:]), data=data
            )
            if self._settings.on_nonfinite == "stop":
                raise NonFiniteError(line)
            self._count_skips(metrics, line)
        self._memory["norms"] = [*self._memory["norms"], *metrics.grad_norm.tolist()][-LAST_NORMS:]

    def _count_skips(self, metrics: StepMetrics, line: str) -> None:
        """Marks a seed whose updates were left out too often in a row; raises if there is but one.

        It ends at the next record, because when metrics are read depends on the clock.
        """
        skips = np.array(self._memory["skips"])
        for good in _finite(metrics):
            skips = np.where(good, 0, skips + 1)
            if (skips > CONSECUTIVE_SKIPS).any():
                if not self._shape:
                    raise NonFiniteError(f"{CONSECUTIVE_SKIPS} updates in a row left out; {line}")
                diverged = np.array(self._memory["diverged"]) | (skips > CONSECUTIVE_SKIPS)
                self._memory["diverged"] = diverged.tolist()
        self._memory["skips"] = skips.tolist()

    def _norms(self, seed: tuple[int, ...]) -> list[float]:
        norms = [np.asarray(norm)[seed] for norm in self._memory["norms"]]
        return [float(norm) for norm in norms]

    def _add(self, metrics: StepMetrics) -> None:
        """Adds up what is finite, in float64 and in the order of the steps."""
        good = _finite(metrics)
        memory = self._memory
        memory["counts"] = (np.array(memory["counts"]) + good.sum(0)).tolist()
        memory["skipped"] = (np.array(memory["skipped"]) + (~good).sum(0)).tolist()
        for name, values in self._by_name(metrics).items():
            total = np.where(good, values, 0).sum(0, dtype=np.float64)
            memory["sums"][name] = (np.array(memory["sums"].get(name, 0.0)) + total).tolist()

    def _by_name(self, metrics: StepMetrics) -> dict[str, Any]:
        return {"loss": metrics.loss, "grad_norm": metrics.grad_norm} | metrics.metrics

    def record(
        self,
        evaluate: Callable[[TrainState], dict[str, Any]] | None,
        watch: Callable[[Seen], None] | None,
    ) -> None:
        """Evaluates if that is due, writes a record, and applies the rules that look at it."""
        memory, settings = self._memory, self._settings
        steps = self.step - self._recorded_step
        speed = steps / max(time.monotonic() - self._recorded, 1e-9)
        with np.errstate(invalid="ignore", divide="ignore"):
            now = {name: np.array(s) / memory["counts"] for name, s in memory["sums"].items()}
        if settings.on_nonfinite == "skip":
            now["skipped"] = np.array(memory["skipped"])
        last = self.step >= settings.steps
        evaluated = evaluate is not None and (
            last or (settings.eval_every and self.step % settings.eval_every == 0)
        )
        if evaluate is not None and evaluated:
            now |= {k: np.asarray(transfer.to_host(v)) for k, v in evaluate(self.state).items()}
        now = {"step": np.array(self.step)} | now
        before = memory["values"]
        memory["values"] = {
            # A seed that has stopped keeps what it had.
            name: np.where(self._stopped, before.get(name, value), value).tolist()
            for name, value in now.items()
        }
        memory["sums"], memory["counts"] = {}, np.zeros(self._shape).tolist()
        memory["skipped"] = np.zeros(self._shape, int).tolist()
        if self._log is not None:
            self._log.append(self._about | memory["values"])
        self.seen = self._seen(speed)
        if self._events is not None:
            scalars = {name: value for name, value in memory["values"].items() if name != "step"}
            self._events.write(self.step, scalars | {"steps_per_second": speed})
        if watch is not None:
            watch(self.seen)
        self._stop(self.diverged)
        if evaluated:
            self._judge({name: np.array(value) for name, value in memory["values"].items()})
        self._recorded, self._recorded_step = time.monotonic(), self.step

    def _judge(self, values: dict[str, Any]) -> None:
        settings, memory = self._settings, self._memory
        if self._stopping is not None:
            memory["stopping"], stop = self._stopping.update(memory["stopping"], values)
            self._stop(stop)
        if settings.best is not None:
            value = float(np.mean(wanted(values, settings.best)))
            if better(settings.best, settings.best_mode, value, memory["best"]):
                memory["best"] = value
                self.save(best=True)

    def _stop(self, seeds: np.ndarray) -> None:
        stopped = np.broadcast_to(self._stopped | seeds, self._shape)
        if (stopped != self._stopped).any():
            self._stopped = stopped
            placed = transfer.from_host(np.array(stopped), self.state.stopped.sharding)
            self.state = self.state._replace(stopped=placed)

    def _seen(self, speed: float) -> Seen:
        seconds = self._before + time.monotonic() - self._begun
        return Seen(self.step, self._memory["values"], speed, seconds)

    def save(self, *, wait: bool = False, best: bool = False) -> None:
        """Writes a checkpoint of this step, unless there is one.

        Args:
          wait: whether to return only when it is written.
          best: whether it is the best so far.
        """
        if self._checkpoints is None:
            return
        if best or self.step != self._saved_step:
            if self._log is not None:
                self._log.sync()
                self._memory["metrics_bytes"] = self._log.offset
            self._memory["seconds"] = self._before + time.monotonic() - self._begun
            # Each leaf may be spread over the devices of all processes; to_host is for all of them.
            several = distributed.process_count() > 1
            state = transfer.to_host(self.state) if several else self.state
            self._checkpoints.save(self.step, state, self._memory, best=best)
            self._saved_step, self._saved = self.step, time.monotonic()
        if wait:
            self._checkpoints.wait()

    def close(self) -> None:
        """Closes what this opened."""
        if self._events is not None:
            self._events.close()

    def _restore(self) -> None:
        """Takes the newest checkpoint, which process 0 alone reads."""
        if self._checkpoints is None:
            return
        found = self._checkpoints.restore(self.state) if distributed.is_main() else None
        known = distributed.broadcast_json(found and [found.step, found.progress])
        if known is None:
            return
        self.step, self._memory = known
        state = transfer.broadcast(found.state if found else _blank(self.state))
        place = jax.tree.map(lambda leaf: leaf.sharding, self.state)
        self.state = jax.tree.map(transfer.from_host, state, place)
        if self._log is not None:
            self._log.truncate(self._memory["metrics_bytes"])


def _blank(state: TrainState) -> TrainState:
    """Returns a state of these shapes in this process alone."""

    def blank(leaf: jax.Array) -> Any:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = jax.eval_shape(jax.random.key_data, leaf)
            zeros = np.zeros(data.shape, data.dtype)
            return jax.random.wrap_key_data(jnp.asarray(zeros), impl=jax.random.key_impl(leaf))
        return np.zeros(leaf.shape, leaf.dtype)

    return jax.tree.map(blank, state)


def _finite(metrics: StepMetrics) -> np.ndarray:
    return np.isfinite(metrics.loss) & np.isfinite(metrics.grad_norm)
