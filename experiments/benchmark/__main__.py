"""Time and memory of this library, torch, Flax, Haiku and Equinox.

Measures every cell under every driver, forward and training, on one device and on all of them. The
same cells of the peers are measured too, and as a limit the same multiply-adds in large matrix
products. Further sections measure single steps, and the shares of products and activations in the
time. --resume=FOLDER resumes an interrupted run.

    python -m experiments.benchmark --flagfile=experiments/benchmark/flagfiles/default.flags
"""

import dataclasses

from experiments.benchmark.config import Config
from experiments.benchmark.study import PROGRAM, run
from experiments.common import app, hosts
from experiments.common.config import option
from experiments.common.sections import RunOptions


@dataclasses.dataclass(frozen=True)
class BenchmarkOptions(RunOptions):
    """Folder of a run, and how it resumes."""

    run_dir: str | None = option(
        None, "Folder of the run; by default a new one below runs/.", path=True
    )


def command(config: Config, run_dir: str | None, *, overwrite: bool) -> int:
    """Runs the benchmark; the exit status is 1 if a measurement failed, 130 after Ctrl-C."""
    try:
        return min(1, len(run(config, run_dir, overwrite=overwrite)["errors"]))
    except KeyboardInterrupt:
        return hosts.INTERRUPTED


EXPERIMENT = app.Experiment(
    PROGRAM, __doc__, Config(), command, run_options=BenchmarkOptions(), hosts=False
)

if __name__ == "__main__":
    app.main(EXPERIMENT)
