"""The laws of the house: imports point down, names are documented, nothing happens at import."""

import ast
import importlib
import inspect
import pathlib
import pkgutil
import subprocess
import sys

import pytest

import seqmodels as sm

ROOT = pathlib.Path(sm.__file__).parents[1]
FILES = sorted([*ROOT.glob("seqmodels/**/*.py"), *ROOT.glob("experiments/**/*.py")])
MODULES = sorted(
    {m.name for m in pkgutil.walk_packages(sm.__path__, "seqmodels.")}
    | {m.name for m in pkgutil.walk_packages([str(ROOT / "experiments")], "experiments.")}
)

# A place may import places with a smaller number, and itself.
FLOORS = {
    "seqmodels.pytrees": 0,
    "seqmodels.types": 0,
    "seqmodels.cells": 1,
    "seqmodels.drivers": 2,
    "seqmodels.combinators": 3,
    "seqmodels": 4,
    "seqmodels.data": 5,
    "seqmodels.datasets": 6,
    "seqmodels.tasks": 5,
    "seqmodels.models": 6,
    "seqmodels.analysis": 5,
    "seqmodels.plots": 5,
    "seqmodels.model_files": 8,
    "seqmodels.serving": 8,
    "seqmodels.training": 7,  # its metrics are statistics of the analysis
    "experiments": 9,
}
# Libraries that only these places may import.
LIBRARIES = {
    "optax": ("seqmodels.training",),
    "orbax": ("seqmodels.training",),
    "flax": ("seqmodels.linen", "seqmodels.nnx", "seqmodels.weights", "experiments.benchmark"),
    "matplotlib": ("seqmodels.plots",),
    "absl": ("experiments",),
    "torch": ("seqmodels.weights", "experiments.benchmark"),
    "haiku": ("seqmodels.weights", "experiments.benchmark"),
    "equinox": ("seqmodels.weights", "experiments.benchmark"),
}


def place(module):
    """The place a module belongs to: its longest prefix among the floors."""
    found = [name for name in FLOORS if module == name or module.startswith(name + ".")]
    return max(found, key=len)


def imports(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield module, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                is_module = (ROOT / full.replace(".", "/")).with_suffix(".py").exists()
                is_package = (ROOT / full.replace(".", "/")).is_dir()
                yield module, full if is_module or is_package else node.module


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    for module, imported in imports(path):
        library = imported.split(".")[0]
        if library in ("seqmodels", "experiments"):
            here, there = place(module), place(imported)
            assert here == there or FLOORS[there] < FLOORS[here], f"{module} imports {imported}"
        for places in [LIBRARIES[library]] if library in LIBRARIES else []:
            assert module.startswith(places), f"{module} imports {library}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_have_one_subject(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_documented(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for key, value in vars(module).items():
        if key.startswith("_") or getattr(value, "__module__", None) != name:
            continue
        if not (inspect.isfunction(value) or inspect.isclass(value)):
            continue
        own = value.__doc__ or ""
        assert own, f"{name}.{key}"
        assert not own.startswith(f"{key}("), f"{name}.{key}: the docstring NamedTuple makes"
        if inspect.isfunction(value) and key in sm.__all__ and "Arguments as in" not in own:
            for parameter in inspect.signature(value).parameters:
                assert f"{parameter}: " in own, f"{name}.{key}: {parameter}"


def test_all_names_exist_and_are_not_submodules_of_their_package():
    for name in ("seqmodels", *MODULES):
        module = importlib.import_module(name)
        exported = getattr(module, "__all__", [])
        assert len(set(exported)) == len(exported)
        if name != "seqmodels":  # whose list ends with the names of the catalog
            assert sorted(exported) == exported
        for export in exported:
            assert hasattr(module, export)
        if name not in ("seqmodels",) and hasattr(module, "__path__"):
            submodules = {m.name for m in pkgutil.iter_modules(module.__path__)}
            assert not submodules & set(exported), name


def test_importing_starts_no_backend():
    """Setting the number of devices works after the import, so no array was made."""
    code = (
        "import pkgutil, importlib, jax, seqmodels\n"
        "for m in pkgutil.walk_packages(seqmodels.__path__, 'seqmodels.'):\n"
        "  importlib.import_module(m.name)\n"
        "import experiments.benchmark, experiments.long_context\n"
        "jax.config.update('jax_num_cpu_devices', 3)\n"
        "assert len(jax.devices()) == 3\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_batch_of_inits_does_not_deadlock():
    """A batched QR decomposition waits for its own thread pool: two at once on few cores hang."""
    code = (
        "import jax, jax.numpy as jnp, seqmodels as sm\n"
        "cell = sm.stack([sm.lstm(32, 64), sm.gru(64, 64)])\n"
        "init = jax.jit(jax.vmap(cell.init))\n"
        "for n in range(60):\n"
        "  jax.block_until_ready(init(jax.vmap(jax.random.key)(jnp.arange(4) + n)))\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
