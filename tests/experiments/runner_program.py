"""A small study for the tests: which of two models sums a sequence?"""

import dataclasses
import functools
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np

import seqmodels as sm
from experiments.common import app, jobs, runner, saved_models
from experiments.common import report as study_report
from experiments.common.config import Options, option, section
from experiments.common.sections import ModelOptions, SavingConfig, TrainingConfig
from seqmodels import model_files
from seqmodels.data.batches import shuffled
from seqmodels.models.sequence_model import sequence_model
from seqmodels.training.parallel import processes
from seqmodels.training.steps import Loss

PROGRAM = "runner_program"
T, N = 5, 64


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of the study."""

    hidden: int = option(4, "Hidden units.", at_least=1)
    kill: str | None = option(
        None, "SIGNAL:MODEL:N: at the N-th evaluation of the model.", decides=False
    )
    stray: float = option(0.0, "Process 1 adds it to parameters and evaluations.", decides=False)
    training: TrainingConfig = section(
        TrainingConfig(
            seeds=2, steps=20, batch=16, learning_rate="0.01", eval_every=5, clip_norm=1.0
        )
    )
    saving: SavingConfig = section(SavingConfig())


def data(seed):
    xs = np.random.default_rng(seed).normal(size=(T, N, 1)).astype(np.float32)
    return xs, xs.sum(0)


def build(config):
    train, validation, test = data(1), data(2), data(3)
    count = {"rnn": 0, "gru": 0}
    stray = config.stray * processes.process_index()

    def training(name):
        cell = {"rnn": sm.rnn, "gru": sm.gru}[name](1, config.hidden)
        model = sequence_model(cell, hidden_size=config.hidden, output_size=1)

        @jax.jit
        def error(params, xs, ys):
            return (model.apply(params, xs)[0] - ys) ** 2

        def loss(params, batch, key, carry):
            return Loss(jnp.sum(error(params, *batch)), batch[1].shape[0], carry=carry)

        def batches(seed, process, num_processes):
            share = {"process": process, "num_processes": num_processes}
            return shuffled(train, config.training.batch, seed=seed, axis=(1, 0), **share)

        def evaluate(params):
            count[name] += 1
            if config.kill and config.kill.split(":")[1:] == [name, str(count[name])]:
                os.kill(os.getpid(), signal.Signals[config.kill.split(":")[0]])
            return {"validation_error": float(jnp.mean(error(params, *validation))) + stray}

        return jobs.Training(
            name=name,
            init=lambda key: jax.tree.map(lambda leaf: leaf + stray, model.init(key)),
            loss=loss,
            batches=batches,
            evaluate=evaluate,
            test=lambda seed, params: {"test_error": float(jnp.mean(error(params, *test)))},
            save=lambda folder, seed, params: model_files.save(
                folder, PROGRAM, {"seed": seed}, params
            ),
            optimizer=config.training.optimizer(0.01),
            fit=config.training.fit(config.saving)._replace(best="validation_error"),
        )

    def baselines():
        return [{"model": "zero", "test_error": float(np.mean(test[1] ** 2))}]

    trainings = [training("rnn"), training("gru")]
    return jobs.study(trainings, config.training.all_seeds, report, baselines)


def report(results, directory):
    columns = {"test_error": ("error", study_report.decimals(3))}
    study_report.show(study_report.table(results, columns))


run = functools.partial(runner.run, PROGRAM, build=build)


def act(actions, config):
    if actions.evaluate:
        for name, seed, found in saved_models.all_models(PROGRAM, actions.model_dir):
            print(name, seed, found.config)
        print("best", saved_models.best(PROGRAM, actions.model_dir).folder.name)
    return actions.evaluate


EXPERIMENT = app.Experiment(
    PROGRAM,
    __doc__,
    Config(),
    lambda config, run_dir, overwrite: run(config, run_dir=run_dir, overwrite=overwrite),
    ModelOptions(),
    act,
)

if __name__ == "__main__":
    app.main(EXPERIMENT)
