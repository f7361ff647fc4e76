"""One cell at one distance: train it with many seeds, test it, look at its gradient."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

import seqmodels as sm
from seqmodels.analysis.gradient_flow import state_gradient_norms
from seqmodels.data.tasks import Batch, Task, accuracy
from seqmodels.models.readout import Readout, parameter_count, readout
from seqmodels.training.losses import cross_entropy, squared_error
from seqmodels.training.steps import TrainState, adam, make_train_steps, over_seeds, start

CELLS = ("rnn", "rnn_relu", "gru", "gru_after", "lstm")
INITIALISATIONS = ("standard", "memory")
GRADIENT_SEQUENCES = 64


class Settings(NamedTuple):
    """How to train and test; every field is a flag of `experiments.long_context`.

    `initialisation` "standard": orthogonal recurrent matrices, forget bias 1 in the LSTM.
    "memory": what each cell's literature advises for long lags: identity recurrent matrix in the
    RNN, chrono biases up to the length of the sequence in LSTM and GRU.
    """

    hidden: int
    embedding: int
    batch: int
    steps: int
    eval_every: int
    learning_rate: float
    clip_norm: float
    warmup: int
    initialisation: str
    stop_at: float
    patience: int
    test_sequences: int


class Measurement(NamedTuple):
    """What was measured of one cell at one distance; lists have one entry a seed.

    accuracy and loss are of the test split, validation_accuracy of the validation split at the end
    of training. gradient_initial and gradient_trained are ratios: the norm of d score / d state at
    the step after the clue, over the same at the last step, where the score is the output of the
    right answer. diverged: whether the last training loss was not finite.
    """

    cell: str
    distance: int
    parameters: int
    steps: int
    seconds: float
    accuracy: list[float]
    loss: list[float]
    validation_accuracy: list[float]
    gradient_initial: list[float]
    gradient_trained: list[float]
    diverged: list[bool]


class Round(NamedTuple):
    """Metrics of the steps between two looks: loss, grad_norm, validation_accuracy, all (S,)."""

    loss: np.ndarray
    grad_norm: np.ndarray
    validation_accuracy: np.ndarray


def build_cell(name: str, input_size: int, hidden: int, num_steps: int, memory: bool) -> sm.Cell:
    """Returns the cell of that name, initialised for long memories or in the standard way."""
    chrono = float(max(num_steps, 3)) if memory else None
    recurrent = sm.initializers.identity() if memory else sm.initializers.orthogonal
    if name in ("rnn", "rnn_relu"):
        activation = "relu" if name == "rnn_relu" else "tanh"
        return sm.rnn(input_size, hidden, activation=activation, w_h_init=recurrent)
    if name in ("gru", "gru_after"):
        return sm.gru(input_size, hidden, reset_after=name == "gru_after", chrono=chrono)
    return sm.lstm(input_size, hidden, chrono=chrono)


class Prepared(NamedTuple):
    """Compiled functions of one cell at one distance, for all seeds at once.

    begin: keys -> TrainState. look: TrainState -> (TrainState, loss, grad_norm,
    validation_accuracy) after `settings.eval_every` steps. examine: (first params, last params,
    keys) -> (loss, accuracy, gradient ratios (S, 2)) on the test split.
    """

    cell: str
    distance: int
    settings: Settings
    begin: Callable[..., Any]
    look: Callable[..., Any]
    examine: Callable[..., Any]


def prepare(
    cell_name: str, distance: int, task: Task, settings: Settings, mesh: Mesh, num_seeds: int
) -> Prepared:
    """Compiles what `measure` runs; it may do so in a thread while another cell is trained.

    Args:
      cell_name: one of `CELLS`.
      distance: for the record; `task` is made for it.
      task: the task.
      settings: how to train and test.
      mesh: one axis; its size divides `num_seeds`.
      num_seeds: S.

    Returns:
      `Prepared`.
    """
    input_size = task.input_size or settings.embedding
    memory = settings.initialisation == "memory"
    cell = build_cell(cell_name, input_size, settings.hidden, task.num_steps, memory)
    model = readout(
        cell,
        hidden_size=settings.hidden,
        output_size=task.output_size,
        vocabulary_size=task.vocabulary_size,
        embedding_size=settings.embedding if task.vocabulary_size else None,
    )
    optimizer = adam(settings.learning_rate, settings.clip_norm, settings.warmup)

    def train_loss(params: Any, key: jax.Array) -> jax.Array:
        return _evaluate(model, task, params, task.sample(key, settings.batch, "train"))[0]

    train = make_train_steps(train_loss, optimizer, settings.eval_every)

    def begin(key: jax.Array) -> TrainState:
        return start(model.init, optimizer, key)

    def look(state: TrainState) -> Any:
        state, metrics = train(state)
        key = jax.random.fold_in(state.key, 2**31 - 1)  # always the same validation sequences
        batch = task.sample(key, settings.test_sequences // 4, "validation")
        _, validation = _evaluate(model, task, state.params, batch)
        return state, jnp.mean(metrics.loss), jnp.mean(metrics.grad_norm), validation

    def examine(first: Any, last: Any, key: jax.Array) -> Any:
        batch = task.sample(jax.random.fold_in(key, 1), settings.test_sequences, "test")
        loss, right = _evaluate(model, task, last, batch)
        few = Batch(*(array[:, :GRADIENT_SEQUENCES] for array in batch))
        both = jax.tree.map(lambda a, b: jnp.stack([a, b]), first, last)
        ratios = jax.lax.map(lambda params: _gradient_ratio(cell, model, task, params, few), both)
        return loss, right, ratios

    keys = jax.eval_shape(_keys, jax.ShapeDtypeStruct((num_seeds,), jnp.uint32))
    state = jax.eval_shape(jax.vmap(begin), keys)
    return Prepared(
        cell=cell_name,
        distance=distance,
        settings=settings,
        begin=over_seeds(begin, mesh).lower(keys).compile(),
        look=over_seeds(look, mesh).lower(state).compile(),
        examine=over_seeds(examine, mesh).lower(state.params, state.params, keys).compile(),
    )


def measure(
    prepared: Prepared, seeds: list[int], watch: Callable[[int, Round], None]
) -> Measurement:
    """Trains and tests one cell at one distance.

    Training stops after `settings.steps`, or when the validation accuracy of every seed has been at
    least `settings.stop_at` at `settings.patience` looks in a row.

    Args:
      prepared: what `prepare` gave.
      seeds: S seeds; parameters and data of a run depend on its seed alone.
      watch: called with the steps taken and a `Round` at every look.

    Returns:
      A `Measurement`, with 0 in place of the seconds, which the caller knows.
    """
    settings = prepared.settings
    keys = _keys(jnp.asarray(seeds, jnp.uint32))
    state = prepared.begin(keys)
    first_params = state.params
    steps = good_looks = 0
    while steps < settings.steps and good_looks < settings.patience:
        state, *looked = prepared.look(state)
        seen = Round(*map(np.asarray, looked))
        steps += settings.eval_every
        good = seen.validation_accuracy.min() >= settings.stop_at
        good_looks = good_looks + 1 if good else 0
        watch(steps, seen)
    tested = prepared.examine(first_params, state.params, keys)
    loss, right, ratios = map(np.asarray, tested)
    return Measurement(
        cell=prepared.cell,
        distance=prepared.distance,
        parameters=parameter_count(first_params) // len(seeds),
        steps=steps,
        seconds=0.0,
        accuracy=right.tolist(),
        loss=loss.tolist(),
        validation_accuracy=seen.validation_accuracy.tolist(),
        gradient_initial=ratios[:, 0].tolist(),
        gradient_trained=ratios[:, 1].tolist(),
        diverged=(~np.isfinite(seen.loss)).tolist(),
    )


def _keys(seeds: jax.Array) -> jax.Array:
    return jax.vmap(jax.random.key)(seeds)


def _evaluate(model: Readout, task: Task, params: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Returns (loss, accuracy) on a batch."""
    outputs = model.apply(params, batch.inputs, last=task.num_targets)
    loss = cross_entropy if task.tolerance is None else squared_error
    return loss(outputs, batch.targets), accuracy(task, outputs, batch.targets)


def _gradient_ratio(
    cell: sm.Cell, model: Readout, task: Task, params: Any, batch: Batch
) -> jax.Array:
    """Returns how much of the gradient at the last step is left at the step after the clue."""

    def score(ys: jax.Array) -> jax.Array:
        outputs = model.read(params, ys[-1])
        if task.tolerance is not None:
            return jnp.sum(outputs)
        return jnp.sum(jnp.take_along_axis(outputs, batch.targets[-1][:, None], axis=-1))

    norms = state_gradient_norms(cell, params.cell, model.embed(params, batch.inputs), score)
    return jnp.mean(norms[task.far_step + 1]) / jnp.mean(norms[-1])
