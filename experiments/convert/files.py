"""Files of named arrays: safetensors, npz, and torch's own where torch is installed."""

import pathlib
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import safetensors.numpy

from experiments.common.errors import UserError
from seqmodels import model_files
from seqmodels.weights.transfer import to_numpy

Arrays = dict[str, np.ndarray]


def read(path: pathlib.Path) -> Arrays:
    """Returns the arrays of a file by name.

    Raises:
      UserError: if the file cannot be read.
    """
    readers: dict[str, Callable[[pathlib.Path], Arrays]] = {
        ".safetensors": lambda path: model_files.parse_safetensors(path.read_bytes()),
        ".npz": _read_npz,
        ".pt": _read_torch,
        ".pth": _read_torch,
    }
    if path.suffix not in readers:
        raise UserError(f"input: got {path.name!r}, expected a name that ends in {_any(readers)}")
    try:
        return readers[path.suffix](path)
    except OSError as error:
        raise UserError(f"input: {path} cannot be read: {error.strerror or error}") from None
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"input: {path} cannot be read: {error}") from None


def write(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name, atomically.

    Raises:
      UserError: if the file cannot be written.
    """
    if path.suffix == ".safetensors":
        write_bytes(path, safetensors.numpy.save(dict(arrays)))
        return
    if any(array.dtype.kind == "V" for array in arrays.values()):
        raise UserError("output: got bfloat16 for an .npz, which lacks it, expected .safetensors")
    named: dict[str, Any] = dict(arrays)
    with tempfile.TemporaryFile() as file:
        np.savez(file, **named)
        file.seek(0)
        write_bytes(path, file.read())


def write_bytes(path: pathlib.Path, data: bytes) -> None:
    """Writes a file atomically.

    Raises:
      UserError: if it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise UserError(f"output: {path} cannot be written: {error.strerror}") from None


def check_output(path: pathlib.Path, endings: tuple[str, ...], *, overwrite: bool) -> None:
    """Raises UserError unless a file of that name may be written."""
    if path.suffix not in endings:
        raise UserError(f"output: got {path.name!r}, expected a name that ends in {_any(endings)}")
    if path.is_dir():
        raise UserError(f"output: got {path}, which is a folder, expected a file")
    if path.exists() and not overwrite:
        raise UserError(f"output: got {path}, which exists, expected a new file or --overwrite")
    if not path.parent.is_dir():
        raise UserError(f"output: got {path}, whose folder does not exist")


def _any(endings: Mapping[str, object] | tuple[str, ...]) -> str:
    *others, last = endings
    return f"{', '.join(others)} or {last}" if others else last


def _read_npz(path: pathlib.Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it is not an .npz")
            return {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, EOFError):
        raise ValueError("it is not an .npz") from None


def _read_torch(path: pathlib.Path) -> Arrays:
    try:
        import torch
    except ImportError:
        raise UserError(
            f"input: got {path.name!r}, which needs torch, expected .safetensors or .npz"
        ) from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch raises errors of many kinds
        reason = str(error).split("\n")[0]
        raise ValueError(f"torch.load(weights_only=True): {reason}") from None
    if not isinstance(state, Mapping) or not all(hasattr(a, "detach") for a in state.values()):
        raise ValueError("expected a state_dict, tensors by name")
    return {name: to_numpy(tensor) for name, tensor in state.items()}
