"""The state of the training loop, and its work between two dispatches."""

import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqmodels.training.checkpointing.checkpoints import Checkpoints
from seqmodels.training.checkpointing.manifest import settings_difference
from seqmodels.training.errors import RunError
from seqmodels.training.metrics import MetricsLog
from seqmodels.training.nonfinite import (
    LAST_NORMS,
    NonFiniteError,
    describe_non_finite,
    find_non_finite,
    first_non_finite,
)
from seqmodels.training.parallel import processes, transfer
from seqmodels.training.settings import CONSECUTIVE_SKIPS, FitSettings, check_settings, run_settings
from seqmodels.training.state import TrainState
from seqmodels.training.steps import StepMetrics, leaf_names
from seqmodels.training.stopping import Stopping, is_chosen, metric_value
from seqmodels.training.tensorboard import TensorBoardLog


class Progress(NamedTuple):
    """Progress of a training at one record.

    Attributes:
      step: steps taken so far by the loop.
      steps: steps taken since the last record, or since the resume.
      values: floats or (S,) lists by name: means since the last record, the results of an
        evaluation, and the step. The step of a seed that has stopped stays constant.
      steps_per_second: speed since the last record, without evaluations.
      seconds: training time so far, including the time before a resume.
    """

    step: int
    steps: int
    values: dict[str, Any]
    steps_per_second: float
    seconds: float


class Inspection(NamedTuple):
    """Values that are recorded in addition to loss and evaluation; no decision uses them.

    Attributes:
      values: `values(state) -> values by name`, scalars or (S,).
      every: steps between two records of them, a multiple of `FitSettings.log_every`; 0: one at
        each evaluation.
      clip_norm: the norm at which gradients are clipped. Then every record also has the share of
        the steps that were clipped, `gradients/clipped`, and the mean of the factors,
        `gradients/clip_factor`. None: neither.
    """

    values: Callable[[TrainState], dict[str, Any]]
    every: int = 0
    clip_norm: float | None = None


class Loop:
    """Mutable state of one `fit` call, which calls dispatch, collect, record and save.

    Metrics of a dispatch are read only after the next one has been started, so that the device does
    not wait for the host. Before a checkpoint all metrics are read. So no checkpoint holds a state
    after a non-finite step.

    Attributes:
      state: the newest `TrainState`.
      step: steps taken.
      cursor: the first batch to use.
      resumed: the step of the checkpoint that was resumed; 0 for a fresh start.
      progress: at the last record.
    """

    def __init__(
        self,
        state: TrainState,
        settings: FitSettings,
        *,
        inspection: Inspection | None,
        stopping: Stopping | None,
        checkpoints: Checkpoints | None,
        log: MetricsLog | None,
        about: dict[str, Any],
        tensorboard: pathlib.Path | None,
    ):
        """Checks the settings and restores the newest checkpoint, if there is one.

        Arguments and errors are those of `seqmodels.training.fit.fit`.
        """
        check_settings(settings)
        if inspection is not None and inspection.every % settings.log_every:
            raise ValueError(
                f"inspection: every: got {inspection.every}, expected a multiple of log_every "
                f"({settings.log_every})"
            )
        self._settings, self._stopping = settings, stopping
        self._inspection = inspection
        self._checkpoints, self._log, self._about = checkpoints, log, about
        self._names = leaf_names(state.params)
        self._shape = state.stopped.shape
        self.state = jax.tree.map(jnp.asarray, state)
        self.step = int(np.max(transfer.to_host(state.step)))
        # Host state saved in each checkpoint (JSON).
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
            "settings": run_settings(settings),
        }
        self._restore()
        self.cursor = int(np.max(transfer.to_host(self.state.cursor)))
        self.resumed = self._saved_step = self.step
        self._stopped = np.array(transfer.to_host(self.state.stopped))
        self._pending: list[tuple[StepMetrics, Any]] = []
        self._begun = self._saved = self._recorded = time.monotonic()
        self._before = self._memory["seconds"]
        self._recorded_step = self.step
        self.progress = self._progress(0.0, 0)
        self._events = None
        if tensorboard is not None:
            again = tensorboard.exists()
            self._events = TensorBoardLog(tensorboard, purge_step=self.step + 1 if again else None)

    @property
    def diverged(self) -> np.ndarray:
        """True where training ended because of non-finite updates, () or (S,) bools."""
        return np.array(self._memory["diverged"])

    @property
    def finished(self) -> bool:
        """True after the last step, or if every seed has stopped."""
        return self.step >= self._settings.steps or bool(self._stopped.all())

    @property
    def record_is_due(self) -> bool:
        """True if a record is due at this step."""
        return self.step % self._settings.log_every == 0 or self.finished

    @property
    def save_is_due(self) -> bool:
        """True if the last checkpoint is old enough for another."""
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
                # Several seeds: (S, K, ...) to (K, S, ...).
                metrics = jax.tree.map(lambda leaf: np.moveaxis(leaf, 0, 1), metrics)
            behind = self.step - len(self._pending) * self._settings.steps_per_dispatch
            self._check_finite(metrics, batches, behind - len(metrics.loss) + 1)
            self._add(metrics)

    def _check_finite(self, metrics: StepMetrics, batches: Any, first_step: int) -> None:
        bad = first_non_finite(metrics)
        if bad is not None and self._settings.on_nonfinite == "stop":
            raise NonFiniteError(self._describe(metrics, bad, batches, first_step))
        skips = np.array(self._memory["skips"])
        for finite in metrics.finite:
            skips = np.where(finite, 0, skips + 1)
            self._give_up(skips > CONSECUTIVE_SKIPS, metrics, batches, first_step)
        self._memory["skips"] = skips.tolist()
        self._memory["norms"] = [*self._memory["norms"], *metrics.grad_norm.tolist()][-LAST_NORMS:]

    def _give_up(
        self, seeds: np.ndarray, metrics: StepMetrics, batches: Any, first_step: int
    ) -> None:
        """Stops seeds with too many skipped updates in a row; raises if there is only one seed.

        They end at the next record, because when metrics are read depends on the clock.
        """
        if not seeds.any():
            return
        bad = first_non_finite(metrics)
        if not self._shape and bad is not None:
            line = self._describe(metrics, bad, batches, first_step)
            raise NonFiniteError(f"{CONSECUTIVE_SKIPS} updates in a row left out; {line}")
        self._memory["diverged"] = (self.diverged | seeds).tolist()

    def _describe(
        self, metrics: StepMetrics, bad: tuple[int, ...], batches: Any, first_step: int
    ) -> str:
        step, seed = bad[0], bad[1:]
        data = None
        # Each process inspects only its addressable rows.
        if all(getattr(leaf, "is_fully_addressable", True) for leaf in jax.tree.leaves(batches)):
            batch = jax.tree.map(lambda leaf: leaf[(*seed, step)], batches[0]) if batches else ()
            data = find_non_finite(batch)
        before = self._norms(seed)
        return describe_non_finite(
            metrics, bad, self._names, step=first_step, before=before, data=data
        )

    def _norms(self, seed: tuple[int, ...]) -> list[float]:
        norms = [np.asarray(norm)[seed] for norm in self._memory["norms"]]
        return [float(norm) for norm in norms]

    def _add(self, metrics: StepMetrics) -> None:
        """Adds the finite values to the sums, in float64 and in the order of the steps."""
        good, memory = metrics.finite, self._memory
        memory["counts"] = (np.array(memory["counts"]) + good.sum(0)).tolist()
        memory["skipped"] = (np.array(memory["skipped"]) + (~good).sum(0)).tolist()
        sums = {
            name: np.where(good, values, 0).sum(0, dtype=np.float64)
            for name, values in self._by_name(metrics).items()
        }
        before = memory["sums"]
        if before:
            # A run that resumes with another inspection has other names. They have no sum over the
            # steps before, so they begin after the next record.
            sums = {name: before[name] + total for name, total in sums.items() if name in before}
        memory["sums"] = {name: total.tolist() for name, total in sums.items()}

    def _by_name(self, metrics: StepMetrics) -> dict[str, Any]:
        named: dict[str, Any] = {"loss": metrics.loss, "grad_norm": metrics.grad_norm}
        named |= metrics.metrics
        limit = None if self._inspection is None else self._inspection.clip_norm
        if limit is not None:
            # As `seqmodels.analysis.clipping`, but in NumPy: it runs for every dispatch.
            named["gradients/clipped"] = metrics.grad_norm > limit
            named["gradients/clip_factor"] = limit / np.maximum(metrics.grad_norm, limit)
        return named

    def record(
        self,
        evaluate: Callable[[TrainState], dict[str, Any]] | None,
        watch: Callable[[Progress], None] | None,
    ) -> None:
        """Evaluates if due, writes a record, and applies the stopping rules to it."""
        memory, settings = self._memory, self._settings
        stopped = self._stopped
        self._stop(self.diverged)
        steps = self.step - self._recorded_step
        speed = steps / max(time.monotonic() - self._recorded, 1e-9)
        with np.errstate(invalid="ignore", divide="ignore"):
            now = {name: np.array(s) / memory["counts"] for name, s in memory["sums"].items()}
        if settings.on_nonfinite == "skip":
            now["skipped"] = np.array(memory["skipped"])
        evaluated = evaluate is not None and self._is_due(settings.eval_every)
        if evaluate is not None and evaluated:
            now |= _values_of_process_0(evaluate(self.state))
        inspected = self._inspection
        if inspected is not None and self._is_due(inspected.every or settings.eval_every):
            now |= _values_of_process_0(inspected.values(self.state))
        now = {"step": np.array(self.step)} | now
        before = memory["values"]
        memory["values"] = {
            # A stopped seed keeps its values.
            name: np.where(stopped, before.get(name, value), value).tolist()
            for name, value in now.items()
        }
        memory["sums"], memory["counts"] = {}, np.zeros(self._shape).tolist()
        memory["skipped"] = np.zeros(self._shape, int).tolist()
        if self._log is not None:
            self._log.append(self._about | memory["values"])
        self.progress = self._progress(speed, steps)
        if self._events is not None:
            scalars = {name: value for name, value in memory["values"].items() if name != "step"}
            self._events.write(self.step, scalars | {"steps_per_second": speed})
        if watch is not None:
            watch(self.progress)
        if evaluated:
            self._judge({name: np.array(value) for name, value in memory["values"].items()})
        self._recorded, self._recorded_step = time.monotonic(), self.step

    def _is_due(self, every: int) -> bool:
        return self.finished or (every > 0 and self.step % every == 0)

    def _judge(self, values: dict[str, Any]) -> None:
        settings, memory = self._settings, self._memory
        if self._stopping is not None:
            memory["stopping"], stop = self._stopping.update(memory["stopping"], values)
            self._stop(stop)
        if settings.best is not None:
            names = [name for name in (settings.best, settings.best_tie) if name is not None]
            found = [float(np.mean(metric_value(values, name))) for name in names]
            if is_chosen(settings.best, settings.best_mode, found, memory["best"]):
                memory["best"] = found
                self.save(best=True)

    def _stop(self, seeds: np.ndarray) -> None:
        stopped = np.broadcast_to(self._stopped | seeds, self._shape)
        if (stopped != self._stopped).any():
            self._stopped = stopped
            placed = _put_like(np.array(stopped), self.state.stopped)
            self.state = self.state._replace(stopped=placed)

    def _progress(self, speed: float, steps: int) -> Progress:
        seconds = self._before + time.monotonic() - self._begun
        return Progress(self.step, steps, self._memory["values"], speed, seconds)

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
            several = processes.process_count() > 1
            state = transfer.to_host(self.state) if several else self.state
            self._checkpoints.save(self.step, state, self._memory, best=best)
            self._saved_step, self._saved = self.step, time.monotonic()
        if wait:
            self._checkpoints.wait()

    def _check_memory(self, memory: dict[str, Any]) -> None:
        different = settings_difference(memory["settings"], self._memory["settings"])
        if different:
            raise RunError(f"checkpoint of step {self.step}: is of other settings: {different}")

    def close(self) -> None:
        """Closes the files that this loop opened."""
        if self._events is not None:
            self._events.close()

    def _restore(self) -> None:
        """Restores the newest checkpoint, which only process 0 reads."""
        if self._checkpoints is None:
            return
        restored = self._checkpoints.restore(self.state) if processes.is_main() else None
        known = processes.broadcast_json(restored and [restored.step, restored.progress])
        if known is None:
            if self._log is not None and processes.is_main():
                # Lines that a killed process wrote before its first checkpoint.
                self._log.truncate(self._checkpoints.first_log_offset(self._log.offset))
                self._memory["metrics_bytes"] = self._log.offset
            return
        self.step, memory = known
        self._check_memory(memory)
        self._memory = self._memory | {k: v for k, v in memory.items() if v is not None}
        state = transfer.broadcast(restored.state if restored else self.state)
        self.state = jax.tree.map(_put_like, state, self.state)
        if self._log is not None:
            self._log.truncate(self._memory["metrics_bytes"])


def _values_of_process_0(values: dict[str, Any]) -> dict[str, Any]:
    """Returns evaluated values as arrays, those of process 0 in every process.

    Processes may differ in the last digit, and then one would stop and the others wait for it.
    """
    host = {name: np.asarray(transfer.to_host(value)) for name, value in values.items()}
    if processes.process_count() == 1:
        return host
    known = processes.broadcast_json({name: value.tolist() for name, value in host.items()})
    return {name: np.asarray(value) for name, value in known.items()}


def _put_like(value: Any, leaf: jax.Array) -> jax.Array:
    """Returns a host value with the placement of a leaf, committed if the leaf is."""
    if leaf.committed:
        return transfer.from_host(value, leaf.sharding)
    return jnp.asarray(value)
