"""What a study still has to train, and how one model is trained with one seed."""

import pathlib
import platform
import signal
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from rich.console import Console

from experiments.common import run_flags
from seqmodels.data.batches import Batches
from seqmodels.models.sequence_model import parameter_count
from seqmodels.training.errors import RunError
from seqmodels.training.fit import fit
from seqmodels.training.interruption import Interrupted, Interruption
from seqmodels.training.loop import Progress
from seqmodels.training.metrics import MetricsLog
from seqmodels.training.optimizers import OptimizerSettings, averaged_params, make_optimizer
from seqmodels.training.parallel import processes, transfer
from seqmodels.training.parallel.mesh import make_mesh, place
from seqmodels.training.prefetch import prefetch_dispatches
from seqmodels.training.progress import ProgressDisplay
from seqmodels.training.run_directory import CHECKPOINTS, MODELS, RESULTS, RunFolder
from seqmodels.training.settings import FitSettings
from seqmodels.training.state import TrainState, create_train_state
from seqmodels.training.steps import LossFunction, make_train_steps
from seqmodels.training.stopping import Stopping
from seqmodels.types import Params


class Training(NamedTuple):
    """One model of a study, to be trained with every seed.

    Attributes:
      name: of the model, as in the table; also the beginning of names of folders.
      init: `init(key) -> params`.
      loss: `loss(params, batch, key, carry) -> Loss`.
      batches: `batches(seed) -> Batches`, of this process's share of the rows.
      evaluate: `evaluate(params) -> figures of the validation split, by name`.
      finish: `finish(seed, params, folder) -> figures of the test split, by name`, JSON; with the
        parameters that were best in validation. It saves the model there (`models.saved.save`).
      optimizer: how parameters are updated.
      fit: how long, and by which figure the best parameters are chosen (`best`).
      stopping: a rule that ends the training early, or None.
      carry: what the first step is handed; the first axis of each leaf counts rows.
    """

    name: str
    init: Callable[[jax.Array], Params]
    loss: LossFunction
    batches: Callable[[int], Batches]
    evaluate: Callable[[Params], dict[str, float]]
    finish: Callable[[int, Params, pathlib.Path], dict[str, Any]]
    optimizer: OptimizerSettings
    fit: FitSettings
    stopping: Stopping | None = None
    carry: Any = ()


class Study(NamedTuple):
    """trainings: at least one. baselines: makes records such as {"model": "majority", ...}."""

    trainings: Sequence[Training]
    baselines: Callable[[], list[dict[str, Any]]] = list


class Work:
    """What is done of a study, and what is left.

    Attributes:
      results: what results.json holds.
    """

    def __init__(
        self,
        program: str,
        study: Study,
        path: pathlib.Path,
        folder: RunFolder | None,
        decides: dict[str, Any],
        devices: int,
    ):
        """Takes what an unfinished run has.

        Args:
          program: the module's name.
          study: what to train.
          path: the run's folder.
          folder: the same, open; None where another process writes.
          decides: all that decides the run.
          devices: of each process.

        Raises:
          RunError: if results.json is not of such a study.
        """
        self._study, self._path, self._folder = study, path, folder
        self._seeds = range(flags.FLAGS.first_seed, flags.FLAGS.first_seed + flags.FLAGS.seeds)
        self._mesh = make_mesh(devices, "batch")
        fitted = study.trainings[0].fit
        self.results = processes.broadcast_json(
            {
                "complete": False,
                "program": program,
                "flags": decides,
                "versions": {"python": platform.python_version(), "jax": jax.__version__},
                "devices": f"{self._mesh.size} x {jax.devices()[0].device_kind}",
                "chosen_by": fitted.best,
                "chosen_mode": fitted.best_mode,
                "baselines": None,
                "results": [],
            }
            | self._stored()
        )

    def _stored(self) -> dict[str, Any]:
        """Returns the part of results.json that an unfinished run goes on with."""
        if self._folder is None or self._folder.results is None:
            return {}
        found = self._folder.results
        known = {
            (training.name, seed) for training in self._study.trainings for seed in self._seeds
        }
        try:
            kept = {name: found[name] for name in ("baselines", "results")}
            if not {(r["model"], r["seed"]) for r in kept["results"]} <= known:
                raise ValueError
            for record in kept["results"]:
                if record["metrics_bytes"] < 0:
                    raise ValueError
        except (KeyError, TypeError, ValueError):
            raise RunError(
                f"run_dir: {self._path / RESULTS} is not what this study writes; give another "
                "name, or --overwrite"
            ) from None
        return kept

    def do(self, interruption: Interruption) -> None:
        """Trains what is left, and writes results.json after every training.

        Raises:
          Interrupted: after a signal; others as `fit`.
        """
        done = {(record["model"], record["seed"]) for record in self.results["results"]}
        plan = [
            (training, [seed for seed in self._seeds if (training.name, seed) not in done])
            for training in self._study.trainings
        ]
        if self.results["baselines"] is None:
            self.results["baselines"] = self._study.baselines()
        self._write()
        quiet = None if self._folder else Console(quiet=True)
        total = sum(training.fit.steps * len(seeds) for training, seeds in plan)
        with (
            run_flags.open_log(self._folder) as log,
            ProgressDisplay(total, console=quiet) as progress,
        ):
            for training, seeds in plan:
                optimizer = make_optimizer(training.optimizer)
                train = None
                for seed in seeds:
                    stop, _ = processes.agree(interruption.signal is not None, save=False)
                    if stop:
                        raise Interrupted(interruption.signal or signal.SIGTERM, step=0)
                    batches = training.batches(seed)
                    # One function for all seeds, so that it is compiled once.
                    train = train or jax.jit(
                        make_train_steps(
                            training.loss,
                            optimizer,
                            training.fit.steps_per_dispatch,
                            mesh=self._mesh if self._mesh.size > 1 else None,
                            batch_axes=batches.batch_axes,
                        ),
                        donate_argnums=0,
                    )
                    keys = jax.random.key(seed)
                    state = self._placed(
                        create_train_state(training.init, optimizer, keys, training.carry)
                    )
                    self._one(training, seed, state, train, batches, log, progress, interruption)
        self.results["complete"] = True
        self._write()

    def _one(
        self,
        training: Training,
        seed: int,
        state: TrainState,
        train: Callable[..., Any],
        batches: Batches,
        log: MetricsLog | None,
        progress: ProgressDisplay,
        interruption: Interruption,
    ) -> None:
        name = f"{training.name}-{seed}"

        def evaluate(state: TrainState) -> dict[str, float]:
            return training.evaluate(self._params(training, state))

        template = jax.eval_shape(lambda: state)
        parameters = parameter_count(state.params)
        watch = _Watch(f"{training.name}, seed {seed}", training.fit.steps, progress)
        checkpoints_path = self._path / CHECKPOINTS / name
        with run_flags.open_checkpoints(
            checkpoints_path, self.results["flags"], progress.note
        ) as checkpoints:
            if log and not checkpoints.steps():
                # What a killed run wrote of this training, before its first checkpoint.
                ends = [record["metrics_bytes"] for record in self.results["results"]]
                log.truncate(max(ends, default=0))
            done = fit(
                state,
                train,
                training.fit,
                batches=prefetch_dispatches(
                    batches.at,
                    training.fit.steps_per_dispatch,
                    place=lambda batch: self._spread(batch, batches.batch_axes),
                ),
                evaluate=evaluate,
                stopping=training.stopping,
                checkpoints=checkpoints,
                log=log,
                about={"model": training.name, "seed": seed},
                tensorboard=run_flags.events_folder(self._folder, name),
                watch=watch,
                interruption=interruption,
            )
            best, best_step = done.state, done.progress.step
            found = checkpoints.best(template) if training.fit.best and self._folder else None
            known = processes.broadcast_json(found and found.step)
            if known is not None:
                best, best_step = transfer.broadcast(found.state if found else best), known
        params = self._params(training, best)
        chosen = training.evaluate(params)
        with tempfile.TemporaryDirectory() as elsewhere:
            # A process that does not write saves where it is thrown away.
            models = (self._path if self._folder else pathlib.Path(elsewhere)) / MODELS
            figures = training.finish(seed, params, models / name)
        record = {
            "model": training.name,
            "seed": seed,
            "parameters": parameters,
            "steps": done.progress.step,
            "best_step": best_step,
            "seconds": round(done.progress.seconds, 1),
            "diverged": bool(done.diverged),
            **{name: float(value) for name, value in chosen.items()},
            **figures,
            "metrics_bytes": log.offset if log else 0,
        }
        self.results["results"].append(record)
        self._write()
        watch.finish()
        shown = ", ".join(f"{name} {value:.4g}" for name, value in chosen.items())
        progress.note(f"{training.name}, seed {seed}: {shown} ({record['seconds']} s)")

    def _write(self) -> None:
        if self._folder:
            self._folder.write_json(RESULTS, self.results)

    def _placed(self, state: TrainState) -> TrainState:
        carry = place(state.carry, self._mesh, 0)
        return place(state._replace(carry=()), self._mesh, None)._replace(carry=carry)

    def _spread(self, batch: Any, batch_axes: Any) -> Any:
        """Returns the batches of a dispatch with their rows spread over the devices."""

        def spread(axis: int | None, node: Any) -> Any:
            behind_steps = None if axis is None else axis + 1
            return transfer.from_local((node,), self._mesh, (behind_steps,))[0]

        return jax.tree.map(spread, batch_axes, batch, is_leaf=lambda axis: axis is None)

    def _params(self, training: Training, state: TrainState) -> Params:
        """Returns the parameters to evaluate, on one device."""
        params = averaged_params(state.opt_state, state.params, training.optimizer.average)
        return jax.tree.map(jnp.asarray, transfer.to_host(params))


class _Watch:
    """Shows the progress while one model is trained with one seed."""

    def __init__(self, label: str, steps: int, progress: ProgressDisplay):
        self._label, self._steps, self._progress = label, steps, progress
        self._taken = 0
        progress.update(label, "begins", 0.0)

    def __call__(self, progress: Progress) -> None:
        before = progress.step - progress.steps
        if before > self._taken:
            self._progress.note(f"{self._label}: goes on from step {before}")
            self._progress.skip(before - self._taken)
        self._taken = progress.step
        self._progress.update(
            self._label,
            f"step {progress.step}",
            progress.steps,
            steps=progress.steps,
            loss=float(np.mean(progress.values["loss"])),
            grad_norm=float(np.mean(progress.values["grad_norm"])),
        )

    def finish(self) -> None:
        """Takes the steps that were not needed off the work that is left."""
        self._progress.skip(self._steps - self._taken)
