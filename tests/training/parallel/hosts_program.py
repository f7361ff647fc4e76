"""An entry point for the tests of several processes; `--mode` says what it does.

The environment variable SECONDS_TO_WAIT shortens how long a process waits for the others.
"""

import dataclasses
import functools
import json
import os
import signal
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import seqmodels as sm
from experiments.common import app
from experiments.common.config import Options, option
from experiments.common.errors import UserError
from experiments.common.identity import identity
from seqmodels.training.fit import fit
from seqmodels.training.parallel import mesh, processes, transfer
from seqmodels.training.settings import FitSettings
from seqmodels.training.state import create_train_state
from seqmodels.training.steps import Loss, make_train_steps
from seqmodels.training.stopping import reached

MODES = ("train", "stray", "forever", "terminate", "raise", "mistake")
T, B, D, H = 5, 8, 3, 4


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of the program."""

    mode: str = option("train", "What to do.", choices=MODES)
    hidden: int = option(4, "An option that must be the same.")
    devices: str = option("2", "Devices of each process.")


def say(**values):
    print(json.dumps(values), flush=True)


def tell(text):
    print(text, file=sys.stderr, flush=True)


def train(num_devices):
    """The loss of 20 steps of gradient descent; every process reads its own rows alone."""
    cell = sm.lstm(D, H)
    everywhere = mesh.make_mesh(num_devices, "batch")

    def loss(params, xs, lengths):
        return jnp.mean(sm.unroll(cell, params, xs, lengths=lengths)[1] ** 2)

    devices = list(everywhere.devices.flat)
    step = sm.data_parallel(jax.value_and_grad(loss), in_axes=(None, 1, 0), devices=devices)

    @jax.jit
    def update(params, xs, lengths):
        value, gradient = step(params, xs, lengths)
        return jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient), value

    params = mesh.place(cell.init(jax.random.key(0)), everywhere, None)
    rows = B // processes.process_count()
    mine = slice(processes.process_index() * rows, (processes.process_index() + 1) * rows)
    losses = []
    for number in range(20):
        random = np.random.default_rng(number)
        xs = random.normal(size=(T, B, D)).astype(np.float32)
        lengths = random.integers(0, T + 1, B).astype(np.int32)
        batch = transfer.from_local((xs[:, mine], lengths[mine]), everywhere, (1, 0))
        params, value = update(params, *batch)
        losses.append(float(value))
    total = float(sum(np.abs(leaf).sum() for leaf in jax.tree.leaves(transfer.to_host(params))))
    say(losses=losses, total=total, main=processes.is_main(), devices=everywhere.size)


def bits(array):
    return np.ascontiguousarray(array).tobytes().hex()


def values(num_devices):
    """What every helper gives, as text that both processes print."""
    number = processes.process_index()
    everywhere = mesh.make_mesh(num_devices, "batch")
    tree = {
        "odd": np.array([-0.0, np.nan, 1.5, 2.0], np.float32) * (1 if number == 0 else 7),
        "small": jnp.array([1.0, -3.0], jnp.bfloat16) * (number + 1),
        "flag": np.array([number == 0, False]),
        "wide": np.array(2**40 + number, np.int64),
        "none": np.zeros((0, 3), np.float32),
        "key": jax.random.key(number),
        "keys": jax.random.split(jax.random.key(number, impl="rbg"), 3),
    }
    transfer._CHUNK_BYTES = 21  # so that a leaf stands in several pieces
    got = transfer.broadcast(tree)
    # Elsewhere than on process 0 an array may be one that is spread over all, and is not gathered.
    rows = np.arange(8, dtype=np.float32)
    anywhere = transfer.broadcast(rows if number == 0 else mesh.place(0 * rows, everywhere, 0))
    spread = {
        "x": np.arange(8, dtype=np.float32).reshape(2, 4),
        "flag": np.arange(4) % 3 == 0,
        "small": np.asarray(jnp.arange(4, dtype=jnp.bfloat16)),
        "key": jax.random.split(jax.random.key(5), 4),
        "whole": np.float32(3.5),
    }
    axes = {"x": 1, "flag": 0, "small": 0, "key": 0, "whole": None}
    placed = {name: mesh.place(value, everywhere, axes[name]) for name, value in spread.items()}
    again = {name: mesh.place(value, everywhere, None) for name, value in placed.items()}
    there = transfer.to_host({"placed": placed, "again": again})

    def plain(tree):
        def one(leaf):
            is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            name = str(jax.random.key_impl(leaf)) if is_key else str(leaf.dtype)
            data = jax.random.key_data(leaf) if is_key else leaf
            return [name, list(data.shape), bits(data)]

        return jax.tree.map(one, tree)

    try:
        transfer.broadcast({"w": np.zeros(3 + number)})
        mismatch = ""
    except ValueError as error:
        mismatch = str(error)
    say(
        broadcast=plain(got),
        anywhere=anywhere.tolist(),
        placed=plain(there["placed"]),
        again=plain(there["again"]),
        spread=plain(spread),
        json=processes.broadcast_json({"a": [number, 0.1], "text": "é" * (1 + 9 * number)}),
        agree=[
            processes.agree(stop, save)
            for stop, save in [
                (False, False),
                (number == 1, number == 1),
                (number == 0, number == 0),
                (True, True),
            ]
        ],
        local=[len(placed["x"].addressable_shards), jax.device_count(), jax.local_device_count()],
        mismatch=mismatch,
    )


def stray(num_devices):
    """Trains with evaluations that differ in the last digit and would stop one process alone."""
    everywhere = mesh.make_mesh(num_devices, "batch")
    optimizer = optax.sgd(0.1)
    step = make_train_steps(lambda params, rows, key, carry: Loss(jnp.sum(params * rows), 8.0),
                            optimizer, mesh=everywhere)  # fmt: skip
    train = jax.jit(step)
    mine = 8 // processes.process_count()

    def batches(cursor):
        while True:
            yield transfer.from_local((np.ones((1, mine), np.float32),), everywhere, (1,))[0]

    for higher in (0, 1):
        score = 0.5 + 1e-7 * (processes.process_index() == higher)
        fitted = fit(
            mesh.place(
                create_train_state(lambda key: jnp.ones(()), optimizer, jax.random.key(0)),
                everywhere,
                None,
            ),
            train,
            FitSettings(steps=6, log_every=2, eval_every=2, best="score", best_mode="max"),
            batches=batches,
            evaluate=lambda state, score=score: {"score": score},
            stopping=reached("score", 0.5 + 5e-8),
        )
        values = {name: float(value) for name, value in fitted.progress.values.items()}
        say(own=score, values=values, param=float(transfer.to_host(fitted.state.params)))


def steps(num_devices, *, until):
    """Sums over all devices until `until(number)` says to stop."""
    everywhere = mesh.make_mesh(num_devices, "batch")
    total = jax.jit(jnp.sum)
    number = 0
    while True:
        xs = np.ones(4 // processes.process_count(), np.float32)
        float(total(*transfer.from_local((xs,), everywhere, (0,))))
        number += 1
        if number == 3:
            tell(f"process {processes.process_index()} is under way, pid {os.getpid()}")
        stop, _ = processes.agree(until(number), False)
        if stop:
            return number
        time.sleep(0.02)


def run(config):
    """Does what the mode says; returns the exit status."""
    try:
        number = mesh.use_devices(config.devices)  # before what starts the backend
        processes.check_same(identity(config))
    except ValueError as error:
        raise UserError(str(error)) from None
    mode, here = config.mode, processes.process_index()
    if mode == "train":
        train(number)
        values(number)
    elif mode == "stray":
        stray(number)
    elif mode == "forever":
        steps(number, until=lambda _: False)
    elif mode == "terminate":
        steps(number, until=lambda _: bool(seen))
        say(seen=seen)
        return 3
    elif mode == "raise" and here == 1:
        steps(number, until=lambda n: n == 4)
        raise ValueError("mine")
    elif mode == "mistake" and here == 1:
        steps(number, until=lambda n: n == 4)
        raise UserError("run_dir: mine")
    else:
        steps(number, until=lambda n: n == 4)
        steps(number, until=lambda _: False)
    return 0


if __name__ == "__main__":
    seen: list[str] = []
    if "--mode=terminate" in sys.argv:  # before JAX starts what would take the signal away
        signal.signal(signal.SIGTERM, lambda *_: seen.append("SIGTERM"))
    processes.initialize = functools.partial(
        processes.initialize,
        heartbeat_seconds=10,
        initialization_seconds=int(os.environ.get("SECONDS_TO_WAIT", "60")),
    )
    app.main(app.Experiment("hosts_program", __doc__, Config(), run, run_options=None))
