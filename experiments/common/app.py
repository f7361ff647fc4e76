"""What every entry point shares: one line for a user's mistake, and flags that repeat a run."""

import difflib
import logging
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn, TypeVar

from absl import app, flags
from absl import logging as absl_logging

from experiments.common import help_text
from seqmodels.training.run_directory import FLAGS

T = TypeVar("T")
LARGEST = 1_000_000


class UserError(Exception):
    """A mistake of the user's, told in one line, without a traceback."""


def run(main: Callable[[], int], doc: str | None = None) -> None:
    """Runs an entry point under absl.

    Exit status: what `main` returns; 2 for flags that cannot be parsed; 1 for a `UserError`.

    Args:
      main: reads flags, works, returns an exit status.
      doc: the text above the options in --help.
    """
    path = pathlib.Path(sys.argv[0])
    program = path.parent.name if path.stem == "__main__" else path.stem

    def parse(arguments: Sequence[str]) -> list[str]:
        if {"--help", "-help", "-h"} & set(arguments[1:]):
            print(help_text.text(program, doc or sys.modules["__main__"].__doc__), end="")
            sys.exit(0)
        try:
            rest = flags.FLAGS(_with_flags_of_run(arguments))
        except flags.Error as error:
            _fail(program, str(error).removeprefix("ERROR:: "), 2)
        except UserError as error:
            _fail(program, error, 1)
        except UnicodeDecodeError:
            _fail(program, "flagfile: is not UTF-8 text", 2)
        if "resume" in flags.FLAGS and flags.FLAGS.resume is not None:
            _fail(program, "resume: got in a flagfile, expected on the command line", 2)
        if len(rest) > 1:
            _fail(program, f"unexpected argument {rest[1]!r}; every option begins with --", 2)
        return rest

    def guarded(_: list[str]) -> int:
        # absl shows every library's notes; a missing TPU is not worth a line on each run.
        logging.getLogger("jax").setLevel(logging.WARNING)
        if not flags.FLAGS["verbosity"].present:
            absl_logging.set_verbosity(absl_logging.WARNING)
        try:
            status = main()
            sys.stdout.flush()
            return status
        except BrokenPipeError:
            _reader_is_gone()
        except UserError as error:
            if isinstance(error.__context__, BrokenPipeError):
                _reader_is_gone()
            _fail(program, error, 1)

    app.run(guarded, flags_parser=parse)


def _with_flags_of_run(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments with --resume=FOLDER as the flags of the run there."""
    found = list(arguments)
    if "resume" not in flags.FLAGS:
        return found
    for number, argument in enumerate(found[1:], 1):
        name, equals, folder = argument.lstrip("-").partition("=")
        if not argument.startswith("-") or name != "resume":
            continue
        until = number + 1
        if not equals and until < len(found):
            folder, until = found[until], until + 1
        file = pathlib.Path(folder) / FLAGS
        if any(other.lstrip("-").partition("=")[0] == "run_dir" for other in found[1:]):
            raise UserError("resume: got together with run_dir, expected one of them")
        if not folder or not file.is_file():
            raise UserError(f"resume: got {folder!r}, expected the folder of a run ({FLAGS})")
        found[number:until] = []
        # In front, so that what else is given is compared with what the run has.
        found[1:1] = [f"--flagfile={file}", f"--run_dir={folder}"]
        break
    return found


def _fail(program: str, message: object, status: int) -> NoReturn:
    print(f"{program}: error: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(status)


def _reader_is_gone() -> NoReturn:
    """Ends as `| head` expects: without a word, and with the status that SIGPIPE gives."""
    # Python would try to write what is left when it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + 13)


def nearest(given: str, known: Iterable[str]) -> str:
    """Returns "given X, wanted one of ..., did you mean Y?" for a name that is not known."""
    known = list(known)
    near = difflib.get_close_matches(given.lower(), known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"got {given!r}, expected one of {', '.join(known)}{hint}"


def checked(function: Callable[[Any], object], *names: str) -> None:
    """Registers `function(value)` as the validator of flags; its ValueError becomes their line."""

    def validator(value: Any) -> bool:
        try:
            function(value)
        except ValueError as error:
            raise flags.ValidationError(str(error)) from None
        return True

    for name in names:
        flags.register_validator(name, validator)


def not_empty(value: str | None) -> None:
    """Raises ValueError for a name that is given and empty."""
    if value is not None and not value.strip():
        raise ValueError(f"got {value!r}, expected a name")


def known_name(known: Iterable[str]) -> Callable[[str], None]:
    """Returns the check that a name is one of `known`."""

    def check(value: str) -> None:
        if value not in known:
            raise ValueError(nearest(value, known))

    return check


def no_nan(value: float) -> None:
    """Raises ValueError for NaN."""
    if value != value:
        raise ValueError("got nan, expected a number")


def devices(text: str) -> None:
    """Raises ValueError unless the text is "auto" or a positive number."""
    if text != "auto" and not (text.isdecimal() and int(text) > 0):
        raise ValueError(f"got {text!r}, expected auto or a positive number")


def set_flag(name: str, value: object) -> None:
    """Sets a flag to what it was resolved to, so that flags.txt holds that."""
    flags.FLAGS[name].value = value


def positive(text: str, *, infinite: bool = False) -> float:
    """Returns a positive number; ValueError if the text is none, or infinite if it may not be."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not number > 0 or (number == float("inf") and not infinite):
        raise ValueError(f"got {text!r}, expected a positive number")
    return number


def numbers(values: Sequence[str]) -> list[int]:
    """Returns ascending distinct non-negative integers from a list flag.

    Raises:
      ValueError: if there are none, or one is not such a number, or stands twice.
    """
    if not [value for value in values if value.strip()]:
        raise ValueError("got nothing, expected whole numbers such as 0,16,64")
    parsed = []
    for value in values:
        try:
            parsed.append(int(value))
        except ValueError:
            raise ValueError(f"got {value!r}, expected whole numbers such as 0,16,64") from None
        if parsed[-1] > LARGEST:
            raise ValueError(f"got {value}, expected numbers up to {LARGEST}")
        if parsed[-1] < 0:
            raise ValueError(f"got {value}, expected numbers that are not negative")
        if parsed.count(parsed[-1]) > 1:
            raise ValueError(f"got {value} twice")
    return sorted(parsed)


def names(values: Sequence[str], known: Iterable[str]) -> list[str]:
    """Returns distinct known names from a list flag, in the order given.

    Raises:
      ValueError: if there are none, or one is not known, or stands twice.
    """
    known = list(known)
    if not [value for value in values if value.strip()]:
        raise ValueError(f"got nothing, expected one or more of {', '.join(known)}")
    for value in values:
        if value not in known:
            raise ValueError(nearest(value, known))
        if values.count(value) > 1:
            raise ValueError(f"got {value} twice")
    return list(values)


def per_name(value: str, known: Iterable[str], convert: Callable[[str], T]) -> dict[str, T]:
    """Returns one value a name from "3" (the same for all) or "rnn:1,lstm:3".

    Args:
      value: the flag's text.
      known: all names.
      convert: text to value; raises ValueError with what it wants.

    Raises:
      ValueError: if the text is neither form, or a name is not known, or a value is not one.
    """
    known = list(known)
    if ":" not in value:
        return dict.fromkeys(known, convert(value))
    given: dict[str, T] = {}
    for item in value.split(","):
        name, _, text = item.partition(":")
        if name not in known:
            raise ValueError(nearest(name, known))
        if name in given:
            raise ValueError(f"got {name} twice")
        given[name] = convert(text)
    return given


def value_for(flag: str, values: dict[str, T], name: str) -> T:
    """Returns the value of a `per_name` flag for a name; UserError if it has none."""
    if name not in values:
        raise UserError(f"{flag}: got for {', '.join(values)}, expected for {name} too")
    return values[name]


def write_flags(flag_names: Iterable[str], comment: str) -> str:
    """Returns the text of a flagfile with the present values of these flags."""
    lines = [flags.FLAGS[name].serialize() for name in flag_names]
    return "\n".join([f"# {comment}", *(line for line in lines if line)]) + "\n"
