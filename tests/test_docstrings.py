"""The examples of the docstrings run, and every public name has one."""

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
GLOBALS = {"jax": jax, "jnp": jnp, "np": np, "sm": sm}
OPTIONAL = {  # files, or folders of them, whose examples need a library of an extra
    "seqmodels/linen": "flax",
    "seqmodels/nnx": "flax",
    "seqmodels/serving.py": "flatbuffers",
    "seqmodels/tasks/digits.py": "sklearn",
    "seqmodels/weights/equinox.py": "equinox",
    "seqmodels/weights/linen.py": "flax",
    "seqmodels/weights/nnx.py": "flax",
    "seqmodels/weights/onnx_export.py": "onnx",
}
FILES = sorted(
    file.relative_to(ROOT).as_posix()
    for file in (ROOT / "seqmodels").rglob("*.py")
    if PROMPT in file.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", FILES)
def test_examples_run(name, tmp_path, monkeypatch):
    for prefix, library in OPTIONAL.items():
        if name.startswith(prefix):
            pytest.importorskip(library)
    path = name.removesuffix(".py").removesuffix("/__init__")
    module = importlib.import_module(path.replace("/", "."))
    monkeypatch.chdir(tmp_path)  # for examples that write files
    tests = doctest.DocTestFinder().find(module, globs=vars(module) | GLOBALS)
    source = (ROOT / name).read_text(encoding="utf-8")
    assert sum(len(test.examples) for test in tests) == source.count(PROMPT)  # all were found
    runner, failures = doctest.DocTestRunner(), []
    for test in tests:
        runner.run(test, out=failures.append)
    assert not failures, "".join(failures)


def test_every_public_name_has_an_example():
    docstrings = {name: inspect.getdoc(getattr(sm, name)) or "" for name in sm.__all__}
    assert [name for name, text in docstrings.items() if f"Examples:\n  {PROMPT}" not in text] == []
