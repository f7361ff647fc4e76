"""Trainings of models that read batches of data: one job for each model and seed."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from experiments.common.trainer import Job, Program, Study, Trained
from seqmodels.data.batches import Batches
from seqmodels.models.sequence_model import parameter_count
from seqmodels.training.loop import Inspection
from seqmodels.training.optimizers import (
    OptimizerSettings,
    averaged_params,
    make_optimizer,
    make_schedule,
)
from seqmodels.training.parallel import processes, transfer
from seqmodels.training.parallel.mesh import make_mesh, place
from seqmodels.training.prefetch import prefetch_dispatches
from seqmodels.training.run_directory import RunDirectory
from seqmodels.training.settings import FitSettings, check_settings
from seqmodels.training.state import TrainState, create_train_state
from seqmodels.training.steps import LossFunction, make_train_steps
from seqmodels.training.stopping import Stopping
from seqmodels.types import Params


class Training(NamedTuple):
    """One model of a study, to be trained with every seed.

    Attributes:
      name: name of the model in the table and in directories.
      init: `init(key) -> params`.
      loss: `loss(params, batch, key, carry) -> Loss`.
      batches: `batches(seed, process, num_processes) -> Batches`, that process's share of the rows.
      evaluate: `evaluate(params) -> figures of the validation split, by name`.
      test: `test(seed, params) -> figures of the test split, by name`, JSON; with the parameters
        that were best in validation.
      save: `save(folder, seed, params)` saves the model.
      optimizer: settings of the optimizer.
      fit: settings of the loop; its `best` names the metric that chooses the parameters.
      stopping: a rule that ends the training early, or None.
      carry: the carry of the first step; the first axis of each leaf counts rows.
      watch: metrics of the parameters for the records, or None.
    """

    name: str
    init: Callable[[jax.Array], Params]
    loss: LossFunction
    batches: Callable[[int, int, int], Batches]
    evaluate: Callable[[Params], dict[str, float]]
    test: Callable[[int, Params], dict[str, Any]]
    save: Callable[[Any, int, Params], None]
    optimizer: OptimizerSettings
    fit: FitSettings
    stopping: Stopping | None = None
    carry: Any = ()
    watch: Inspection | None = None


def study(
    trainings: Sequence[Training],
    seeds: Sequence[int],
    report: Callable[[dict[str, Any], RunDirectory], None],
    baselines: Callable[[], list[dict[str, Any]]] = list,
) -> Study:
    """Returns the study that trains every model with every seed.

    Args:
      trainings: one or more.
      seeds: one or more.
      report: as in `Study`.
      baselines: makes records such as {"model": "majority", ...}.

    Raises:
      ValueError: for inconsistent settings or impossible batches.
    """
    for training in trainings:
        check_settings(training.fit)
        make_schedule(training.optimizer)
        training.batches(seeds[0], 0, 1)

    def jobs(devices: int) -> list[Job]:
        mesh = make_mesh(devices, "batch")
        return [job for training in trainings for job in _Jobs(training, mesh).of(seeds)]

    return Study(jobs, report, baselines)


class _Jobs:
    """The jobs of one training; they share one compiled step."""

    def __init__(self, training: Training, mesh: Mesh):
        self._training, self._mesh = training, mesh
        self._train: Callable[..., Any] | None = None

    def of(self, seeds: Sequence[int]) -> list[Job]:
        training = self._training
        return [
            Job(
                name=f"{training.name}-{seed}",
                label=f"{training.name}, seed {seed}",
                about={"model": training.name, "seed": seed},
                fit=training.fit,
                prepare=functools.partial(functools.partial, self._start, seed),
                finish=functools.partial(self._finish, seed),
                line=functools.partial(self._line, seed),
                stopping=training.stopping,
            )
            for seed in seeds
        ]

    def _start(self, seed: int) -> Program:
        training, mesh = self._training, self._mesh
        optimizer = make_optimizer(training.optimizer)
        steps = training.fit.steps_per_dispatch
        batches = training.batches(seed, processes.process_index(), processes.process_count())
        self._train = self._train or jax.jit(
            make_train_steps(
                training.loss,
                optimizer,
                steps,
                mesh=mesh if mesh.size > 1 else None,
                batch_axes=batches.batch_axes,
            ),
            donate_argnums=0,
        )
        # A copy, because the first step donates it and every seed begins with it.
        carry = jax.tree.map(jnp.array, training.carry)
        state = create_train_state(training.init, optimizer, jax.random.key(seed), carry)
        inspection = training.watch
        if inspection is not None:
            of_params = inspection.values
            inspection = inspection._replace(values=lambda state: of_params(self._params(state)))
        return Program(
            state=self._placed(state),
            inspection=inspection,
            train=self._train,
            evaluate=lambda state: training.evaluate(self._params(state)),
            batches=prefetch_dispatches(
                batches.at, steps, place=lambda batch: self._spread(batch, batches.batch_axes)
            ),
        )

    def _finish(self, seed: int, trained: Trained, directory: RunDirectory) -> dict[str, Any]:
        training = self._training
        params = self._params(trained.state)
        chosen = training.evaluate(params)
        training.save(directory.model(f"{training.name}-{seed}"), seed, params)
        return {
            "parameters": parameter_count(trained.fit.state.params),
            "steps": trained.fit.progress.step,
            "best_step": trained.step,
            "seconds": round(trained.fit.progress.seconds, 1),
            "diverged": bool(trained.fit.diverged),
            **{name: float(value) for name, value in chosen.items()},
            **training.test(seed, params),
        }

    def _line(self, seed: int, record: dict[str, Any]) -> str:
        names = [name for name in record if name.startswith("validation_")]
        shown = ", ".join(f"{name} {record[name]:.4g}" for name in names)
        return f"{self._training.name}, seed {seed}: {shown} ({record['seconds']} s)"

    def _placed(self, state: TrainState) -> TrainState:
        """Returns the state of process 0 on the devices of all, where copies must be equal."""
        if processes.process_count() > 1:
            state = transfer.broadcast(state)
        carry = place(state.carry, self._mesh, 0)
        return place(state._replace(carry=()), self._mesh, None)._replace(carry=carry)

    def _spread(self, batch: Any, batch_axes: Any) -> Any:
        """Returns the batches of a dispatch with their rows spread over the devices."""

        def spread(axis: int | None, node: Any) -> Any:
            behind_steps = None if axis is None else axis + 1
            return transfer.from_local((node,), self._mesh, (behind_steps,))[0]

        return jax.tree.map(spread, batch_axes, batch, is_leaf=lambda axis: axis is None)

    def _params(self, state: TrainState) -> Params:
        """Returns the parameters to evaluate, on one device."""
        params = averaged_params(state.opt_state, state.params, self._training.optimizer.average)
        return jax.tree.map(jnp.asarray, transfer.to_host(params))
