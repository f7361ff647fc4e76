"""Shared code of commands that use a trained model: text to read, figures and models to write."""

import os
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from experiments.common.errors import UserError
from experiments.common.terminal import say
from seqmodels import plots, serving

STANDARD_INPUT = "-"


def read_text(value: str) -> str:
    """Returns the text of an option: the value itself, or standard input where it is "-".

    Raises:
      UserError: if the text is not UTF-8.
    """
    try:
        # Arguments of the command line that are not UTF-8 arrive as lone surrogates.
        content = (
            sys.stdin.buffer.read()
            if value == STANDARD_INPUT
            else value.encode("utf-8", "surrogateescape")
        )
        text = content.decode("utf-8")
    except UnicodeEncodeError:
        raise UserError("predict: got lone surrogates, expected text") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"predict: got bytes that are not UTF-8 (0x{content[error.start]:02x} at position "
            f"{error.start}), expected text"
        ) from None
    return text.rstrip("\n") if value == STANDARD_INPUT else text


def save_figure(figure: Any, path: str | os.PathLike[str], name: str = "plot") -> None:
    """Writes a figure and prints its path.

    Args:
      figure: a Matplotlib figure.
      path: the path of the picture.
      name: name of the option for messages.

    Raises:
      UserError: if it cannot be written, or another file is there.
    """
    try:
        path = plots.save(figure, path)
    except FileExistsError as error:
        raise UserError(f"{name}: {error}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: {path} cannot be written: {_reason(error)}") from None
    say(f"{name}: {path}")


def export(
    path: str | os.PathLike[str],
    apply: Callable[..., Any],
    params: Any,
    inputs: Mapping[str, tuple[str, str]],
    **more: Any,
) -> None:
    """Writes a model into one file for `seqmodels.serving.load` and prints its path and size.

    Args:
      path: the path of the file.
      apply: as in `serving.export`; so are the other arguments.
      params: see `serving.export`.
      inputs: see `serving.export`.
      **more: texts and about, see `serving.export`.

    Raises:
      UserError: if it cannot be written.
    """
    try:
        written = serving.export(path, apply, params, inputs, **more)
    except FileExistsError as error:
        raise UserError(f"export: {error}") from None
    except (OSError, ImportError) as error:
        raise UserError(f"export: {path} cannot be written: {_reason(error)}") from None
    say(f"exported: {written} ({pathlib.Path(written).stat().st_size / 1e6:.1f} MB)")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
