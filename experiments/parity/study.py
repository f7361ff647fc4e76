"""The parity study: strings of bits, models, baseline, table."""

import os
from typing import Any

import jax
import numpy as np

from experiments.common import jobs, report, runner
from experiments.common.trainer import Study
from experiments.parity.config import PROGRAM, Config
from seqmodels import model_files
from seqmodels.cells.catalog import CELLS
from seqmodels.data.batches import shuffled
from seqmodels.models.sequence_model import sequence_model
from seqmodels.training.losses import cross_entropy
from seqmodels.training.steps import Loss

STRINGS = 4096


def run(
    config: Config, run_dir: str | os.PathLike[str] | None = None, *, overwrite: bool = False
) -> dict[str, Any]:
    """Trains every cell, prints the table, and returns results.json; see `runner.run`."""
    return runner.run(PROGRAM, config, build, run_dir=run_dir, overwrite=overwrite)


def strings(length: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns random bits, float32 (T, N, 1), and the parity of all so far, int32 (T, N)."""
    bits = np.random.default_rng(seed).integers(0, 2, (length, STRINGS))
    return bits[..., None].astype(np.float32), (np.cumsum(bits, axis=0) % 2).astype(np.int32)


def build(config: Config) -> Study:
    """Returns the study that a configuration describes."""
    rates = config.training.learning_rates(config.cells, tuple(CELLS))
    train, validation = strings(config.length, 0), strings(config.length, 1)
    tests = {length: strings(length, 2) for length in config.lengths}

    def training(name: str) -> jobs.Training:
        cell = CELLS[name](1, config.hidden)
        model = sequence_model(cell, hidden_size=config.hidden, output_size=2)

        def loss(params: Any, batch: Any, key: jax.Array, carry: Any) -> Loss:
            bits, parity = batch
            count = parity.size
            logits = model.apply(params, bits, last=len(bits))
            return Loss(cross_entropy(logits, parity) * count, count, carry=carry)

        @jax.jit
        def accuracy(params: Any, bits: jax.Array, parity: jax.Array) -> jax.Array:
            return (model.apply(params, bits)[-1].argmax(-1) == parity[-1]).mean()

        about = {"cell": name, "hidden": config.hidden}
        return jobs.Training(
            name=name,
            init=model.init,
            loss=loss,
            batches=lambda seed, process, count: shuffled(
                train, config.training.batch, seed=seed, axis=1, process=process,
                num_processes=count,
            ),
            evaluate=lambda params: {"validation_accuracy": float(accuracy(params, *validation))},
            test=lambda seed, params: {
                f"accuracy_{n}": float(accuracy(params, *test)) for n, test in tests.items()
            },
            save=lambda folder, seed, params: model_files.save(folder, PROGRAM, about, params),
            optimizer=config.training.optimizer(rates[name]),
            fit=config.training.fit(config.saving)._replace(
                best="validation_accuracy", best_mode="max"
            ),
        )  # fmt: skip

    columns = {f"accuracy_{n}": (f"{n} bits, %", report.percent) for n in config.lengths}
    last_bit = {
        f"accuracy_{n}": float(np.mean(x[-1, :, 0] == y[-1])) for n, (x, y) in tests.items()
    }
    return jobs.study(
        [training(name) for name in config.cells],
        config.training.all_seeds,
        report=lambda results, _: report.show(report.table(results, columns)),
        baselines=lambda: [{"model": "the last bit alone", **last_bit}],
    )
