"""Where a run is kept, and how it goes on after an end."""

import contextlib
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from absl import flags

from experiments.common import app
from seqmodels.training.checkpointing.checkpoints import Checkpoints
from seqmodels.training.errors import RunError
from seqmodels.training.metrics import MetricsLog
from seqmodels.training.parallel import processes
from seqmodels.training.run_directory import (
    FLAGS,
    METRICS,
    RESULTS,
    TENSORBOARD,
    RunFolder,
    stored_results,
)

# Not part of what a run is, but of how it is kept: --resume repeats them.
KEPT = ("checkpoint_every", "keep_checkpoints", "tensorboard")


def define(checkpoint_every: float = 60.0) -> None:
    """Defines the flags.

    Args:
      checkpoint_every: the default of that flag.
    """
    flags.DEFINE_string(
        "run_dir",
        None,
        "Folder of the run. By default one below runs/ named by the flags, so that the same "
        "command finds it again and goes on with it.",
    )
    flags.DEFINE_string(
        "resume", None, "Folder of an unfinished run to go on with; no other flag is needed."
    )
    flags.DEFINE_bool("overwrite", False, "Replace the run that run_dir holds.")
    flags.DEFINE_float(
        "checkpoint_every",
        checkpoint_every,
        "Seconds between two checkpoints; 0: at every dispatch.",
        lower_bound=0.0,
    )
    flags.DEFINE_integer(
        "keep_checkpoints", 2, "How many checkpoints to keep beside the best.", lower_bound=1
    )
    flags.DEFINE_bool("tensorboard", True, "Write event files for TensorBoard.")
    app.checked(app.not_empty, "run_dir", "resume")
    app.checked(app.no_nan, "checkpoint_every")


def values(names: Iterable[str]) -> dict[str, Any]:
    """Returns the flags that decide a run, as JSON."""
    return {name: _plain(flags.FLAGS[name].value) for name in names}


def _plain(value: Any) -> Any:
    return str(value) if value in (float("inf"), -float("inf")) else value


def folder_of(program: str, names: Iterable[str]) -> pathlib.Path:
    """Returns `--run_dir`, or a folder below runs/ whose name depends on the flags alone.

    Args:
      program: what the folder's name begins with.
      names: flags that decide the run.
    """
    given = flags.FLAGS.run_dir
    if given is not None:
        return pathlib.Path(given)
    text = json.dumps(values(names), sort_keys=True)
    return pathlib.Path("runs") / f"{program}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def adopt(path: pathlib.Path, name: str, default: str) -> None:
    """Sets a flag that has been left at its default to what the unfinished run in a folder has.

    Raises:
      ValueError: as `stored_results`.
    """
    stored = None if flags.FLAGS.overwrite else stored_results(path)
    known = (stored or {}).get("flags", {})
    if flags.FLAGS[name].value == default and name in known and not (stored or {}).get("complete"):
        try:
            setattr(flags.FLAGS, name, known[name])
        except flags.Error:
            raise RunError(
                f"run_dir: {path / RESULTS} has {name} {known[name]!r}, which cannot be; give "
                "another name, or --overwrite"
            ) from None


def open_folder(
    path: pathlib.Path, names: list[str], decides: dict[str, Any], module: str
) -> RunFolder | None:
    """Returns the folder of the run that the flags describe, with its flags.txt.

    Of several processes only process 0 writes, and has one; the others get None.

    Args:
      path: of `folder_of`.
      names: flags that decide the run, resolved.
      decides: all that decides the run: their values, and digests of the files that they name.
      module: what `python -m` runs, for the comment in flags.txt.

    Raises:
      ValueError: as `RunFolder`.
    """
    if not processes.is_main():
        return None
    folder = RunFolder(path, overwrite=flags.FLAGS.overwrite, settings=decides)
    folder.write_text(
        FLAGS, app.write_flags([*names, *KEPT], f"python -m {module} --flagfile=THIS")
    )
    return folder


@contextlib.contextmanager
def open_log(folder: RunFolder | None) -> Iterator[MetricsLog | None]:
    """Opens metrics.jsonl of a run; None where another process writes."""
    if folder is None:
        yield None
        return
    with MetricsLog(folder.path / METRICS) as log:
        yield log


def events_folder(folder: RunFolder | None, name: str) -> pathlib.Path | None:
    """Returns where the event files of a training of that name go; None for none."""
    if folder is None or not flags.FLAGS.tensorboard:
        return None
    return folder.path / TENSORBOARD / name


def open_checkpoints(
    path: pathlib.Path, settings: dict[str, Any], report: Callable[[str], None]
) -> Checkpoints:
    """Returns the checkpoints of one training; only those of process 0 write.

    Args:
      path: their folder.
      settings: all that decides the run.
      report: takes a line about a damaged one.
    """
    return Checkpoints(
        path,
        keep=flags.FLAGS.keep_checkpoints,
        settings=settings,
        report=report,
        writes=processes.is_main(),
    )
