"""The command line of an experiment: flags in, exit status out."""

import errno
import logging
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from absl import app as absl_app
from absl import flags
from absl import logging as absl_logging

from experiments.common import beginning, hosts, terminal
from experiments.common import flags as option_flags
from experiments.common.config import Options, absolute_path
from experiments.common.errors import UserError
from experiments.common.sections import HostOptions, RunOptions
from seqmodels.training.interruption import Interrupted

_SETTINGS = "flags.txt"


class Experiment(NamedTuple):
    """The program that `python -m experiments.NAME` runs.

    Attributes:
      name: the name of the package.
      doc: the text above the options in --help.
      config: the default configuration.
      run: `run(config, run_dir, overwrite=...)`, or `run(config)` without `run_options`; if it
        returns an int, that is the exit status.
      actions: default options of further actions, such as --predict; None if there are none.
      act: `act(actions, config) -> bool` performs the actions; returns False if none is requested.
      run_options: options of the run directory; None for a command without one.
      hosts: whether a run may consist of several processes.
    """

    name: str
    doc: str
    config: Any
    run: Callable[..., Any]
    actions: Any = None
    act: Callable[[Any, Any], bool] = lambda actions, config: False
    run_options: Any = RunOptions()
    hosts: bool = True


class Command(NamedTuple):
    """A parsed command line: the configurations that it describes."""

    config: Any
    actions: Any
    run: Any
    hosts: HostOptions


def main(experiment: Experiment) -> NoReturn:
    """Runs the command of this process and exits.

    Exit status: 0 after success, 1 after a `UserError`, 2 for options that are not valid, 75 if
    another process of the run ended. 130 after SIGINT and 143 after SIGTERM.
    """
    beginning.open_streams()
    parsed: list[Command] = []

    def parse_flags(arguments: Sequence[str]) -> list[str]:
        parsed.append(_parsed(experiment, arguments, flags.FLAGS))
        return list(arguments[:1])

    def guarded(_: list[str]) -> int:
        # absl shows messages of every library, such as one about a missing TPU.
        logging.getLogger("jax").setLevel(logging.WARNING)
        if not flags.FLAGS["verbosity"].present:
            absl_logging.set_verbosity(absl_logging.WARNING)
        command = parsed[0]
        return hosts.supervised(command.hosts, lambda: _guarded(experiment, command))

    absl_app.run(guarded, flags_parser=parse_flags)
    raise AssertionError("absl's run exits")


def execute(experiment: Experiment, arguments: Sequence[str]) -> int:
    """Runs a command in this process and returns its exit status.

    Args:
      experiment: which.
      arguments: options, such as ["--hidden=8"].
    """
    try:
        beginning.open_streams()
        command = _parsed(experiment, [experiment.name, *arguments], flags.FlagValues())
        return _guarded(experiment, command)
    except SystemExit as end:
        return int(end.code or 0)


def _parsed(
    experiment: Experiment, arguments: Sequence[str], flag_values: flags.FlagValues
) -> Command:
    """Returns the parsed command; exits after --help and after an error."""
    groups: list[Options] = [experiment.config]
    groups += [] if experiment.actions is None else [experiment.actions]
    groups += [] if experiment.run_options is None else [experiment.run_options]
    groups += [HostOptions()] if experiment.hosts else []
    if {"--help", "-help", "-h"} & set(arguments[1:]):
        print(option_flags.help_text(experiment.name, experiment.doc, groups), end="")
        sys.exit(0)
    try:
        resumes = isinstance(experiment.run_options, RunOptions)
        expanded = _with_flags_of_run(arguments) if resumes else list(arguments)
    except UserError as error:
        _fail(experiment, error, 1)
    try:
        config, *others = option_flags.parse(expanded, groups, flag_values)
    except ValueError as error:
        _fail(experiment, error, 2)
    actions = None if experiment.actions is None else others.pop(0)
    run = None if experiment.run_options is None else others.pop(0)
    if getattr(run, "resume", None) is not None:
        _fail(experiment, "resume: got it in a flagfile, expected it on the command line", 2)
    return Command(config, actions, run, others.pop(0) if experiment.hosts else HostOptions())


def _guarded(experiment: Experiment, command: Command) -> int:
    """Runs the command; a user error becomes one line and an exit status."""
    several = (command.hosts.num_processes or 1) > 1
    if several and command.actions != experiment.actions:
        _fail(experiment, "num_processes: got several with an action, expected one process", 2)
    try:
        try:
            beginning.imported()
            hosts.join(command.hosts)
            if not experiment.act(command.actions, command.config):
                status = _run(experiment, command)
                if isinstance(status, int):
                    return status
            sys.stdout.flush()
            return 0
        except Interrupted as interrupted:
            return interrupted.status
        except KeyboardInterrupt:
            resumes = isinstance(command.run, RunOptions)
            hint = "; the same command resumes" if resumes else ""
            terminal.say(f"interrupted{hint}", error=True)
            return hosts.INTERRUPTED
    except BrokenPipeError:
        _reader_is_gone()
    except UserError as error:
        if isinstance(error.__cause__, BrokenPipeError):
            _reader_is_gone()
        _fail(experiment, error, 1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO, errno.EBADF):
            raise
        _drop_output()
        _fail(experiment, f"standard output cannot be written: {error.strerror}", 1)


def _run(experiment: Experiment, command: Command) -> Any:
    if command.run is None:
        return experiment.run(command.config)
    return experiment.run(command.config, command.run.run_dir, overwrite=command.run.overwrite)


def _with_flags_of_run(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments with --resume=FOLDER replaced by the flags of the run there."""
    found = list(arguments)
    for number, argument in enumerate(found[1:], 1):
        name, equals, folder = argument.lstrip("-").partition("=")
        if not argument.startswith("-") or name != "resume":
            continue
        until = number + 1
        if not equals and until < len(found):
            folder, until = found[until], until + 1
        try:
            folder = str(absolute_path(folder)) if folder else folder
        except ValueError as error:
            raise UserError(f"resume: {error}") from None
        file = pathlib.Path(folder) / _SETTINGS
        if any(other.lstrip("-").partition("=")[0] == "run_dir" for other in found[1:]):
            raise UserError("resume: got it together with run_dir, expected one of them")
        if not folder or not file.is_file():
            raise UserError(f"resume: got {folder!r}, expected the folder of a run ({_SETTINGS})")
        found[number:until] = []
        # The stored flags come first, so that given options are compared with those of the run.
        found[1:1] = [f"--flagfile={file}", f"--run_dir={folder}"]
        break
    return found


def _fail(experiment: Experiment, message: object, status: int) -> NoReturn:
    text = " ".join(str(message).split())
    terminal.say(f"{experiment.name}: error: {text}", error=True)
    sys.exit(status)


def _reader_is_gone() -> NoReturn:
    """Ends silently with the status of SIGPIPE, as `| head` expects."""
    _drop_output()
    sys.exit(128 + 13)


def _drop_output() -> None:
    """Drops buffered output, which Python would otherwise try to write at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
