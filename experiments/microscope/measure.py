"""Measurements of the microscope: traces, answers by word, gradients, memory horizons."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import seqmodels as sm
from experiments.long_context.texts import Text
from experiments.microscope.models import Anatomy, Collection, Model
from seqmodels.analysis import gate_summaries, gates
from seqmodels.analysis.gates import Trace
from seqmodels.analysis.log_gradients import log_state_gradient_norms
from seqmodels.combinators.bidirectional import Bidirectional
from seqmodels.tasks.task import Batch, Task, accuracy

SEQUENCES = 64  # for gradients and the statistics of units
CELL_STEPS = 2**20  # time steps times sequences of one call
KEY = 20_000  # seed of fresh sequences, which neither training nor test has drawn


class Units(NamedTuple):
    """Statistics of the units of a model, or of one direction of it; (H,) each.

    Attributes:
      time_constant: -1 / mean(log retention), in steps; None for a cell that has no such gate.
      half_life: steps in which a value halves; None likewise.
      saturation: (share below, share above) by gate or candidate, see `gate_summaries.saturation`.
      order: the units from the longest time constant to the shortest.
    """

    time_constant: np.ndarray | None
    half_life: np.ndarray | None
    saturation: dict[str, tuple[np.ndarray, np.ndarray]]
    order: np.ndarray


class Measured(NamedTuple):
    """The measurements of one model.

    Attributes:
      model: the model.
      traces: the traces of the text, by direction ("" for the only one): name -> (T, H), without an
        axis of sequences.
      retained: by direction, the retention gate (T, H) on the text; None without one.
      answers: (T, C), after each word: probabilities, or the number.
      gradient: (N,), log10 of the norm of d score / d state at each distance before the last step,
        over the norm at the last step. None for a cell that cannot take one step, and if
        the norm at the last step is zero.
      units: statistics of the units by direction.
      horizon: accuracy on fresh sequences at each distance (D,); None without a task.
    """

    model: Model
    traces: dict[str, dict[str, np.ndarray]]
    retained: dict[str, np.ndarray | None]
    answers: np.ndarray
    gradient: np.ndarray | None
    units: dict[str, Units]
    horizon: np.ndarray | None


class Fresh(NamedTuple):
    """Fresh sequences at several distances, as one batch.

    Attributes:
      tasks: the task at each distance.
      batches: (T, B, ...) and targets at each.
      inputs: all of them, filled behind to the same length, (T, D B, ...).
      lengths: int32 (D B,).
    """

    tasks: Sequence[Task]
    batches: Sequence[Batch]
    inputs: np.ndarray
    lengths: np.ndarray


def fresh_sequences(collection: Collection, distances: Sequence[int], size: int) -> Fresh | None:
    """Returns fresh sequences of the test split at every distance; None where there is no task."""
    if collection.task_at is None:
        return None
    tasks = [collection.task_at(distance) for distance in distances]
    batches = [
        jax.tree.map(np.asarray, task.sample(jax.random.key(KEY + number), size, "test"))
        for number, task in enumerate(tasks)
    ]
    longest = max(len(batch.inputs) for batch in batches)

    def filled(inputs: np.ndarray) -> np.ndarray:
        behind = [(0, longest - len(inputs))] + [(0, 0)] * (inputs.ndim - 1)
        return np.pad(inputs, behind)

    lengths = np.repeat([len(batch.inputs) for batch in batches], size).astype(np.int32)
    inputs = np.concatenate([filled(batch.inputs) for batch in batches], axis=1)
    return Fresh(tasks, batches, inputs, lengths)


def measure(collection: Collection, text: Text, fresh: Fresh | None, probe: Any) -> list[Measured]:
    """Measures every model.

    Args:
      collection: the models.
      text: the text that is shown.
      fresh: the result of `fresh_sequences`, for the horizon.
      probe: inputs (T, B, ...) for gradients and the statistics of units.
    """
    return [_measured(collection, model, text, fresh, probe) for model in collection.models]


def probe_inputs(collection: Collection, text: Text) -> np.ndarray:
    """Returns fresh sequences at the longest distance of the models; without a task the text."""
    if collection.task_at is None:
        return text.inputs
    longest = max(model.distance or 0 for model in collection.models)
    sampled = collection.task_at(longest).sample(jax.random.key(KEY - 1), SEQUENCES, "test")
    return np.asarray(sampled.inputs)


def _measured(
    collection: Collection, model: Model, text: Text, fresh: Fresh | None, probe: Any
) -> Measured:
    outputs = _by_word(model.anatomy, model.params, text.inputs)
    answers = jax.nn.softmax(outputs) if collection.classes else outputs + collection.centre
    on_text = _directions(_trace(model.anatomy, model.params, text.inputs))
    on_probe = _directions(_trace(model.anatomy, model.params, probe))
    horizon = None
    if fresh is not None:
        found = _outputs(model.anatomy, model.params, fresh.inputs, fresh.lengths)
        parts = np.split(found, len(fresh.tasks))
        horizon = np.array(
            [
                accuracy(task, jnp.asarray(part[None]), batch.targets)
                for task, batch, part in zip(fresh.tasks, fresh.batches, parts, strict=True)
            ]
        )
    gradient = None
    if not isinstance(model.params.cell, Bidirectional):
        relative = np.asarray(_gradient(model.anatomy, model.params, probe))
        gradient = relative if np.isfinite(relative[0]) else None
    return Measured(
        model=model,
        traces={
            name: {gate: np.asarray(values)[:, 0] for gate, values in trace.named.items()}
            for name, trace in on_text.items()
        },
        retained={
            name: None if trace.retention is None else np.asarray(trace.retention)[:, 0]
            for name, trace in on_text.items()
        },
        answers=np.asarray(answers),
        gradient=gradient,
        units={name: _units(trace) for name, trace in on_probe.items()},
        horizon=horizon,
    )


def _directions(trace: Any) -> dict[str, Trace]:
    """Returns the traces of a cell by direction, "" for the only one."""
    if isinstance(trace, Bidirectional):
        return {"forward": trace.forward, "backward": trace.backward}
    return {"": trace}


def _units(trace: Trace) -> Units:
    saturation = {
        name: (np.asarray(found.below), np.asarray(found.above))
        for name, found in gate_summaries.saturation(trace).items()
    }
    if trace.retention is None:
        # Without a retention gate, units whose state changes least from step to step come first.
        state = np.asarray(next(iter(trace.states.values())))
        change = np.nanmean(np.abs(np.diff(state, axis=0)), axis=(0, 1))
        return Units(None, None, saturation, np.argsort(change, kind="stable"))
    memory = gate_summaries.memory(trace)
    constant = np.asarray(memory.time_constant)
    order = np.argsort(-constant, kind="stable")
    return Units(constant, np.asarray(memory.half_life), saturation, order)


@functools.partial(jax.jit, static_argnums=0)
def _trace(anatomy: Anatomy, params: Any, inputs: Any) -> Any:
    return gates.trace(anatomy.cell, params.cell, anatomy.embed(params, inputs))


def _outputs(anatomy: Anatomy, params: Any, inputs: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Returns the outputs (B, C) of sequences (T, B, ...), at most `CELL_STEPS` steps a call."""
    size = min(len(lengths), max(1, CELL_STEPS // len(inputs)))
    found = []
    for first in range(0, len(lengths), size):
        # The last sequence fills the last call, so that all have one shape.
        rows = np.minimum(np.arange(first, first + size), len(lengths) - 1)
        found.append(np.asarray(_run(anatomy, params, inputs[:, rows], lengths[rows])))
    return np.concatenate(found)[: len(lengths)]


@functools.partial(jax.jit, static_argnums=0)
def _run(anatomy: Anatomy, params: Any, inputs: Any, lengths: Any) -> jax.Array:
    xs = anatomy.embed(params, inputs)
    _, ys = sm.unroll(anatomy.cell, params.cell, xs, lengths=lengths)
    return anatomy.read(params, xs, ys, lengths)


def _by_word(anatomy: Anatomy, params: Any, inputs: np.ndarray) -> np.ndarray:
    """Returns the outputs (T, C) after the first word, the first two, and so on."""
    repeated = np.broadcast_to(inputs, (len(inputs), len(inputs), *inputs.shape[2:]))
    lengths = np.arange(1, len(inputs) + 1, dtype=np.int32)
    return _outputs(anatomy, params, repeated, lengths)


@functools.partial(jax.jit, static_argnums=0)
def _gradient(anatomy: Anatomy, params: Any, inputs: Any) -> jax.Array:
    """Returns log10 of the gradient of the answer by distance, over that at distance 0.

    It is not finite at distance 0 where the gradient there is zero, as of a dead layer of ReLUs.
    """
    xs = anatomy.embed(params, inputs)
    lengths = jnp.full(inputs.shape[1:2], len(inputs), jnp.int32)

    def score(ys: jax.Array) -> jax.Array:
        outputs = anatomy.read(params, xs, ys, lengths)
        # Of the answer that the model gives: the largest output, or the number.
        return jnp.sum(jnp.max(outputs, axis=-1))

    logs = log_state_gradient_norms(anatomy.cell, params.cell, xs, score)
    means = jax.nn.logsumexp(logs, axis=1)[::-1]
    return (means - means[0]) / np.log(10)
