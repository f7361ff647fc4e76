"""Folders of reports: replaced as a whole, never mixed with other files."""

import contextlib
import os
import pathlib
from collections.abc import Iterator, Sequence

from seqmodels.training.errors import RunError
from seqmodels.training.files import cannot_be_written
from seqmodels.training.ownership import Ownership


@contextlib.contextmanager
def report_folder(
    path: str | os.PathLike[str], *, program: str, files: Sequence[str]
) -> Iterator[pathlib.Path]:
    """Creates the folder of a report and records the files written into it.

    The files of an earlier report of the program are removed first; all others stay.

    Args:
      path: the folder.
      program: the name of the program.
      files: names of the files that it may write.

    Raises:
      RunError: if there are files of these names that a report of the program did not write, or the
        folder is that of another program.
      OSError: if it cannot be written, in one line.
    """
    path = pathlib.Path(path)
    before = Ownership.read(path)
    if before is not None and before.program != program:
        raise RunError(f"run_dir: {path} holds a run of {before.program}; use another directory")
    mark = before or Ownership(path, program, files)
    mark.adopt(files)
    foreign = mark.foreign()
    if foreign:
        raise RunError(mark.refusal(foreign[0]))
    with cannot_be_written(str(path)):
        path.mkdir(parents=True, exist_ok=True)
        mark.remove()
        mark = Ownership(path, program, files)
        mark.save()
    for name in files:
        mark.claim(name)
    try:
        yield path
    finally:
        mark.settle()
