"""Training of one cell on one task with all seeds at once: compiled steps, test and gradient."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

import seqmodels as sm
from experiments.common.trainer import Program
from seqmodels.analysis.gradients import state_gradient_norms
from seqmodels.analysis.log_gradients import log_state_gradient_norms
from seqmodels.models.sequence_model import SequenceModel, parameter_count, sequence_model
from seqmodels.tasks.task import Batch, Task, accuracy
from seqmodels.training.fit import FitResult
from seqmodels.training.loop import Inspection
from seqmodels.training.losses import cross_entropy, squared_error
from seqmodels.training.optimizers import (
    OptimizerSettings,
    averaged_params,
    make_optimizer,
    make_optimizer_with_rate,
    set_rate,
)
from seqmodels.training.parallel import transfer
from seqmodels.training.parallel.mesh import place
from seqmodels.training.settings import FitSettings
from seqmodels.training.state import TrainState, create_train_state
from seqmodels.training.steps import Loss, make_train_steps, over_seeds
from seqmodels.training.watch import Reading, make_watch

GRADIENT_SEQUENCES = 64
CURVE_POINTS = 32  # points of the gradient by distance
CURVE_DECIMALS = 4  # decimals of its logarithms in the records
WATCHED_SEQUENCES = 16
VALIDATION = "validation_accuracy"


class Settings(NamedTuple):
    """Settings of the model, its training and its test."""

    hidden: int
    embedding: int
    batch: int
    test_sequences: int
    optimizer: OptimizerSettings
    fit: FitSettings
    watch: tuple[str, ...] = ()
    precision: str = "float32"


class Measurement(NamedTuple):
    """Results of one cell at one distance; lists have one entry per seed.

    `accuracy` and `loss` are of the test split. `gradient_initial` and `gradient_trained` are
    ratios: the norm of d score / d state at the step after the clue, over that at the last step.
    The score is the output of the right answer.

    Attributes:
      steps: training steps taken.
      seconds: time of training, also before a resume.
      validation_accuracy: accuracy on the validation split at the end of training.
      diverged: whether updates that were not finite ended the training.
    """

    cell: str
    distance: int
    parameters: int
    steps: list[int]
    seconds: float
    accuracy: list[float]
    loss: list[float]
    validation_accuracy: list[float]
    gradient_initial: list[float]
    gradient_trained: list[float]
    diverged: list[bool]


def build_model(
    cell: sm.Cell,
    hidden: int,
    output_size: int,
    *,
    vocabulary: int | None,
    embedding: int | None,
    precision: str = "float32",
) -> SequenceModel:
    """Returns the model around a cell, with an embedding of words where there is a vocabulary.

    Args:
      cell: a cell with `hidden` units.
      hidden: units of the cell.
      output_size: classes, or 1 for a number.
      vocabulary: number of words; None or 0 if the inputs are features.
      embedding: size of an embedded word.
      precision: dtype of the operands of the readout.
    """
    return sequence_model(
        cell,
        hidden_size=hidden,
        output_size=output_size,
        vocabulary_size=vocabulary or None,
        embedding_size=embedding if vocabulary else None,
        dtype=precision,
    )


def gradient_distances(num_steps: int) -> tuple[int, ...]:
    """Returns the distances of a gradient curve: steps before the last one, ascending.

    They are about evenly spaced on a logarithmic axis and have 0, 1, 10, 100, ... among them.
    """
    last = num_steps - 1
    powers = [10**n for n in range(7)]
    spaced = np.geomspace(1, max(last, 1), CURVE_POINTS).round().astype(int).tolist()
    return tuple(sorted({n for n in (0, last, *powers, *spaced) if n <= last}))


class Prepared(NamedTuple):
    """Compiled functions of one cell at one distance, for all seeds at once.

    Attributes:
      settings: settings of training and test.
      num_steps: number of steps of a sequence.
      seeds: S seeds; one that stands there twice is trained with two learning rates.
      rates: the learning rate of each of the S trainings.
      mesh: the mesh of the devices over which the trainings are spread.
      init: (keys, rates) -> TrainState.
      train: TrainState, which is donated -> (TrainState, StepMetrics) after
        `settings.fit.steps_per_dispatch` steps.
      evaluate: (TrainState, keys) -> validation accuracy.
      test: (first params, TrainState, keys) -> (loss, accuracy, ratios (S, 2) of the gradient
        before and after training, and its log10 (S, 2, N) at `gradient_distances`).
      watch: (TrainState, keys) -> the metrics of `make_watch`, or None.
    """

    settings: Settings
    num_steps: int
    seeds: Sequence[int]
    rates: Sequence[float]
    mesh: Mesh
    init: Callable[..., Any]
    train: Callable[..., Any]
    evaluate: Callable[..., Any]
    test: Callable[..., Any]
    watch: Callable[..., Any] | None = None


def prepare(
    make_cell: Callable[[int], sm.Cell],
    task: Task,
    settings: Settings,
    *,
    mesh: Mesh,
    seeds: Sequence[int],
    rates: Sequence[float] | None = None,
) -> Prepared:
    """Compiles what `measure` runs; it may do so in a thread while another cell is trained.

    Args:
      make_cell: `make_cell(input_size)`, a cell with `settings.hidden` units.
      task: the task at one distance.
      settings: settings of training and test.
      mesh: one axis; its size divides the number of seeds.
      seeds: S seeds.
      rates: S learning rates; None for the rate of the settings.

    Returns:
      `Prepared`.
    """
    cell = make_cell(task.input_size or settings.embedding)
    model = build_model(
        cell,
        settings.hidden,
        task.output_size,
        vocabulary=task.vocabulary_size,
        embedding=settings.embedding,
        precision=settings.precision,
    )
    make = make_optimizer if rates is None else make_optimizer_with_rate
    optimizer = make(settings.optimizer)

    def loss(params: Any, batch: Batch, key: jax.Array, carry: Any) -> Loss:
        del key, carry
        return Loss(_evaluate(model, task, params, batch)[0])

    def sample(key: jax.Array) -> Batch:
        return task.sample(key, settings.batch, "train")

    def last_params(state: TrainState) -> Any:
        return averaged_params(state.opt_state, state.params, settings.optimizer.average)

    # Of a seed's key: parameters and training data, validation data, test data.
    def init(key: jax.Array, rate: jax.Array) -> TrainState:
        state = create_train_state(model.init, optimizer, jax.random.split(key, 3)[0])
        if rates is None:
            return state
        return state._replace(opt_state=set_rate(state.opt_state, rate))

    def evaluate(state: TrainState, key: jax.Array) -> jax.Array:
        size = task.limited("validation", settings.test_sequences // 4)
        batch = task.sample(jax.random.split(key, 3)[1], size, "validation")
        return _evaluate(model, task, last_params(state), batch)[1]

    def test(first: Any, state: TrainState, key: jax.Array) -> Any:
        last = last_params(state)
        batch = test_batch(task, key, settings.test_sequences)
        loss, right = _evaluate(model, task, last, batch)
        few = Batch(*(array[:, :GRADIENT_SEQUENCES] for array in batch))
        both = jax.tree.map(lambda a, b: jnp.stack([a, b]), first, last)
        found = jax.lax.map(lambda params: _gradient_ratios(cell, model, task, params, few), both)
        return loss, right, *found

    def watch(state: TrainState, key: jax.Array) -> dict[str, jax.Array]:
        batch = task.sample(jax.random.split(key, 3)[1], WATCHED_SEQUENCES, "validation")
        read = functools.partial(_reading, model, task)
        return make_watch(settings.watch, cell, read)(last_params(state), batch)

    train = make_train_steps(loss, optimizer, settings.fit.steps_per_dispatch, sample=sample)
    keys = jax.eval_shape(_keys, jax.ShapeDtypeStruct((len(seeds),), jnp.uint32))
    all_rates = jax.ShapeDtypeStruct((len(seeds),), jnp.float32)
    state = jax.eval_shape(jax.vmap(init), keys, all_rates)
    inspect = None
    if settings.watch:
        inspect = over_seeds(watch, mesh).lower(state, keys).compile()
    return Prepared(
        settings=settings,
        num_steps=task.num_steps,
        seeds=seeds,
        rates=[settings.optimizer.learning_rate] * len(seeds) if rates is None else rates,
        mesh=mesh,
        init=over_seeds(init, mesh).lower(keys, all_rates).compile(),
        train=over_seeds(train, mesh, donate=(0,)).lower(state).compile(),
        evaluate=over_seeds(evaluate, mesh).lower(state, keys).compile(),
        test=over_seeds(test, mesh).lower(state.params, state, keys).compile(),
        watch=inspect,
    )


def test_batch(task: Task, key: jax.Array, test_sequences: int) -> Batch:
    """Returns the test sequences of a seed, given its key."""
    size = task.limited("test", test_sequences)
    return task.sample(jax.random.split(key, 3)[2], size, "test")


def start(
    prepared: Prepared, make_inspection: Callable[[Callable[..., Any]], Inspection | None]
) -> Program:
    """Returns what the trainer runs. The result of a seed does not depend on the other seeds.

    Args:
      prepared: the compiled functions.
      make_inspection: makes an `Inspection` of a function of the state.
    """
    keys, rates = _placed(prepared)
    inspection = None
    if prepared.watch is not None:
        inspection = make_inspection(functools.partial(_with_keys, prepared.watch, keys))
    return Program(
        state=prepared.init(keys, rates),
        train=prepared.train,
        evaluate=lambda state: {VALIDATION: prepared.evaluate(state, keys)},
        inspection=inspection,
    )


def _with_keys(function: Callable[..., Any], keys: jax.Array, state: TrainState) -> Any:
    return function(state, keys)


def test(prepared: Prepared, fitted: FitResult) -> dict[str, Any]:
    """Returns the fields of a `Measurement` but for cell and distance, and gradient curves.

    "gradient_log10" holds "distances" (N,), and "initial" and "trained" (S, N). These are log10 of
    a ratio: the norm of d score / d state at that distance before the last step, over the norm at
    the last step.
    """
    keys, rates = _placed(prepared)
    first_params = prepared.init(keys, rates).params
    tested = prepared.test(first_params, fitted.state, keys)
    loss, right, ratios, curves = map(np.asarray, transfer.to_host(tested))
    return {
        "parameters": parameter_count(first_params) // len(prepared.seeds),
        "steps": fitted.progress.values["step"],
        "seconds": round(fitted.progress.seconds, 2),
        "accuracy": right.tolist(),
        "loss": loss.tolist(),
        "validation_accuracy": fitted.progress.values[VALIDATION],
        "gradient_initial": ratios[:, 0].tolist(),
        "gradient_trained": ratios[:, 1].tolist(),
        "diverged": fitted.diverged.tolist(),
        "gradient_log10": {
            "distances": list(gradient_distances(prepared.num_steps)),
            "initial": _rounded(curves[:, 0]),
            "trained": _rounded(curves[:, 1]),
        },
    }


def params_of(fitted: FitResult, place: int, settings: OptimizerSettings) -> Any:
    """Returns the parameters of one seed, which are evaluated and tested, on the host.

    Args:
      fitted: result of a training with all seeds at once.
      place: index of the seed.
      settings: settings of the optimizer, which may keep an average of the parameters.
    """
    state = fitted.state
    # Only what the average needs: the moments of Adam are twice as large as the parameters.
    kept = averaged_params(state.opt_state, state.params, settings.average)
    return jax.tree.map(lambda leaf: leaf[place], transfer.to_host(kept))


def _placed(prepared: Prepared) -> tuple[jax.Array, jax.Array]:
    """Returns the keys and the learning rates, spread over the devices."""
    keys = _keys(jnp.asarray(prepared.seeds, jnp.uint32))
    rates = jnp.asarray(prepared.rates, jnp.float32)
    return place(keys, prepared.mesh, 0), place(rates, prepared.mesh, 0)


def _keys(seeds: jax.Array) -> jax.Array:
    return jax.vmap(jax.random.key)(seeds)


def _evaluate(
    model: SequenceModel, task: Task, params: Any, batch: Batch
) -> tuple[jax.Array, jax.Array]:
    """Returns (loss, accuracy) on a batch."""
    outputs = model.apply(params, batch.inputs, last=task.num_targets)
    loss = cross_entropy if task.tolerance is None else squared_error
    return loss(outputs, batch.targets), accuracy(task, outputs, batch.targets)


def _reading(model: SequenceModel, task: Task, params: Any, batch: Batch) -> Reading:
    """Returns what the cell reads of a batch; the score is the output of the right answer."""

    def score(ys: jax.Array) -> jax.Array:
        outputs = model.read(params, ys[-1])
        if task.tolerance is not None:
            return jnp.sum(outputs)
        return jnp.sum(jnp.take_along_axis(outputs, batch.targets[-1][:, None], axis=-1))

    return Reading(params.cell, model.embed(params, batch.inputs), score=score)


def _gradient_ratios(
    cell: sm.Cell, model: SequenceModel, task: Task, params: Any, batch: Batch
) -> tuple[jax.Array, jax.Array]:
    """Returns the gradient over that at the last step: at the step after the clue, and by distance.

    A scalar, and (N,) log10 at `gradient_distances`; only the logarithms do not underflow.
    """
    reading = _reading(model, task, params, batch)
    assert reading.score is not None
    norms = state_gradient_norms(cell, reading.params, reading.xs, reading.score)
    logs = log_state_gradient_norms(cell, reading.params, reading.xs, reading.score)
    means = jax.nn.logsumexp(logs, axis=1)
    steps = task.num_steps - 1 - np.array(gradient_distances(task.num_steps))
    ratio = jnp.mean(norms[task.far_step + 1]) / jnp.mean(norms[-1])
    return ratio, (means[steps] - means[-1]) / np.log(10)


def _rounded(curves: np.ndarray) -> list[list[float]]:
    """Returns curves with a few decimals, which keep results.json small."""
    return np.round(curves.astype(np.float64), CURVE_DECIMALS).tolist()
