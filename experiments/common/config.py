"""Options as frozen dataclasses: every value is checked when a configuration is made.

An experiment declares its options once:

    @dataclasses.dataclass(frozen=True)
    class Config(Options):
        '''Options of the long-context study.'''
        task: str = option("sky", "What has to be remembered.", choices=TASKS)
        hidden: int = option(64, "Hidden units of every cell.", at_least=1)
        filler_file: str | None = option(None, "Your own UTF-8 text as filler.", digest=True)
        training: TrainingConfig = section(TrainingConfig(steps=1000, batch=32))

Command-line flags, --help, flags.txt, the name of the run directory, the digests of files, and what
a resume compares follow from it (`experiments.common.flags`). `Config(hidden=0)` raises the same
line that `--hidden=0` prints.
"""

import dataclasses
import difflib
import math
import os
import pathlib
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Self

LARGEST = 1_000_000_000
_NOUNS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


class About(typing.NamedTuple):
    """Metadata of an option; see `option`."""

    help: str
    choices: tuple[str, ...] = ()
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    infinite: bool = False
    empty: bool = False
    distinct: bool = True
    per_name: Callable[[str], Any] | None = None
    check: Callable[[Any], object] | None = None
    number: bool = False
    path: bool = False
    names: tuple[str, ...] = ()
    digest: bool = False
    decides: bool = True
    flag: str | None = None


def option(default: Any, help: str, **about: Any) -> Any:
    """Returns a field of a configuration.

    Args:
      default: its default; None makes no value valid; a tuple makes a list.
      help: one sentence, with units.
      **about: further fields of `About`:
        choices: the values allowed, also of the entries of a tuple.
        at_least, at_most: bounds of a number, inclusive. A whole number is at most 10^9.
        above: an exclusive lower bound.
        infinite: whether a number may be infinite; NaN never may.
        empty: whether a tuple may have no entries.
        distinct: whether the entries of a tuple must differ.
        per_name: makes the option one value, or one for each name of a model. Its text is such as
          "0.003" or "rnn:0.001,lstm:0.01"; a number or a mapping is converted to that text. The
          function converts a text and raises ValueError.
        check: `check(value)` raises ValueError with "got X, expected Y".
        number: whether a whole number is converted to its text.
        path: whether it names a file or folder; stored absolute, with ~ expanded. Its place does
          not decide a run.
        names: values that are names of something else, although `path` is true.
        digest: whether it names a file whose content decides the run; implies path.
        decides: whether a run with another value is another run.
        flag: its public name, in the flag, in messages and in files. Needed where the field must
          have another name, as for "with", a keyword of Python.
    """
    about.setdefault("path", about.get("digest", False))
    for name in ("choices", "names"):
        about[name] = tuple(about.get(name, ()))
    return dataclasses.field(default=default, metadata={"option": About(help, **about)})


def section(default: Any) -> Any:
    """Returns a field that holds a nested configuration; its options are flat on the command line.

    Args:
      default: an instance of a subclass of `Options`.
    """
    return dataclasses.field(default=default, metadata={"section": True})


class Options:
    """Base of configurations. Subclasses are frozen dataclasses."""

    def __post_init__(self) -> None:
        """Normalizes and checks all values; ValueError in one line."""
        for name, kind, about in own_options(type(self)):
            try:
                value = normalized(kind, about, getattr(self, name))
            except ValueError as error:
                raise ValueError(f"{public_name(name, about)}: {error}") from None
            check_value(public_name(name, about), kind, about, value)
            object.__setattr__(self, name, value)
        self.check()

    def check(self) -> None:
        """Raises ValueError for options that contradict each other; for subclasses."""

    def digests(self) -> dict[str, str]:
        """Returns digests, by name, of files that decide a run and no option names by itself."""
        return {}

    def replace(self, **values: Any) -> Self:
        """Returns the configuration with other values, also in nested sections.

        Raises:
          ValueError: for a name that is not an option, or a value that is not valid.
        """
        known = [name for name, _, _, _ in all_options(self)]
        for name in values:
            if name not in known:
                raise ValueError(f"option: {unknown(name, known)}")
        return self._replaced(values)

    def _replaced(self, values: Mapping[str, Any]) -> Self:
        changes: dict[str, Any] = {}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            if field.metadata.get("section"):
                changes[field.name] = getattr(self, field.name)._replaced(values)
            elif field.name in values:
                changes[field.name] = values[field.name]
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]


def own_options(kind: type) -> tuple[tuple[str, Any, About], ...]:
    """Returns (name, type, about) of the options of a class, without those of its sections."""
    hints = typing.get_type_hints(kind)
    return tuple(
        (field.name, hints[field.name], field.metadata["option"])
        for field in dataclasses.fields(kind)
        if "option" in field.metadata
    )


def sections(config: Options) -> list[Options]:
    """Returns the nested configurations, at any depth, in order."""
    found: list[Options] = []
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        if field.metadata.get("section"):
            nested = getattr(config, field.name)
            found += [nested, *sections(nested)]
    return found


def all_options(config: Options) -> list[tuple[str, Any, About, Any]]:
    """Returns (name, type, about, value) of all options, those of sections last."""
    return [
        (name, kind, about, getattr(part, name))
        for part in (config, *sections(config))
        for name, kind, about in own_options(type(part))
    ]


def public_name(name: str, about: About) -> str:
    """Returns the name of an option on the command line, in messages and in files.

    Args:
      name: the name of its field.
      about: its metadata.
    """
    return about.flag or name


def is_optional(kind: Any) -> bool:
    """Returns whether None is a value of a type."""
    return type(None) in typing.get_args(kind)


def is_tuple(kind: Any) -> bool:
    """Returns whether a type is a tuple, or a tuple or None."""
    return typing.get_origin(_base(kind)) is tuple


def entry_type(kind: Any) -> type:
    """Returns the type of a value, or of the entries of a tuple."""
    base = _base(kind)
    return typing.get_args(base)[0] if typing.get_origin(base) is tuple else base


def _base(kind: Any) -> Any:
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return next(k for k in typing.get_args(kind) if k is not type(None))
    return kind


def normalized(kind: Any, about: About, value: Any) -> Any:
    """Returns a value in the form in which it is stored: tuples, plain numbers, absolute paths."""
    if value is None:
        return None
    if about.per_name is not None and not isinstance(value, str):
        if isinstance(value, Mapping):
            return ",".join(f"{name}:{item}" for name, item in value.items())
        return str(value)
    if is_tuple(kind):
        is_list = isinstance(value, Sequence) or getattr(value, "ndim", 0) == 1
        if isinstance(value, str) or not is_list:
            return value
        return tuple(_plain(entry_type(kind), entry) for entry in value)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if about.number and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    # A name that is neither known nor a file stays as it is, for the message.
    if is_location(about, value) and (not about.names or os.path.exists(absolute_path(value))):
        return str(absolute_path(value))
    return _plain(entry_type(kind), value)


def is_location(about: About, value: Any) -> bool:
    """Returns whether the value of an option is the path of a file or folder."""
    is_text = isinstance(value, str) and bool(value.strip())
    return about.path and is_text and value not in about.names


def absolute_path(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns a user's path as it is stored: absolute, with ~ expanded and without "..".

    Raises:
      ValueError: for the home folder of a user who is not known.
    """
    try:
        found = pathlib.Path(path).expanduser().absolute()
        return found.resolve() if ".." in found.parts else found
    except RuntimeError:
        raise ValueError(f"got {os.fspath(path)!r}, expected a path of a known user") from None


def _plain(kind: type, value: Any) -> Any:
    """Returns NumPy's numbers as Python's, and a whole number as a float where one is expected."""
    if hasattr(value, "item") and value.ndim == 0:
        value = value.item()
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def check_value(name: str, kind: Any, about: About, value: Any) -> None:
    """Raises ValueError, in one line that begins with the name, for a value that is not valid."""
    if value is None and is_optional(kind):
        return
    try:
        if is_tuple(kind) and not isinstance(value, tuple):
            raise ValueError(f"got {value!r}, expected a list")
        entries = value if isinstance(value, tuple) else (value,)
        if not entries and not about.empty:
            raise ValueError(f"got nothing, expected {_expected_entries(kind, about)}")
        for entry in entries:
            _check_entry(entry_type(kind), about, entry)
        if about.distinct and len(set(entries)) < len(entries):
            twice = next(entry for entry in entries if entries.count(entry) > 1)
            raise ValueError(f"got {twice} twice")
        if about.check is not None:
            about.check(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _expected_entries(kind: Any, about: About) -> str:
    if about.choices:
        return f"one or more of {', '.join(about.choices)}"
    return "numbers such as 16,64" if entry_type(kind) in (int, float) else "one or more names"


def _check_entry(kind: type, about: About, entry: Any) -> None:
    if not isinstance(entry, kind) or (isinstance(entry, bool) and kind is not bool):
        raise ValueError(f"got {entry!r}, expected {_NOUNS[kind]}")
    if isinstance(entry, str):
        if about.choices and entry not in about.choices:
            raise ValueError(unknown(entry, about.choices))
        if not entry.strip() and not about.empty:
            raise ValueError(f"got {entry!r}, expected a name")
        if about.per_name is not None:
            per_name(entry, about.per_name)
    elif isinstance(entry, int | float) and not isinstance(entry, bool):
        _check_number(about, entry, LARGEST if kind is int else math.inf)


def _check_number(about: About, number: float, largest: float) -> None:
    low, above = about.at_least, about.above
    high = largest if about.at_most is None else about.at_most
    allowed = about.infinite or math.isfinite(number)
    if (
        not allowed
        or math.isnan(number)
        or (low is not None and number < low)
        or (above is not None and number <= above)
        or number > high
    ):
        bounds = [
            f"at least {low:g}" if low is not None else "",
            f"above {above:g}" if above is not None else "",
            f"at most {high:,}" if math.isfinite(high) else "",
        ]
        expected = " and ".join(bound for bound in bounds if bound) or "a finite number"
        raise ValueError(f"got {number}, expected {expected}")


def unknown(given: str, known: Collection[str]) -> str:
    """Returns "got X, expected one of ...; did you mean Y?" for a name that is not known."""
    near = difflib.get_close_matches(str(given).lower(), list(known), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"got {given!r}, expected one of {', '.join(known)}{hint}"


def positive(text: str) -> float:
    """Returns a positive finite number; ValueError if the text is not one."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < math.inf:
        raise ValueError(f"got {text!r}, expected a positive number")
    return number


def per_name(text: str, convert: Callable[[str], Any]) -> Any:
    """Returns the value of "3", or {"rnn": 1, "lstm": 3} of "rnn:1,lstm:3".

    Raises:
      ValueError: if the text is neither form, or a name stands twice.
    """
    if ":" not in text:
        return convert(text)
    given: dict[str, Any] = {}
    for item in text.split(","):
        name, _, value = item.partition(":")
        if name in given:
            raise ValueError(f"got {name} twice")
        given[name] = convert(value)
    return given


def values_by_name(
    option_name: str,
    text: str,
    convert: Callable[[str], Any],
    *,
    needed: Sequence[str],
    known: Collection[str],
) -> dict[str, Any]:
    """Returns the value of a `per_name` option for every name that is needed.

    Args:
      option_name: name of the option for messages.
      text: the option's value.
      convert: text to value.
      needed: names that must have a value.
      known: all names that may have one.

    Raises:
      ValueError: for a name that is not known, or one that is needed and has no value.
    """
    try:
        values = per_name(text, convert)
        if not isinstance(values, dict):
            return dict.fromkeys(needed, values)
        for name in values:
            if name not in known:
                raise ValueError(unknown(name, known))
    except ValueError as error:
        raise ValueError(f"{option_name}: {error}") from None
    for name in needed:
        if name not in values:
            raise ValueError(f"{option_name}: got {', '.join(values)}, expected a value for {name}")
    return {name: values[name] for name in needed}
