"""What --help prints: the options by subject, each with its default."""

import inspect
import re
import sys
import textwrap
from types import ModuleType

from absl import flags

WIDTH = 100
_ABSL = "absl"


def text(program: str, doc: str | None) -> str:
    """Returns the help of an entry point.

    Args:
      program: its name.
      doc: the docstring of its module, with the command.

    Returns:
      The docstring, then the options of the program itself, then those of each module that defines
      more, under the first line of that module's docstring.
    """
    parts = [inspect.cleandoc(doc or "")]
    groups = flags.FLAGS.flags_by_module_dict()
    own = [name for name in groups if not _is_shared(name)]
    shared = [name for name in groups if _is_shared(name) and _ABSL not in name.split(".")]
    for module in [*own, *shared]:
        listed = [_option(flag) for flag in groups[module]]
        title = f"options of {program}" if module in own else _title(sys.modules[module])
        if listed:
            parts.append("\n".join([f"{title}:", *listed]))
    parts.append("options of every program:\n" + _line("--flagfile=FILE", "options from a file."))
    return "\n\n".join(parts) + "\n"


def _is_shared(module: str) -> bool:
    return module.startswith(("experiments.common.", _ABSL)) or ".absl" in module


def _title(module: ModuleType) -> str:
    first = (module.__doc__ or module.__name__).splitlines()[0].rstrip(".")
    return first[0].lower() + first[1:]


def _option(flag: flags.Flag) -> str:
    kind = flag.flag_type()
    name = f"--[no]{flag.name}" if kind == "bool" else f"--{flag.name}=..."
    default = flag.default
    if isinstance(default, list):
        default = ",".join(map(str, default))
    elif isinstance(default, bool):
        default = str(default).lower()
    shown = "" if default is None else f" (default: {default})"
    # absl adds its own notes on bounds to the text of some kinds of flag.
    told = re.sub(r"\s+", " ", flag.help or "").strip()
    return _line(name, told + shown)


def _line(name: str, told: str) -> str:
    indent = " " * 26
    first = f"  {name}".ljust(len(indent) - 2) + "  "
    return textwrap.fill(told, WIDTH, initial_indent=first, subsequent_indent=indent)
