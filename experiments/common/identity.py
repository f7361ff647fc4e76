"""Identity of a configuration: what decides a run, as JSON; files by their digests."""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from typing import Any

from experiments.common.config import (
    About,
    Options,
    all_options,
    entry_type,
    is_location,
    public_name,
)
from seqmodels.storage import reading

SUFFIX = "_sha256"


def identity(config: Options) -> dict[str, Any]:
    """Returns what decides a run, as JSON: values, and digests of the files that they name.

    The place of a file decides nothing: the same content elsewhere is the same run.

    Raises:
      OSError: if a file that is named cannot be read.
      ValueError: if it does not exist, and as `Options.digests` of the configuration.
    """
    found: dict[str, Any] = {}
    for field, _, about, value in all_options(config):
        name = public_name(field, about)
        if is_location(about, value):
            found |= _digest_of(name, about, value)
        elif about.decides and not (about.path and value is None):
            plain = list(value) if isinstance(value, tuple) else value
            found[name] = str(plain) if plain in (math.inf, -math.inf) else plain
    return found | config.digests()


def _digest_of(name: str, about: About, path: str) -> dict[str, str]:
    if not about.digest:
        return {}
    if not os.path.exists(path):
        known = "".join(f"{each}, " for each in about.names)
        expected = f"{known}or a file" if known else "a file"
        raise ValueError(f"{name}: got {path!r}, expected {expected} that exists")
    # What is not a file, such as a pipe, can be read only once: by whoever uses it.
    return {f"{name}{SUFFIX}": reading.digest(path)} if os.path.isfile(path) else {}


def locations(config: Options) -> dict[str, str]:
    """Returns the paths of the files and folders that decide a run, by the names of options."""
    return {
        public_name(field, about): value
        for field, _, about, value in all_options(config)
        if about.decides and is_location(about, value)
    }


def place_of(name: str, places: Mapping[str, str]) -> str | None:
    """Returns the path of the file of a digest; None for an entry that is not a digest.

    Args:
      name: name of an entry of `identity`.
      places: the result of `locations`.
    """
    plain = name.removesuffix(SUFFIX)
    return (places.get(plain) or places.get(f"{plain}_dir")) if plain != name else None


def file_lines(before: Mapping[str, Any], now: Mapping[str, Any], places: Mapping[str, str]) -> str:
    """Returns what distinguishes the files of two identities, in words; "" if they are the same.

    Args:
      before: the identity of a run.
      now: the identity of the files that are there.
      places: the result of `locations`, the paths of those files.
    """
    names = sorted({name for name in (*before, *now) if name.endswith(SUFFIX)})
    parts = []
    for name in names:
        old, new = before.get(name), now.get(name)
        if old != new:
            plain, place = name.removesuffix(SUFFIX), place_of(name, places) or "nothing"
            got, expected = (reading.short(each) if each else "nothing" for each in (new, old))
            parts.append(f"{plain}: {place}: got sha256 {got}, expected {expected}")
    return "; ".join(parts)


def short_name(config: Options) -> str:
    """Returns eight digits that depend on the values that decide a run, and on its files."""
    values = {
        public_name(name, about): str(value)
        for name, _, about, value in all_options(config)
        if about.decides and not is_location(about, value)
    }
    files = {name: value for name, value in identity(config).items() if name.endswith(SUFFIX)}
    return hashlib.sha256(json.dumps(values | files, sort_keys=True).encode()).hexdigest()[:8]


def from_stored(default: Any, stored: Mapping[str, Any]) -> Any:
    """Returns the configuration that `identity` was taken of; options that it lacks stay.

    Args:
      default: a configuration of that class.
      stored: the result of `identity`, and of `locations`, read back from JSON.

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
