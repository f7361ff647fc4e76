"""The parity study: strings of bits, models, baseline, table."""

from typing import Any

import jax
import jax.numpy as jnp
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
from seqmodels.training.watch import Reading

STRINGS = 4096
WATCHED = 64  # validation strings for the option watch


def run(config: Config, run_dir: str | None = None, *, overwrite: bool = False) -> dict[str, Any]:
    """Trains every cell, prints the table, and returns results.json; see `runner.run`."""
    return runner.run(PROGRAM, config, build, run_dir=run_dir, overwrite=overwrite)


def strings(length: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns random bits, float32 (T, N, 1), and the parity of all so far, int32 (T, N)."""
    bits = np.random.default_rng(seed).integers(0, 2, (length, STRINGS))
    return bits[..., None].astype(np.float32), (np.cumsum(bits, axis=0) % 2).astype(np.int32)


def trainings(config: Config) -> list[jobs.Training]:
    """Returns the training of every cell."""
    rates = config.training.learning_rates(config.cells, tuple(CELLS))
    precision = config.training.precision
    batch, fit = config.training.batch, config.training.fit(config.saving)
    train, validation = strings(config.length, 0), strings(config.length, 1)
    few = tuple(rows[:, :WATCHED] for rows in validation)

    def training(name: str) -> jobs.Training:
        cell = CELLS[name](1, config.hidden, dtype=precision)
        model = sequence_model(cell, hidden_size=config.hidden, output_size=2, dtype=precision)

        def loss(params: Any, rows: Any, key: jax.Array, carry: Any) -> Loss:
            bits, parity = rows
            nll = cross_entropy(model.apply(params, bits, last=len(bits)), parity)
            return Loss(nll * parity.size, parity.size, carry=carry)

        @jax.jit
        def correct(params: Any, bits: jax.Array, parity: jax.Array) -> jax.Array:
            return (model.apply(params, bits)[-1].argmax(-1) == parity[-1]).mean()

        def read(params: Any, rows: Any) -> Reading:
            bits, parity = rows

            def score(ys: jax.Array) -> jax.Array:
                right = jax.nn.one_hot(parity[-1], 2)
                return jnp.sum(model.read(params, ys[-1]) * right)

            return Reading(params.cell, bits, score=score)

        about = {"cell": name, "hidden": config.hidden, "precision": precision}
        return jobs.Training(
            name=name,
            init=model.init,
            loss=loss,
            batches=lambda seed, process, count: shuffled(
                train, batch, seed=seed, axis=1, process=process, num_processes=count
            ),
            evaluate=lambda params: {"validation_accuracy": float(correct(params, *validation))},
            test=lambda seed, params: {
                f"accuracy_{n}": float(correct(params, *strings(n, 2))) for n in config.lengths
            },
            save=lambda folder, seed, params: model_files.save(folder, PROGRAM, about, params),
            optimizer=config.training.optimizer(rates[name]),
            fit=fit._replace(best="validation_accuracy", best_mode="max"),
            watch=config.training.watching(cell, read, lambda: few),
        )

    return [training(name) for name in config.cells]


def build(config: Config) -> Study:
    """Returns the study that a configuration describes; the baseline answers with the last bit."""
    columns = {f"accuracy_{n}": (f"{n} bits, %", report.percent) for n in config.lengths}
    tests = {f"accuracy_{n}": strings(n, 2) for n in config.lengths}
    last_bit = {name: float(np.mean(x[-1, :, 0] == y[-1])) for name, (x, y) in tests.items()}
    return jobs.study(
        trainings(config),
        config.training.all_seeds,
        report=lambda results, _: report.show(report.table(results, columns)),
        baselines=lambda: [{"model": "the last bit alone", **last_bit}],
    )
