"""A small study for the tests: which of two models sums a sequence?"""

import os
import pathlib
import signal

import jax.numpy as jnp
import numpy as np
from absl import flags

import seqmodels as sm
from experiments.common import app, hosts, runner, saved_models, training_flags
from experiments.common import report as study_report
from seqmodels import model_files
from seqmodels.data.batches import shuffled
from seqmodels.models.sequence_model import sequence_model
from seqmodels.training.steps import Loss

KILL = flags.DEFINE_string("kill", None, "SIGNAL:MODEL:N: at the N-th evaluation of the model.")
HIDDEN = flags.DEFINE_integer("hidden", 4, "Hidden units.")
T, N = 5, 64


def data(seed):
    xs = np.random.default_rng(seed).normal(size=(T, N, 1)).astype(np.float32)
    return xs, xs.sum(0)


def build():
    train, validation, test = data(1), data(2), data(3)
    count = {"rnn": 0, "gru": 0}

    def training(name):
        cell = {"rnn": sm.rnn, "gru": sm.gru}[name](1, HIDDEN.value)
        model = sequence_model(cell, hidden_size=HIDDEN.value, output_size=1)

        def error(params, xs, ys):
            return (model.apply(params, xs)[0] - ys) ** 2

        def loss(params, batch, key, carry):
            return Loss(jnp.sum(error(params, *batch)), batch[1].shape[0], carry=carry)

        def evaluate(params):
            count[name] += 1
            if KILL.value and KILL.value.split(":")[1:] == [name, str(count[name])]:
                os.kill(os.getpid(), signal.Signals[KILL.value.split(":")[0]])
            return {"validation_error": float(jnp.mean(error(params, *validation)))}

        def finish(seed, params, folder):
            model_files.save(folder, "runner_program", {"seed": seed}, params)
            return {"test_error": float(jnp.mean(error(params, *test)))}

        return runner.Training(
            name=name,
            init=model.init,
            loss=loss,
            batches=lambda seed: shuffled(train, 16, seed=seed, axis=(1, 0)),
            evaluate=evaluate,
            finish=finish,
            optimizer=training_flags.optimizer_settings(0.01),
            fit=training_flags.fit_settings()._replace(best="validation_error"),
        )

    def baselines():
        return [{"model": "zero", "test_error": float(np.mean(test[1] ** 2))}]

    return runner.Study([training("rnn"), training("gru")], baselines)


def report(results, folder):
    columns = {"test_error": ("error", study_report.decimals(3))}
    study_report.show(study_report.table(results, columns))


def main():
    if flags.FLAGS.evaluate:
        for name, seed, found in saved_models.every("runner_program"):
            print(name, seed, found.config)
        print("best", saved_models.best("runner_program").folder.name)
        return 0
    return runner.run("runner_program", ["hidden"], build, report)


if __name__ == "__main__":
    runner.define(seeds=2, steps=20, batch=16, learning_rate="0.01", eval_every=5, clip_norm=1.0)
    saved_models.define()
    pathlib.Path("runs").mkdir(exist_ok=True)
    app.run(hosts.supervised(main))
