"""Checkpoints of a run that may be killed at any moment and resumes exactly."""

import concurrent.futures
import contextlib
import datetime
import importlib.metadata
import operator
import os
import pathlib
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

import jax
import numpy as np

import seqmodels
from seqmodels.training.checkpointing import array_files, array_specs, manifest, step_directories
from seqmodels.training.checkpointing.array_specs import ArraySpec
from seqmodels.training.checkpointing.manifest import DamageError, Manifest
from seqmodels.training.errors import RunError
from seqmodels.training.files import cannot_be_written

CLOCK_TOLERANCE = 300.0
_ARRAYS = "arrays"
_LOG_OFFSET = ".log_offset"


class Restored(NamedTuple):
    """state: as saved, on the host. step: its training step. progress: the loop's own state."""

    state: Any
    step: int
    progress: dict[str, Any]


def print_line(line: str) -> None:
    """Prints a line to standard error."""
    print(line, file=sys.stderr, flush=True)


class Checkpoints:
    """A folder of checkpoints, one atomic folder `<step>` for each.

    Saving copies the state to the host and leaves the rest to a thread. A checkpoint is written
    under another name, with the size and SHA-256 of every file, synced, and then renamed. So the
    newest folder is complete at any moment. `restore` verifies it before use.

    Use it as a context manager, or call `close`: without it the last save may not be finished.

        with Checkpoints(folder, settings={"hidden": 64}) as checkpoints:
            found = checkpoints.restore(jax.eval_shape(start))
            ...
            checkpoints.save(step, state, {"best_loss": 0.25})
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        keep: int = 2,
        settings: dict[str, Any] | None = None,
        report: Callable[[str], None] = print_line,
        writes: bool = True,
    ):
        """Creates the folder and removes incomplete files of a killed process.

        Args:
          folder: where the checkpoints are, or will be.
          keep: how many of the newest are kept, in addition to the best one.
          settings: a JSON object of everything that decides the run; a checkpoint with other
            settings is not resumed.
          report: receives a line about a damaged checkpoint.
          writes: False if another process writes, as in all but one of several processes: then
            `save` does nothing, and nothing on the disk is changed.

        Raises:
          ValueError: if keep is not positive, settings are no JSON object, the folder cannot be
            made, or another process is writing checkpoints into it.
        """
        if keep < 1:
            raise ValueError(f"keep: got {keep}, expected a positive number")
        self.folder = pathlib.Path(os.path.abspath(folder))
        self._shown = pathlib.Path(folder)
        self._keep = keep
        self._settings = manifest.normalize_json_object("settings", settings or {})
        self._report = report
        self._writes = writes
        self._damaged: set[int] = set()
        self._best: dict[int, bool] = {}
        self._pending: concurrent.futures.Future[None] | None = None
        self._writer: concurrent.futures.ThreadPoolExecutor | None = None
        self._closed = False
        self._lock: int | None = None
        if writes:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._lock = step_directories.lock(self.folder)
                step_directories.tidy(self.folder)
            except BlockingIOError:
                raise RunError(
                    f"checkpoints: {self._shown} is being written by another process; wait until "
                    "it ends, or give another folder"
                ) from None
            except OSError as error:
                raise RunError(
                    f"checkpoints: {self._shown} cannot be written: "
                    f"{array_files.plain_reason(error)}"
                ) from None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except OSError as failure:
            if error is None:
                raise
            # The error that ended the run is more important and must not be hidden.
            self._report(str(failure))

    def steps(self) -> list[int]:
        """Returns the steps of the checkpoints in the folder, ascending; some may be damaged."""
        return step_directories.find_steps(self.folder)

    def first_log_offset(self, offset: int) -> int:
        """Returns the size that the log had when this training began, in bytes.

        Args:
          offset: its size, which is stored unless an earlier process has stored one.

        Raises:
          OSError: if it cannot be written, in one line.
        """
        file = self.folder / _LOG_OFFSET
        with contextlib.suppress(FileNotFoundError, ValueError):
            return min(int(file.read_text(encoding="ascii")), offset)
        if self._writes:
            with cannot_be_written(str(self._shown / _LOG_OFFSET)):
                file.write_text(f"{offset}\n", encoding="ascii")
        return offset

    def restore(self, template: Any) -> Restored | None:
        """Returns the newest undamaged checkpoint, or None.

        Args:
          template: a tree like the state that was saved: arrays, or what `jax.eval_shape` returns.

        Returns:
          The state in the template's structure, bit for bit what was saved: NumPy arrays, and keys
          as key arrays on JAX's default device. The caller places them on its devices.

        Raises:
          RunError: in one line; nothing is changed. It is raised if all checkpoints are damaged, or
            the newest undamaged one has other settings or another state than the template. Also if
            the newest was written in the future of this machine's clock.
          OSError: if the folder cannot be read, or a save before this has failed.
        """
        self.wait()
        return self._newest_whole(self.steps(), template)

    def best(self, template: Any) -> Restored | None:
        """Returns the checkpoint last saved as the best one, or None.

        Arguments, result and errors are those of `restore`. If the best one is damaged, that is
        reported, and the previous best one is used if it still exists.
        """
        self.wait()
        candidates = [step for step in self.steps() if self._is_best(step, unknown=True)]
        return self._newest_whole(candidates, template)

    def save(self, step: int, state: Any, progress: dict[str, Any], *, best: bool = False) -> None:
        """Saves a checkpoint: returns when the state is copied to the host, and a thread writes it.

        It waits for the checkpoint before if that is still being written. A checkpoint of the same
        step is replaced; a damaged one is moved to `<step>.damaged`.

        Args:
          step: the training step, not negative; the order of checkpoints is that of their steps.
          state: a pytree of JAX or NumPy arrays, also typed keys, each whole in this process. They
            may be donated as soon as this returns.
          progress: a JSON object; its floats come back exactly, its tuples as lists.
          best: whether it is the best one so far, which is kept until another is.

        Raises:
          ValueError: if step, state or progress have another form, or this is closed.
          OSError: if the save before this one has failed; this one is then not begun.
        """
        if self._closed:
            raise ValueError(f"checkpoints: {self._shown} is closed")
        if not self._writes:
            return
        step = operator.index(step)
        if step < 0:
            raise ValueError(f"checkpoints: got step {step}, expected one that is not negative")
        self.wait()
        described = array_specs.describe_arrays(state)
        kept = manifest.normalize_json_object("progress", progress)
        arrays = array_specs.copy_to_host(state)
        # The state of the step has not changed since it was saved as the best one.
        best = best or (step in self.steps() and self._is_best(step))
        if self._writer is None:
            self._writer = concurrent.futures.ThreadPoolExecutor(1, "checkpoints")
        written = Manifest(step, best, self._settings, kept, described, {}, _versions())
        self._pending = self._writer.submit(self._write, written, arrays)

    def wait(self) -> None:
        """Waits until everything saved is on the disk.

        Raises:
          OSError: in one line, if a write failed; it is raised once.
        """
        if self._pending is not None:
            pending, self._pending = self._pending, None
            try:
                pending.result()
            except KeyboardInterrupt:
                # The wait was interrupted; the save continues and may still fail.
                self._pending = pending
                raise

    def close(self) -> None:
        """Waits as `wait` does and ends the thread, even on an error. May be called again."""
        self._closed = True
        try:
            self.wait()
        finally:
            if self._writer is not None:
                self._writer.shutdown()
                self._writer = None
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _newest_whole(self, steps: list[int], template: Any) -> Restored | None:
        if not steps:
            return None
        expected = array_specs.describe_arrays(template)
        self._check_clock(steps[-1])
        damage = []
        for step in reversed(steps):
            try:
                found = self._read(step, template, expected)
            except DamageError as error:
                self._damaged.add(step)
                damage.append(f"{self._shown / str(step)} is damaged ({error})")
                continue
            for line in damage:
                self._report(f"checkpoints: {line}; using step {step}")
            return found
        raise RunError(
            f"checkpoints: {'; '.join(damage)}; none is left: to begin anew, move "
            f"{self._shown} away"
        )

    def _read(self, step: int, template: Any, expected: tuple[ArraySpec, ...]) -> Restored:
        folder, shown = self.folder / str(step), self._shown / str(step)
        found = manifest.read_manifest(folder)
        if found.step != step:
            raise DamageError(f"{manifest.FILE}: it is that of step {found.step}")
        difference = manifest.settings_difference(found.settings, self._settings)
        if difference:
            raise RunError(f"checkpoints: {shown} is of another run: {difference}")
        difference = array_specs.first_difference(found.leaves, expected)
        if difference:
            raise RunError(f"checkpoints: {shown} is of another state: {difference}")
        manifest.check_files(folder, found)
        layouts = [array_specs.data_shape_and_dtype(leaf) for leaf in found.leaves]
        arrays = {
            str(n): np.empty(shape, dtype) for n, (shape, dtype) in enumerate(layouts) if 0 in shape
        }
        stored = {str(n): dtype for n, (_, dtype) in enumerate(layouts) if str(n) not in arrays}
        try:
            arrays |= array_files.read_arrays(folder / _ARRAYS, stored)
        except OSError as error:
            raise DamageError(f"{_ARRAYS}: {error}") from None
        for n, (shape, _) in enumerate(layouts):
            if arrays[str(n)].shape != shape:
                raise DamageError(f"{_ARRAYS}: array {n} has shape {arrays[str(n)].shape}")
        in_order = [arrays[str(n)] for n in range(len(layouts))]
        return Restored(array_specs.rebuild(template, found.leaves, in_order), step, found.progress)

    def _check_clock(self, step: int) -> None:
        path = self._shown / str(step) / manifest.FILE
        try:
            written = (self.folder / str(step) / manifest.FILE).stat().st_mtime
        except OSError:
            return
        ahead = written - time.time()
        if ahead > CLOCK_TOLERANCE:
            length = datetime.timedelta(seconds=round(ahead))
            raise RunError(
                f"checkpoints: {path} was written {length} in the future of this machine's clock; "
                "set the clock, or if the clock is right: touch that file"
            )

    def _is_best(self, step: int, unknown: bool = False) -> bool:
        """Returns whether a checkpoint was saved as the best one; `unknown` if unreadable."""
        if step not in self._best:
            try:
                self._best[step] = manifest.read_manifest(self.folder / str(step)).best
            except DamageError:
                return unknown
        return self._best[step]

    def _write(self, written: Manifest, arrays: list[np.ndarray]) -> None:
        step = written.step
        partial = None
        try:
            partial = step_directories.new_partial(self.folder, step)
            array_files.write_arrays(
                partial / _ARRAYS, {str(n): a for n, a in enumerate(arrays) if a.size}
            )
            files = manifest.record_files(partial)
            manifest.write_manifest(partial, written._replace(files=files))
            step_directories.put_in_place(partial, step)
        # Not BaseException: a process that is being killed has no time to tidy up either.
        except Exception as error:
            if partial is not None:
                step_directories.remove_partial(partial)
            steps = [s for s in self.steps() if s not in self._damaged]
            last = f"the last one is step {steps[-1]}" if steps else "there is none before it"
            raise OSError(
                f"checkpoints: step {step} cannot be written to {self._shown}: "
                f"{array_files.plain_reason(error)}; {last}"
            ) from error
        self._best[step] = written.best
        self._damaged.discard(step)
        self._delete_old(step)

    def _delete_old(self, just_written: int) -> None:
        # Damaged ones are kept for the user: they neither count nor are deleted.
        whole = [step for step in self.steps() if step not in self._damaged]
        best = [step for step in whole if self._is_best(step)][-1:]
        for step in sorted(set(whole) - {*whole[-self._keep :], *best, just_written}):
            if not step_directories.is_checkpoint(self.folder / str(step)):
                self._damaged.add(step)
                continue
            try:
                step_directories.remove_step(self.folder, step)
            except OSError as error:
                raise OSError(
                    f"checkpoints: {self._shown / str(step)} cannot be deleted: "
                    f"{array_files.plain_reason(error)}"
                ) from error


def _versions() -> dict[str, str]:
    return {
        "seqmodels": seqmodels.__version__,
        "jax": jax.__version__,
        "orbax-checkpoint": importlib.metadata.version("orbax-checkpoint"),
    }
