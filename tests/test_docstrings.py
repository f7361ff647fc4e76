"""The examples of the docstrings run, and every public name has one."""

import contextlib
import doctest
import importlib
import inspect
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm

ROOT = pathlib.Path(sm.__file__).parent.parent
PROMPT = ">>> "
OPTIONAL = {  # folders whose import or examples need a library that is not installed with seqmodels
    "seqmodels/linen": "flax",
    "seqmodels/nnx": "flax",
    "seqmodels/flax_shared": "flax",
    "seqmodels/plots": "matplotlib",
    "seqmodels/weights/equinox.py": "equinox",
    "seqmodels/weights/linen.py": "flax",
    "seqmodels/weights/nnx.py": "flax",
    "seqmodels/weights/onnx_export.py": "onnx",
    "seqmodels/serving.py": "flatbuffers",
    "seqmodels/tasks/digits.py": "sklearn",
}
GLOBALS = {"jax": jax, "jnp": jnp, "np": np, "sm": sm}


def _files():
    files = sorted((ROOT / "seqmodels").rglob("*.py"))
    names = [file.relative_to(ROOT).as_posix() for file in files if PROMPT in file.read_text()]
    assert len(names) > 50  # files were found at all
    return names


def _module(name):
    return importlib.import_module(name.removesuffix(".py").removesuffix("/__init__").replace("/", "."))


@pytest.mark.parametrize("name", _files())
def test_examples_run(name, tmp_path, monkeypatch):
    for prefix, library in OPTIONAL.items():
        if name.startswith(prefix):
            pytest.importorskip(library)
    module = _module(name)
    monkeypatch.chdir(tmp_path)  # examples that write files
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    names = {**vars(module), **GLOBALS}
    tests = doctest.DocTestFinder(exclude_empty=True).find(module, globs=names)
    failures = []
    with jax.numpy_rank_promotion("allow"):
        for test in tests:
            output = []
            with contextlib.ExitStack():
                runner.run(test, out=output.append)
            failures += output
    assert not failures, "".join(failures)
    assert runner.tries > 0


def _documented():
    for name in sm.__all__:
        yield name, inspect.getdoc(getattr(sm, name)) or ""


def test_every_public_name_has_an_example():
    without = [name for name, text in _documented() if "Examples:" not in text or PROMPT not in text]
    assert not without
