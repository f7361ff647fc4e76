"""Trained models in folders: configuration, parameters, and the texts that they need."""

import hashlib
import json
import os
import pathlib
import secrets
import shutil
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from seqmodels.types import Array, Params

MODEL = "model.json"
PARAMS = "params.safetensors"
_FORMAT = 1
# Names of the safetensors format, of which its own loader into NumPy lacks bfloat16.
_DTYPES = {
    "BOOL": "bool", "BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64",
    "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64",
    "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64", "C64": "complex64",
}  # fmt: skip


class SavedModel(NamedTuple):
    """A saved model.

    Attributes:
      folder: its folder.
      config: everything needed to build the model again.
      arrays: its parameters by path, such as "cell.w_h".
      texts: the contents of its other files by name, such as "tokenizer.json".
    """

    folder: pathlib.Path
    config: dict[str, Any]
    arrays: dict[str, np.ndarray]
    texts: dict[str, str]


def save(
    folder: str | os.PathLike[str],
    kind: str,
    config: Mapping[str, Any],
    params: Params,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Writes a model into a folder; a model that this function wrote there is replaced.

    The folder holds `model.json`, `params.safetensors` and the texts. The write is atomic. The
    digests in `model.json` identify the files of an earlier model.

    Args:
      folder: its path; folders above it are made.
      kind: the kind to pass to `load`, such as "translation".
      config: JSON, everything needed to build the model again.
      params: a pytree of arrays.
      texts: contents of further files by name.

    Raises:
      ValueError: if the folder holds other files or a model of another kind. Also if a name is not
        a plain file name, or config is not JSON.
      OSError: if it cannot be written.

    Examples:
      >>> cell = sm.gru(3, 4)
      >>> save("model", "example", {"hidden_size": 4}, cell.init(jax.random.key(0)))
      >>> saved = load("model", "example")
      >>> saved.config, sorted(saved.arrays)
      ({'hidden_size': 4}, ['b', 'w_h', 'w_n', 'w_x'])
    """
    folder = pathlib.Path(folder)
    texts = dict(texts or {})
    for name in texts:
        if not name or name in (MODEL, PARAMS) or pathlib.Path(name).name != name:
            raise ValueError(f"texts: got {name!r}, expected the plain name of a further file")
    if os.path.lexists(folder) and not _is_own(folder, kind):
        raise ValueError(f"folder: got {folder}, which holds other things, expected a new name")
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in _by_path(params).items()}
    contents = {name: text.encode() for name, text in texts.items()}
    contents[PARAMS] = safetensors.numpy.save(arrays)
    try:
        described = json.dumps(
            {
                "format": _FORMAT,
                "kind": kind,
                "config": config,
                "sha256": {name: _digest(data) for name, data in contents.items()},
            },
            indent=1,
            ensure_ascii=False,
            allow_nan=False,
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"config: cannot be JSON: {error}") from None
    contents[MODEL] = f"{described}\n".encode()
    partial = folder.with_name(f".{folder.name}.partial")
    if os.path.lexists(partial) and not _is_own(partial, kind, whole=False):
        partial = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    # The description first, so that it identifies the leftovers of a killed process.
    for name in (MODEL, *(name for name in contents if name != MODEL)):
        (partial / name).write_bytes(contents[name])
    if folder.exists():
        # Checked again: writing the arrays may have taken long.
        if not _is_own(folder, kind):
            raise ValueError(f"folder: got {folder}, which holds other things, expected a new name")
        shutil.rmtree(folder)
    partial.rename(folder)


def _is_own(folder: pathlib.Path, kind: str, *, whole: bool = True) -> bool:
    """Returns whether `save` wrote all files of a folder; True for an empty folder.

    Args:
      folder: an existing path.
      kind: the kind of the model.
      whole: False for leftovers of a killed process, whose contents may be incomplete.
    """
    if folder.is_symlink() or not folder.is_dir():
        return False
    inside = list(folder.iterdir())
    if not inside:
        return True
    if any(path.is_symlink() or not path.is_file() for path in inside):
        return False
    try:
        described = json.loads((folder / MODEL).read_bytes())
        digests = dict(described["sha256"])
        own = described["format"] == _FORMAT and described["kind"] == kind
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False
    return own and all(
        path.name == MODEL
        or (not whole and path.name in digests)
        or digests.get(path.name) == _digest(path.read_bytes())
        for path in inside
    )


def load(folder: str | os.PathLike[str], kind: str) -> SavedModel:
    """Reads a model of a kind.

    Args:
      folder: the folder given to `save`.
      kind: the kind given to `save`.

    Returns:
      A `SavedModel`.

    Raises:
      ValueError: in one line, if there is no model, if it has another kind, or if it is damaged.

    Examples:
      >>> save("model", "example", {}, {"w": jnp.ones(3)}, texts={"words.txt": "red blue"})
      >>> saved = load("model", "example")
      >>> saved.arrays["w"].shape, saved.texts
      ((3,), {'words.txt': 'red blue'})
    """
    folder = pathlib.Path(folder)
    try:
        described = json.loads((folder / MODEL).read_bytes())
        found, form = described["kind"], described["format"]
        config, digests = dict(described["config"]), dict(described["sha256"])
    except OSError:
        raise ValueError(
            f"model: got {str(folder)!r}, expected the folder of a trained model ({MODEL})"
        ) from None
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"model: {folder / MODEL} is damaged") from None
    if found != kind:
        raise ValueError(f"model: {folder} is of kind {found}, expected {kind}")
    if form != _FORMAT:
        raise ValueError(f"model: {folder} has format {form}, expected {_FORMAT}")
    contents = {name: _read(folder, name, digest) for name, digest in digests.items()}
    if PARAMS not in contents:
        raise ValueError(f"model: {folder / MODEL} is damaged")
    arrays = parse_safetensors(contents.pop(PARAMS))
    return SavedModel(
        folder, config, arrays, {name: data.decode() for name, data in contents.items()}
    )


def parse_safetensors(data: bytes) -> dict[str, np.ndarray]:
    """Returns the arrays of a safetensors file by name, as read-only views.

    Args:
      data: the content of the file.

    Raises:
      ValueError: in one line, if it is not safetensors or holds a dtype that NumPy lacks.

    Examples:
      >>> save("model", "example", {}, {"w": jnp.ones(3)})
      >>> parse_safetensors(pathlib.Path("model/params.safetensors").read_bytes())["w"].shape
      (3,)
    """
    try:
        return {
            name: np.frombuffer(view["data"], jnp.dtype(_DTYPES[view["dtype"]])).reshape(
                view["shape"]
            )
            for name, view in safetensors.deserialize(data)
        }
    except safetensors.SafetensorError as error:
        raise ValueError(f"safetensors: {error}") from None
    except KeyError as error:
        raise ValueError(f"safetensors: got arrays of {error}, which NumPy lacks") from None


def restore(saved: SavedModel, init: Callable[[Array], Params]) -> Params:
    """Returns the parameters of a saved model, in the structure that its `init` gives them.

    Args:
      saved: the result of `load`.
      init: `init(key) -> params` of the model; it is traced, not run.

    Returns:
      A pytree of arrays on the default device.

    Raises:
      ValueError: if paths, shapes or dtypes differ from those of `init`; in one line.

    Examples:
      >>> cell = sm.gru(3, 4)
      >>> save("model", "example", {"hidden_size": 4}, cell.init(jax.random.key(0)))
      >>> restore(load("model", "example"), cell.init).w_h.shape
      (4, 8)
    """
    template = jax.eval_shape(init, jax.random.key(0))
    expected = _by_path(template)
    for name in sorted({*expected, *saved.arrays}):
        got, want = (
            f"{leaves[name].dtype}{tuple(leaves[name].shape)}" if name in leaves else "nothing"
            for leaves in (saved.arrays, expected)
        )
        if got != want:
            raise ValueError(f"model: {saved.folder}: {name}: got {got}, expected {want}")
    leaves = [jnp.asarray(saved.arrays[name]) for name in expected]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _by_path(params: Params) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read(folder: pathlib.Path, name: str, digest: str) -> bytes:
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise ValueError(f"model: {folder / name} cannot be read: {error.strerror}") from None
    if _digest(data) != digest:
        raise ValueError(f"model: {folder / name} is damaged")
    return data
