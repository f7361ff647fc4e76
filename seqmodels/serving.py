"""Export of a trained model to one file that runs without its code and the training code.

    inputs = {"tokens": ("T, B", "int32"), "lengths": ("B", "int32")}
    serving.export("model.seq", apply, params, inputs)
    served = serving.load("model.seq")            # in another process
    outputs = served(tokens, lengths)

The file holds the compiled function (`jax.export`), the parameters, and what else is needed to use
it: tokenizer, names of classes. This module needs JAX, NumPy and flatbuffers alone.
"""

import hashlib
import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

MAGIC = b"seqmodels-serving "
VERSION = 1


class ServedModel(NamedTuple):
    """A model from a file; `served(*inputs)` runs it.

    Attributes:
      call: `call(*inputs) -> outputs`, compiled once for each shape of inputs.
      inputs: for each input (name, shape, dtype); sizes that may vary have a letter, as in "T, B".
      texts: the texts that were saved with it, by name, such as "tokenizer.json".
      about: further data saved with it, as JSON.
    """

    call: Callable[..., Any]
    inputs: tuple[tuple[str, str, str], ...]
    texts: dict[str, str]
    about: dict[str, Any]

    def __call__(self, *inputs: Any) -> Any:
        """Returns the outputs for inputs of the shapes and dtypes in `inputs`.

        Raises:
          ValueError: if the number of inputs differs, or the shape or dtype of one. A letter does
            not stand for a size of 0.
        """
        return self.call(*_checked(inputs, self.inputs))


def export(
    path: str | os.PathLike[str],
    function: Callable[..., Any],
    params: Any,
    inputs: Mapping[str, tuple[str, str]],
    *,
    texts: Mapping[str, str] | None = None,
    about: Mapping[str, Any] | None = None,
    platforms: Sequence[str] | None = None,
) -> pathlib.Path:
    """Writes a function and its parameters into one file.

    Args:
      path: the file; an existing one is replaced if this function wrote it.
      function: `function(params, *inputs) -> outputs`, pure; outputs are an array, or tuples,
        lists and dicts of arrays. A recurrence inside must run with `method="scan"` (or "fused"):
        "auto" plans by sizes that a letter leaves open.
      params: a pytree of arrays.
      inputs: shape and dtype of each input by name, such as `("T, B, 4", "int32")`. A letter is a
        size that may vary; the same letter is the same size.
      texts: texts to save with it, by name.
      about: further data, as JSON.
      platforms: the platforms to run on: "cpu", "cuda", "rocm", "tpu"; None for this machine's.

    Returns:
      The path.

    Raises:
      ValueError: if the function cannot be compiled for unknown sizes.
      OSError: if the file cannot be written; FileExistsError if another file is there.
      ImportError: if flatbuffers is not installed.

    Examples:
      >>> cell = sm.gru(3, 4)
      >>> apply = lambda params, xs: sm.unroll(cell, params, xs, method="scan")[1]
      >>> params, inputs = cell.init(jax.random.key(0)), {"xs": ("T, B, 3", "float32")}
      >>> served = load(export("model.seq", apply, params, inputs))
      >>> served(np.ones((5, 2, 3), np.float32)).shape
      (5, 2, 4)
    """
    path = pathlib.Path(path)
    paths, structure = jax.tree.flatten_with_path(params)
    names = [jax.tree_util.keystr(leaf_path, simple=True, separator=".") for leaf_path, _ in paths]
    leaves = [np.asarray(leaf) for _, leaf in paths]

    def flat(leaves: list[Any], *values: Any) -> Any:
        return function(jax.tree.unflatten(structure, leaves), *values)

    scope = jax.export.SymbolicScope()
    shapes = [
        jax.ShapeDtypeStruct(jax.export.symbolic_shape(shape, scope=scope), jnp.dtype(dtype))
        for shape, dtype in inputs.values()
    ]
    like = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
    try:
        exported = jax.export.export(jax.jit(flat), platforms=platforms)(like, *shapes)
    except (jax.errors.InconclusiveDimensionOperation, TypeError) as error:
        if isinstance(error, TypeError) and "_DimExpr" not in str(error):
            raise
        raise ValueError(
            "export: function: got one that needs to know a size, expected one for every size "
            f"(unroll with method='scan'): {_first_line(error)}"
        ) from error
    program = bytes(exported.serialize())
    header = {
        "jax": jax.__version__,
        "inputs": [[name, shape, str(jnp.dtype(kind))] for name, (shape, kind) in inputs.items()],
        "texts": dict(texts or {}),
        "about": dict(about or {}),
        "program": len(program),
        "arrays": [
            [name, str(leaf.dtype), list(leaf.shape)]
            for name, leaf in zip(names, leaves, strict=True)
        ],
    }
    body = b"".join(
        [json.dumps(header).encode(), b"\n", program, *(leaf.tobytes() for leaf in leaves)]
    )
    digest = hashlib.sha256(body).hexdigest().encode()
    # The rest of this module also runs alone, as a copied file.
    from seqmodels.storage import replacing

    content = MAGIC + b"%d\n" % VERSION + digest + b"\n" + body
    return replacing.write_bytes(
        path,
        content,
        lambda data: data.startswith(MAGIC),
        "a model of serving.export",
    )


def load(path: str | os.PathLike[str]) -> ServedModel:
    """Loads a model written by `export`.

    Args:
      path: the file.

    Returns:
      `ServedModel`.

    Raises:
      ValueError: in one line, if it is another kind of file, has another version, or is damaged.
        Also if it is for a JAX version or platform that is not available.
      OSError: if it cannot be read.
      ImportError: if flatbuffers is not installed.

    Examples:
      >>> path = export("sum.seq", lambda w, xs: xs @ w, jnp.ones(3), {"xs": ("B, 3", "float32")})
      >>> load(path).inputs
      (('xs', 'B, 3', 'float32'),)
    """
    first, _, rest = pathlib.Path(path).read_bytes().partition(b"\n")
    if not first.startswith(MAGIC):
        raise ValueError(f"{path}: is not a model that serving.export has written")
    if first != MAGIC + b"%d" % VERSION:
        version = first.removeprefix(MAGIC).decode(errors="replace")
        raise ValueError(f"{path}: got version {version:.20}, expected version {VERSION}")
    digest, _, body = rest.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError(f"{path}: is damaged: its sha256 is not what it was written with")
    line, _, blobs = body.partition(b"\n")
    header = json.loads(line)
    try:
        exported = jax.export.deserialize(bytearray(blobs[: header["program"]]))
    except ImportError:  # what JAX needs for it, named in one line
        raise
    except Exception as error:  # JAX documents no type for it
        raise ValueError(
            f"{path}: was written with JAX {header['jax']}, which JAX {jax.__version__} cannot "
            f"read: {_first_line(error)}"
        ) from error
    if jax.default_backend() not in {_platform(name) for name in exported.platforms}:
        raise ValueError(
            f"{path}: got a model for {', '.join(exported.platforms)}, expected one for "
            f"{jax.default_backend()}"
        )
    leaves = [jnp.asarray(leaf) for leaf in _arrays(blobs[header["program"] :], header["arrays"])]
    run = jax.jit(exported.call)
    return ServedModel(
        call=lambda *inputs: run(leaves, *inputs),
        inputs=tuple((name, shape, dtype) for name, shape, dtype in header["inputs"]),
        texts=header["texts"],
        about=header["about"],
    )


def _arrays(blob: bytes, described: list[list[Any]]) -> list[np.ndarray]:
    arrays, start = [], 0
    for _, dtype, shape in described:
        count = math.prod(shape)
        arrays.append(np.frombuffer(blob, jnp.dtype(dtype), count, start).reshape(shape))
        start += count * jnp.dtype(dtype).itemsize
    return arrays


def _checked(values: Sequence[Any], expected: Sequence[tuple[str, str, str]]) -> list[Any]:
    if len(values) != len(expected):
        names = ", ".join(name for name, _, _ in expected)
        raise ValueError(f"served: got {len(values)} inputs, expected {len(expected)}: {names}")
    sizes: dict[str, int] = {}
    arrays = []
    for value, (name, shape, dtype) in zip(values, expected, strict=True):
        array = _as_jax_holds_it(name, value)
        sides = [side.strip() for side in shape.strip("()").split(",") if side.strip()]
        fits = array.dtype == jnp.dtype(dtype) and array.ndim == len(sides)
        for side, size in zip(sides, array.shape, strict=False):
            fits = fits and (
                size == (int(side) if side.isdecimal() else sizes.setdefault(side, size))
            )
        if not fits:
            known = "".join(f", {letter} = {size}" for letter, size in sizes.items())
            raise ValueError(
                f"{name}: got {array.dtype} {array.shape}, expected {dtype} ({shape}){known}"
            )
        if 0 in array.shape:
            raise ValueError(
                f"{name}: got shape {array.shape}, expected sizes of at least 1 in ({shape})"
            )
        arrays.append(array)
    return arrays


def _as_jax_holds_it(name: str, value: Any) -> Any:
    """Returns an array of the dtype that JAX holds, which turns 64 bits into 32 silently.

    Raises:
      ValueError: if a number does not fit.
    """
    if isinstance(value, jax.Array):
        return value
    try:
        given = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: got values that are not an array: {error}") from None
    if given.dtype.kind not in "biufc" and given.dtype.kind != "V":
        raise ValueError(f"{name}: got {given.dtype}, expected numbers")
    held = jax.dtypes.canonicalize_dtype(given.dtype)
    if held == given.dtype:
        return jnp.asarray(given)
    with np.errstate(over="ignore", invalid="ignore"):
        array = given.astype(held)
        lost = array != given if held.kind in "iu" else np.isfinite(given) & ~np.isfinite(array)
    if lost.any():
        raise ValueError(
            f"{name}: got {given[lost].flat[0]}, expected numbers that {held} can hold"
        )
    return jnp.asarray(array)


def _platform(name: str) -> str:
    """Returns JAX's name of the backend of a platform."""
    return {"cuda": "gpu", "rocm": "gpu"}.get(name, name)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
