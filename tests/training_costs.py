"""Costs of the training library: the loop compared with the bare step, checkpoints, padding.

    python tests/training_costs.py

Times are medians, interleaved where they are compared; run it on a machine that does nothing else.
"""

import pathlib
import statistics
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

import seqmodels as sm
from seqmodels.data.batches import shuffled
from seqmodels.data.buckets import bucketed
from seqmodels.training.checkpointing.checkpoints import Checkpoints
from seqmodels.training.fit import fit
from seqmodels.training.metrics import MetricsLog
from seqmodels.training.optimizers import OptimizerSettings, make_optimizer
from seqmodels.training.prefetch import prefetch_dispatches
from seqmodels.training.settings import FitSettings
from seqmodels.training.state import create_train_state
from seqmodels.training.steps import Loss, make_train_steps

T, B, D, H = 100, 16, 32, 64
STEPS = 1500
ROUNDS = 5


def seconds(function):
    """Returns how long a call takes."""
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def loop(each, checkpoint_every):
    """Prints the time of a step in `fit` and of the step by itself."""
    cell = sm.lstm(D, H)
    optimizer = make_optimizer(OptimizerSettings(1e-3, steps=STEPS, clip_norm=1.0))

    def loss(params, batch, key, carry):
        del key
        return Loss(jnp.mean(sm.unroll(cell, params, batch)[1] ** 2), carry=carry)

    train = jax.jit(make_train_steps(loss, optimizer, each, batch_axes=1), donate_argnums=0)
    series = np.random.default_rng(0).normal(size=(T, 256, D)).astype(np.float32)
    data = shuffled(series, B, seed=0, axis=1)
    fixed = jax.device_put(np.stack([data.at(step) for step in range(each)]))

    def bare():
        state = create_train_state(cell.init, optimizer, jax.random.key(0))
        for _ in range(STEPS // each):
            state, metrics = train(state, fixed)
        jax.block_until_ready((state, metrics))

    def whole():
        settings = FitSettings(STEPS, each, log_every=20, checkpoint_every=checkpoint_every)
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            with (
                Checkpoints(folder / "checkpoints") as checkpoints,
                MetricsLog(folder / "metrics.jsonl") as log,
            ):
                fit(
                    create_train_state(cell.init, optimizer, jax.random.key(0)), train, settings,
                    batches=prefetch_dispatches(data.at, each), checkpoints=checkpoints, log=log,
                    tensorboard=folder / "tensorboard",
                )  # fmt: skip

    whole()  # compiles, and imports what saves
    pairs = [(seconds(bare), seconds(whole)) for _ in range(ROUNDS)]
    by_itself, in_fit = (
        1e3 * statistics.median(times) / STEPS for times in zip(*pairs, strict=True)
    )
    print(
        f"{each} steps a dispatch, a checkpoint every {checkpoint_every} s and at the end: "
        f"{by_itself:.2f} ms a step by itself, {in_fit:.2f} in fit, "
        f"{100 * (in_fit / by_itself - 1):.1f} % more"
    )


def checkpoint(numbers):
    """Prints what saving a state of so many float32 numbers costs."""
    state = {f"w{n}": jnp.ones(numbers // 16) for n in range(16)}
    blocked, total, restored = [], [], []
    with tempfile.TemporaryDirectory() as folder, Checkpoints(folder) as checkpoints:
        for step in range(11):
            begun = time.perf_counter()
            checkpoints.save(step, state, {})
            blocked.append(time.perf_counter() - begun)
            checkpoints.wait()
            total.append(time.perf_counter() - begun)
            restored.append(seconds(lambda: checkpoints.restore(state)))
    # The first imports Orbax.
    times = [1e3 * statistics.median(values[1:]) for values in (blocked, total, restored)]
    print(
        f"checkpoint of {4e-6 * numbers:.1f} MB: {times[0]:.1f} ms blocked, {times[1]:.0f} in all, "
        f"{times[2]:.0f} to restore"
    )


def padding():
    """Prints the share of padding, by length and shuffled."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(3.5, 1.0, 2000).astype(int), 1, 500)
    sequences = [np.zeros((length, 1), np.float32) for length in lengths]
    order = rng.permutation(2000).reshape(-1, 20)
    plain = 1 - lengths.sum() / (lengths[order].max(1) * 20).sum()
    longest = 1 - lengths.mean() / 500
    for boundaries in (8, 16):
        share = bucketed(sequences, batch_size=20, seed=0, boundaries=boundaries).padding
        print(
            f"padding, 2,000 log-normal lengths up to 500, batches of 20: {share:.3f} in "
            f"{boundaries} buckets; {plain:.3f} shuffled and padded to the longest of a batch, "
            f"{longest:.3f} to 500"
        )


if __name__ == "__main__":
    loop(1, float("inf"))
    loop(10, float("inf"))
    loop(1, 1.0)
    checkpoint(50_000)
    checkpoint(12_500_000)
    padding()
