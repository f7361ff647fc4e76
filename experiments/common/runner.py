"""The common training command: every model of a study with every seed, and how a run goes on."""

import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
from absl import flags

from experiments.common import app, hosts, run_flags, training_flags
from experiments.common.trainer import Study, Training, Work
from seqmodels.training.errors import RunError
from seqmodels.training.interruption import Interrupted, Interruption
from seqmodels.training.nonfinite import NonFiniteError
from seqmodels.training.parallel import processes
from seqmodels.training.settings import check_settings

__all__ = ["NAMES", "Study", "Training", "define", "run"]

# The flags of `define` that decide a run.
NAMES = ("seeds", "first_seed", *training_flags.NAMES, "devices")


def define(*, seeds: int, **defaults: Any) -> None:
    """Defines the flags that every study has.

    Args:
      seeds: the default number of seeds.
      **defaults: of `training_flags.define`.
    """
    flags.DEFINE_integer(
        "seeds", seeds, "How many seeds, each trained apart.", lower_bound=1, upper_bound=4_096
    )
    flags.DEFINE_integer("first_seed", 0, "The first seed.", lower_bound=0, upper_bound=2**31)
    training_flags.define(**defaults)
    run_flags.define()
    hosts.define(
        "CPU cores or accelerators of each process over which the rows of a batch are spread: auto "
        "or a number. A number that does not divide the rows is lowered to one that does."
    )


def run(
    program: str,
    names: Sequence[str],
    build: Callable[[], Study],
    report: Callable[[dict[str, Any], pathlib.Path], None],
    digests: Callable[[], dict[str, str]] = dict,
) -> int:
    """Runs the study that the flags describe, or goes on with it.

    Args:
      program: the module's name below `experiments`.
      names: the flags of its own that decide the run, beside those of `define`.
      build: makes the study, when the flags are resolved.
      report: `report(results, folder)` with what results.json holds: shows the table and writes
        pictures. Also called for what there is after Ctrl-C.
      digests: makes digests of the files that flags name.

    Returns:
      The exit status.

    Raises:
      cli.UserError: for what a user has to mend, in one line.
    """
    decide = [*names, *NAMES]
    try:
        path = run_flags.folder_of(program, decide)
        run_flags.adopt(path, "devices", "auto")
        devices = hosts.start_dividing("batch", decide)
        decides = run_flags.values(decide) | digests()
        folder = run_flags.open_folder(path, decide, decides, f"experiments.{program}")
        study = build()
        for training in study.trainings:
            check_settings(training.fit)
            training.batches(flags.FLAGS.first_seed)
        work = Work(program, study, path, folder, decides, devices)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        if processes.is_lost_peer(error):
            raise
        raise app.UserError(str(error)) from None
    status = 0
    try:
        with Interruption() as interruption:
            try:
                work.do(interruption)
            except Interrupted as interrupted:
                status = interrupted.status
                if folder:
                    done = len(work.results["results"])
                    print(
                        f"interrupted; trained so far: {done}; the same command goes on",
                        file=sys.stderr,
                    )
            if folder and work.results["results"]:
                report(work.results, folder.path)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return hosts.INTERRUPTED
    except (NonFiniteError, RunError, OSError) as error:
        if processes.is_lost_peer(error):
            raise
        raise app.UserError(str(error)) from None
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise app.UserError(f"out of memory: lower the batch or the model's size: {path}") from None
    return status
