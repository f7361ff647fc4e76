"""Identity of a configuration: what decides a run, as JSON, and the digests of its files."""

import hashlib
import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from experiments.common.config import Options, all_options, entry_type, public_name


def identity(config: Options) -> dict[str, Any]:
    """Returns what decides a run, as JSON: values, and digests of the files that they name.

    Raises:
      OSError: if a file that is named cannot be read.
      ValueError: if it does not exist, and as `Options.digests` of the configuration.
    """
    found: dict[str, Any] = {}
    for field, _, about, value in all_options(config):
        name = public_name(field, about)
        if about.decides:
            plain = list(value) if isinstance(value, tuple) else value
            found[name] = str(plain) if plain in (math.inf, -math.inf) else plain
        if about.digest and value is not None and not os.path.exists(value):
            raise ValueError(f"{name}: got {value!r}, expected a file that exists")
        # What is not a file, such as a pipe, can be read only once: by whoever uses it.
        if about.digest and value is not None and os.path.isfile(value):
            found[f"{name}_sha256"] = digest(value)
    return found | config.digests()


def digest(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a file."""
    with pathlib.Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def short_name(config: Options) -> str:
    """Returns eight digits that depend on the values that decide a run."""
    values = {
        public_name(name, about): str(value)
        for name, _, about, value in all_options(config)
        if about.decides
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def from_stored(default: Any, stored: Mapping[str, Any]) -> Any:
    """Returns the configuration that `identity` was taken of; options that it lacks stay.

    Args:
      default: a configuration of that class.
      stored: of `identity`, read back from JSON.

    Raises:
      ValueError: if a value is not valid.
    """
    values = {}
    for name, kind, about, _ in all_options(default):
        stored_name = public_name(name, about)
        if stored_name in stored:
            value = stored[stored_name]
            if entry_type(kind) is float and isinstance(value, str):
                value = float(value)
            values[name] = value
    return default.replace(**values)
