"""The training loop: dispatch, log, evaluate, stop early, save, and resume after a kill."""

import os
import pathlib
import signal
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

import numpy as np

from seqmodels.training.checkpointing.checkpoints import Checkpoints
from seqmodels.training.interruption import Interrupted, Interruption
from seqmodels.training.loop import Inspection, Loop, Progress
from seqmodels.training.metrics import MetricsLog
from seqmodels.training.parallel import processes
from seqmodels.training.settings import FitSettings
from seqmodels.training.state import TrainState
from seqmodels.training.steps import StepMetrics
from seqmodels.training.stopping import Stopping


class FitResult(NamedTuple):
    """Result of one `fit` call.

    Attributes:
      state: the state after the last step.
      progress: the progress at the last record.
      resumed: the step of the checkpoint that was resumed; 0 for a fresh start.
      diverged: () or (S,) bools, whether non-finite updates ended the training (only where such
        updates are skipped).
    """

    state: TrainState
    progress: Progress
    resumed: int
    diverged: np.ndarray


def fit(
    state: TrainState,
    train: Callable[..., tuple[TrainState, StepMetrics]],
    settings: FitSettings,
    *,
    batches: Callable[[int], Iterator[Any]] | None = None,
    evaluate: Callable[[TrainState], dict[str, Any]] | None = None,
    inspection: Inspection | None = None,
    stopping: Stopping | None = None,
    checkpoints: Checkpoints | None = None,
    log: MetricsLog | None = None,
    about: dict[str, Any] | None = None,
    tensorboard: str | os.PathLike[str] | None = None,
    watch: Callable[[Progress], None] | None = None,
    interruption: Interruption | None = None,
) -> FitResult:
    """Trains until the last step, or until every seed has stopped.

    If `checkpoints` hold a checkpoint, training resumes from it. It then ends with the same
    parameters and records, bit for bit, as an uninterrupted run on the same machine and devices.

    Args:
      state: the state before the first step, of one model, or of S seeds with a leading axis S.
      train: `train(state, batches=None) -> (state, StepMetrics)`, compiled, of
        `settings.steps_per_dispatch` steps (`make_train_steps`); it may donate the state.
      settings: `FitSettings`.
      batches: `batches(cursor)` iterates over the arguments of `train` from that step on; None
        where `train` makes its batches.
      evaluate: `evaluate(state) -> values by name`, scalars or (S,).
      inspection: further values for the records, such as those of `make_watch`.
      stopping: a rule over the evaluated and logged values.
      checkpoints: where to save and resume; None for neither.
      log: receives the records.
      about: entries that begin each record.
      tensorboard: folder for event files, which also contain the speed.
      watch: called with the `Progress` at each record.
      interruption: an entered `Interruption`. After its signal, `fit` finishes the dispatch, writes
        a checkpoint and raises `Interrupted`.

    Returns:
      A `FitResult`.

    Raises:
      ValueError: if the settings are inconsistent or name an unknown metric.
      NonFiniteError: as `on_nonfinite` requires; the last checkpoint precedes the failure.
      Interrupted: after a signal.
      RunError: if the checkpoints belong to another run, if all are damaged, or if metrics.jsonl
        has lost lines.
      OSError: if a checkpoint or a record cannot be written; in one line.

    Examples:
      >>> import optax
      >>> from seqmodels.training.state import create_train_state
      >>> from seqmodels.training.steps import Loss, make_train_steps
      >>> optimizer = optax.sgd(0.1)
      >>> loss = lambda params, batch, key, carry: Loss(jnp.sum((params - batch) ** 2))
      >>> state = create_train_state(lambda key: jnp.zeros(3), optimizer, jax.random.key(0))
      >>> train = jax.jit(make_train_steps(loss, optimizer, sample=lambda key: jnp.ones(3)))
      >>> result = fit(state, train, FitSettings(steps=20))
      >>> int(result.state.step), bool(jnp.all(result.state.params > 0.9))
      (20, True)
    """
    events = None if tensorboard is None else pathlib.Path(tensorboard)
    loop = Loop(
        state,
        settings,
        inspection=inspection,
        stopping=stopping,
        checkpoints=checkpoints,
        log=log,
        about=about or {},
        tensorboard=events,
    )
    feed = batches(loop.cursor) if batches is not None and not loop.finished else None
    try:
        while not loop.finished:
            loop.dispatch(train, *([] if feed is None else [_next(feed, loop.step)]))
            signal_number = interruption.signal if interruption else None
            stop, save = processes.agree(signal_number is not None, loop.save_is_due)
            loop.collect(everything=stop or save or loop.record_is_due)
            if loop.record_is_due:
                loop.record(evaluate, watch)
            if stop or save or loop.finished:
                loop.save(wait=stop or loop.finished)
            if stop and not loop.finished:
                # If only another process received the signal, this process ends too.
                raise Interrupted(signal_number or signal.SIGTERM, loop.step)
    finally:
        loop.close()
        if isinstance(feed, Generator):
            feed.close()
    return FitResult(loop.state, loop.progress, loop.resumed, loop.diverged)


def _next(feed: Iterator[Any], step: int) -> Any:
    for batch in feed:
        return batch
    raise ValueError(f"batches: got those of {step} steps, expected more")
