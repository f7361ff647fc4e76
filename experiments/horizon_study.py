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

    `initialisation` "standard" is the library's default: orthogonal recurrent matrices, forget bias
    1 in the LSTM, no bias in the GRU. "memory" starts every cell as one that keeps its state: an
    identity recurrent matrix in the RNN (Le, Jaitly, Hinton 2015, there for ReLU), chrono biases up
    to the length of the sequence in LSTM and GRU (Tallec, Ollivier 2018).
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
    stop_after: int
    test_sequences: int


class Measurement(NamedTuple):
    """What was measured of one cell at one distance; lists have one entry a seed.

    steps: training steps taken. seconds: since the measurement before. accuracy and loss are of the
    test split, validation_accuracy of the validation split at the end of training.
    gradient_initial and gradient_trained are ratios: the norm of d score / d state at the step
    after the clue, over the same at the last step, where the score is the output of the right
    answer. diverged: whether the last training loss was not finite.
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


class Metrics(NamedTuple):
    """What is seen every `eval_every` steps, all (S,): means of loss and gradient norm over them.

    steps: taken by each seed so far; a seed that has stopped keeps its last values.
    """

    steps: np.ndarray
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

    init: keys -> TrainState. train: (TrainState, keys, stopped (S,)) -> (TrainState, loss,
    grad_norm, validation_accuracy) after `settings.eval_every` steps; seeds that have stopped keep
    their state. test: (first params, last params, keys) -> (loss, accuracy, ratios (S, 2) of the
    gradient before and after training).
    """

    cell: str
    distance: int
    settings: Settings
    init: Callable[..., Any]
    train: Callable[..., Any]
    test: Callable[..., Any]


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

    some_steps = make_train_steps(train_loss, optimizer, settings.eval_every)

    # Of a seed's key: parameters and training data, validation data, test data.
    def init(key: jax.Array) -> TrainState:
        return start(model.init, optimizer, jax.random.split(key, 3)[0])

    def train(state: TrainState, key: jax.Array, stopped: jax.Array) -> Any:
        new, metrics = some_steps(state)
        new = jax.tree.map(lambda a, b: jnp.where(stopped, a, b), state, new)
        size = task.limited("validation", settings.test_sequences // 4)
        batch = task.sample(jax.random.split(key, 3)[1], size, "validation")
        _, validation = _evaluate(model, task, new.params, batch)
        return new, jnp.mean(metrics.loss), jnp.mean(metrics.grad_norm), validation

    def test(first: Any, last: Any, key: jax.Array) -> Any:
        size = task.limited("test", settings.test_sequences)
        batch = task.sample(jax.random.split(key, 3)[2], size, "test")
        loss, right = _evaluate(model, task, last, batch)
        few = Batch(*(array[:, :GRADIENT_SEQUENCES] for array in batch))
        both = jax.tree.map(lambda a, b: jnp.stack([a, b]), first, last)
        ratios = jax.lax.map(lambda params: _gradient_ratio(cell, model, task, params, few), both)
        return loss, right, ratios

    keys = jax.eval_shape(_keys, jax.ShapeDtypeStruct((num_seeds,), jnp.uint32))
    state = jax.eval_shape(jax.vmap(init), keys)
    stopped = jax.ShapeDtypeStruct((num_seeds,), jnp.bool_)
    return Prepared(
        cell=cell_name,
        distance=distance,
        settings=settings,
        init=over_seeds(init, mesh).lower(keys).compile(),
        train=over_seeds(train, mesh).lower(state, keys, stopped).compile(),
        test=over_seeds(test, mesh).lower(state.params, state.params, keys).compile(),
    )


def measure(
    prepared: Prepared, seeds: list[int], callback: Callable[[Metrics], None]
) -> Measurement:
    """Trains and tests one cell at one distance.

    The training of a seed stops after `settings.steps`, or when its validation accuracy has been at
    least `settings.stop_at` at `settings.stop_after` evaluations in a row. What a seed gives does
    not depend on the other seeds.

    Args:
      prepared: what `prepare` gave.
      seeds: S seeds.
      callback: called with `Metrics` after every evaluation.

    Returns:
      A `Measurement`, with 0 in place of the seconds, which the caller knows.
    """
    settings = prepared.settings
    keys = _keys(jnp.asarray(seeds, jnp.uint32))
    state = prepared.init(keys)
    first_params = state.params
    stopped = np.zeros(len(seeds), bool)
    good = np.zeros(len(seeds), int)
    zeros = np.zeros(len(seeds))
    seen = Metrics(np.zeros(len(seeds), int), zeros, zeros, zeros)
    while not stopped.all():
        state, *trained = prepared.train(state, keys, stopped)
        now = (seen.steps + settings.eval_every, *map(np.asarray, trained))
        seen = Metrics(*(np.where(stopped, a, b) for a, b in zip(seen, now, strict=True)))
        good = np.where(seen.validation_accuracy >= settings.stop_at, good + 1, 0)
        stopped = (seen.steps >= settings.steps) | (good >= settings.stop_after)
        callback(seen)
    loss, right, ratios = map(np.asarray, prepared.test(first_params, state.params, keys))
    return Measurement(
        cell=prepared.cell,
        distance=prepared.distance,
        parameters=parameter_count(first_params) // len(seeds),
        steps=seen.steps.tolist(),
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
