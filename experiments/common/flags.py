"""Command-line flags of configurations; with `app` and `hosts` the only code that knows absl.

Every option of a configuration becomes a flag of its name. Values are parsed and checked by
`experiments.common.config`, so that a flag and a keyword argument give the same error.
"""

import csv
import inspect
import io
import re
import textwrap
from collections.abc import Sequence
from typing import Any

from absl import flags

from experiments.common import config as configs
from experiments.common.config import About, Options

WIDTH = 100
Error = flags.Error


def parse(
    arguments: Sequence[str], groups: Sequence[Any], flag_values: flags.FlagValues | None = None
) -> list[Any]:
    """Returns the configurations that a command line describes.

    Args:
      arguments: the program's name, then its arguments; `--flagfile=FILE` is read by absl.
      groups: configurations with the default values; no two have an option of the same name.
      flag_values: where the flags are defined; None for a new, private object.

    Returns:
      For each group one of its class with the values given.

    Raises:
      ValueError: for a flag that is unknown or a value that is not valid.
    """
    place = flags.FlagValues() if flag_values is None else flag_values
    for group in groups:
        for field, kind, about, value in configs.all_options(group):
            name = configs.public_name(field, about)
            if configs.entry_type(kind) is bool:
                flags.DEFINE_bool(name, value, about.help, flag_values=place)
            else:
                text = to_text(value)
                flags.DEFINE_string(name, text, about.help, flag_values=place)
    try:
        rest = place(list(arguments))
    except flags.Error as error:
        raise ValueError(_one_line(error)) from None
    except UnicodeDecodeError:
        raise ValueError("flagfile: got bytes that are not UTF-8, expected text") from None
    if len(rest) > 1:
        raise ValueError(f"got an unexpected argument {rest[1]!r}; every option begins with --")
    return [_with_values(group, place) for group in groups]


def _with_values(group: Any, place: flags.FlagValues) -> Any:
    values = {}
    for field, kind, about, _ in configs.all_options(group):
        name = configs.public_name(field, about)
        flag = place[name]
        if flag.present:
            value = flag.value
            values[field] = from_text(name, kind, value) if isinstance(value, str) else value
    return group.replace(**values)


def _one_line(error: flags.Error) -> str:
    text = " ".join(str(error).removeprefix("FATAL Flags parsing error:").split())
    if isinstance(error, flags.UnrecognizedFlagError):
        hint = text.partition("Did you mean: ")[2].split(" ")[0].rstrip("?")
        return f"{error.flagname}: got an unknown option" + (
            f"; did you mean {hint}?" if hint else ""
        )
    if illegal := re.match(r"flag --(\w+)=(.*?): \(?'?Non-boolean", text):
        return f"{illegal[1]}: got {illegal[2]!r}, expected true or false"
    return text.removeprefix("ERROR:: ")


def from_text(name: str, kind: Any, text: str) -> Any:
    """Returns the value of a flag's text; ValueError if it is not of the option's type."""
    entry = configs.entry_type(kind)
    noun = {int: "a whole number", float: "a number"}
    try:
        if configs.is_tuple(kind):
            # Quoted as in a CSV file, so that an entry may hold a comma.
            rows = list(csv.reader([text], skipinitialspace=True, strict=True))
            texts = [part.strip() for part in rows[0]] if text.strip() else []
            return tuple(entry(part) for part in texts)
        return entry(text)
    except csv.Error as error:
        raise ValueError(f"{name}: got {text!r}, expected a list: {error}") from None
    except ValueError:
        expected = f"{noun[entry]}s".replace("a ", "") if configs.is_tuple(kind) else noun[entry]
        raise ValueError(f"{name}: got {text!r}, expected {expected}") from None


def to_text(value: Any) -> str | None:
    """Returns a value as the text of its flag; None for None."""
    if value is None:
        return None
    if isinstance(value, tuple):
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(value)
        return line.getvalue()
    return str(value)


def flagfile(config: Options, comment: str) -> str:
    """Returns the text of a flagfile with the values of a configuration.

    Args:
      config: the configuration.
      comment: the first line.
    """
    lines = [f"# {comment}"]
    for field, _, about, value in configs.all_options(config):
        name = configs.public_name(field, about)
        if isinstance(value, bool):
            lines.append(f"--{name}" if value else f"--no{name}")
        elif value is not None:
            text = to_text(value) or ""
            if len(text.splitlines()) > 1:
                raise ValueError(f"{name}: got text with line breaks, expected one line")
            lines.append(f"--{name}={text}")
    return "\n".join(lines) + "\n"


def help_text(program: str, doc: str, groups: Sequence[Options]) -> str:
    """Returns what --help prints: the docstring, then the options by subject with their defaults.

    Args:
      program: the name of the experiment.
      doc: the docstring of the program, with its commands.
      groups: the configurations; a section stands under the first line of its docstring.
    """
    parts = [inspect.cleandoc(doc)]
    own, *others = groups
    titled = [(f"options of {program}", own)]
    for group in groups:
        nested = [group, *configs.sections(group)] if group in others else configs.sections(group)
        titled += [(_title(part), part) for part in nested]
    for title, part in titled:
        lines = [
            _option(configs.public_name(name, about), kind, about, getattr(part, name))
            for name, kind, about in configs.own_options(type(part))
        ]
        if lines:
            parts.append("\n".join([f"{title}:", *lines]))
    parts.append("options of every program:\n" + _line("--flagfile=FILE", "options from a file."))
    return "\n\n".join(parts) + "\n"


def _title(part: Options) -> str:
    first = (part.__doc__ or "").splitlines()[0].rstrip(".")
    return first[0].lower() + first[1:]


def _option(name: str, kind: Any, about: About, value: Any) -> str:
    is_bool = configs.entry_type(kind) is bool
    default = str(value).lower() if isinstance(value, bool) else to_text(value)
    text = about.help
    if about.choices:
        text += f" {'Of' if configs.is_tuple(kind) else 'One of'} {', '.join(about.choices)}."
    shown = f" (default: {default})" if default else ""
    return _line(f"--[no]{name}" if is_bool else f"--{name}=...", text + shown)


def _line(name: str, text: str) -> str:
    indent = " " * 26
    first = f"  {name}".ljust(len(indent) - 2) + "  "
    return textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=indent)
