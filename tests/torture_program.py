"""`experiments.long_context`, which says what it does at any time, for `torture.py`.

It writes the name of what begins, a line each, into the pipe whose descriptor is in the environment
variable TORTURE_PIPE.
"""

import contextlib
import functools
import os

_pipe = int(os.environ["TORTURE_PIPE"])
_stack = ["imports"]


def _say():
    os.write(_pipe, f"{_stack[-1]}\n".encode())


@contextlib.contextmanager
def _inside(name):
    _stack.append(name)
    _say()
    try:
        yield
    finally:
        _stack.pop()
        _say()


def _saying(name, function):
    """Returns a function that says its name while it runs."""

    @functools.wraps(function)
    def run(*arguments, **more):
        with _inside(name):
            return function(*arguments, **more)

    return run


def main():
    """Runs the command."""
    _say()
    import jax

    from experiments.common import app, seeds_at_once
    from experiments.common.trainer import Trainer
    from experiments.long_context import study
    from experiments.long_context.__main__ import EXPERIMENT

    build, start, train = study.build, seeds_at_once.start, Trainer._train

    def build_and_wrap(config):
        with _inside("data loading"):
            built = build(config)
        return built._replace(report=_saying("report", built.report))

    def start_and_wrap(*arguments):
        program = start(*arguments)

        def evaluate(state):
            return jax.block_until_ready(program.evaluate(state))

        return program._replace(evaluate=_saying("evaluation", evaluate))

    def train_job(trainer, job, *more):
        with _inside(f"training {job.name}"):
            train(trainer, job, *more)

    study.build, seeds_at_once.start = build_and_wrap, start_and_wrap
    Trainer._train = train_job
    seeds_at_once.test = _saying("test", seeds_at_once.test)
    _stack[0] = "between"
    _say()
    app.main(EXPERIMENT)


if __name__ == "__main__":
    main()
