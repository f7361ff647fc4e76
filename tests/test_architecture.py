"""The laws of the house: imports point down, names are documented, nothing happens at import."""

import ast
import collections
import importlib
import inspect
import pathlib
import pkgutil
import re
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
EXPERIMENTS = sorted(path.parent.name for path in ROOT.glob("experiments/*/__main__.py"))

# A place may import places with a smaller number, and itself.
FLOORS = {
    "seqmodels.types": 0,
    "seqmodels.arrays": 1,
    "seqmodels.parallel": 1,
    "seqmodels.pytrees": 0.5,
    "seqmodels.texts": 1,
    "seqmodels.storage": 1,
    "seqmodels.cells": 1,
    "seqmodels.weights.layouts": 1,
    "seqmodels.drivers": 2,
    "seqmodels.combinators": 3,
    "seqmodels.weights": 3.5,
    "seqmodels": 4,
    "seqmodels.data": 5,
    "seqmodels.tasks": 5,
    "seqmodels.analysis": 5,
    "seqmodels.plots": 5,
    "seqmodels.datasets": 6,
    "seqmodels.models": 6,
    "seqmodels.training": 7,  # its metrics are statistics of the analysis
    "seqmodels.model_files": 8,
    "seqmodels.serving": 8,
    "experiments.common": 9,
    "experiments": 10,
}
# Libraries that only these places may import.
LIBRARIES = {
    "optax": ("seqmodels.training",),
    "orbax": ("seqmodels.training.checkpointing",),
    "flax": ("seqmodels.linen", "seqmodels.nnx", "experiments.benchmark"),
    "matplotlib": ("seqmodels.plots",),
    "absl": ("experiments.common.app", "experiments.common.flags", "experiments.common.hosts"),
    "torch": ("experiments.benchmark", "experiments.convert.files"),
    "haiku": ("experiments.benchmark",),
    "equinox": ("experiments.benchmark",),
    "keras": (),
    "onnx": ("seqmodels.weights.onnx_export",),
}
# Experiments that look at the trained models of others, and which; nobody imports these.
GUESTS = {"microscope": ("long_context", "sentiment")}
LONGEST_FILE = 400
MOST_POSITIONAL = 5


def place(module):
    """The place a module belongs to: its longest prefix among the floors."""
    found = [name for name in FLOORS if module == name or module.startswith(name + ".")]
    return max(found, key=len)


def module_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path):
    module = module_of(path)
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


def each_file(test):
    return pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))(
        test
    )


@each_file
def test_imports_point_down(path):
    for module, imported in imports(path):
        library = imported.split(".")[0]
        if library in ("seqmodels", "experiments"):
            here, there = place(module), place(imported)
            assert here == there or FLOORS[there] < FLOORS[here], f"{module} imports {imported}"
        for places in [LIBRARIES[library]] if library in LIBRARIES else []:
            assert module.startswith(places), f"{module} imports {library}"


@each_file
def test_an_experiment_imports_no_other(path):
    """But for one that looks at the models of others, which no other imports."""
    for module, imported in imports(path):
        if module.startswith("experiments.") and imported.startswith("experiments."):
            here, there = (name.split(".")[1] for name in (module, imported))
            allowed = (here, "common", *GUESTS.get(here, ()))
            assert there in allowed, f"{module} imports {imported}"
            assert there == here or there not in GUESTS, f"{module} imports {imported}"


def test_no_import_cycle():
    arrows = collections.defaultdict(set)
    for path in FILES:
        for module, imported in imports(path):
            # A package's own name stands for its __init__, which its modules may not import.
            if imported.split(".")[0] in ("seqmodels", "experiments") and imported != module:
                arrows[module].add(imported)
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            path.append(module)
            for imported in arrows[module]:
                visit(imported)
            path.pop()
            done.add(module)

    for module in sorted(arrows):
        visit(module)


@each_file
def test_files_have_one_subject(path):
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


@each_file
def test_functions_have_few_positional_arguments(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [argument.arg for argument in node.args.posonlyargs + node.args.args]
            count = len([name for name in names if name not in ("self", "cls")])
            assert count <= MOST_POSITIONAL, f"{path}:{node.lineno} {node.name}: {count}"


@each_file
def test_the_library_knows_no_command_line(path):
    """No text of seqmodels/ names a flag; those of pip are the exception."""
    if path.parts[len(ROOT.parts)] == "seqmodels" and path.name != "fetching.py":
        assert not re.findall(r"(?<![-\w])--[a-z_]{3,}", path.read_text())


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
        if name != "seqmodels":  # which lists the catalog's cells after its own names
            assert sorted(exported) == exported, name
        for export in exported:
            assert hasattr(module, export)
        if hasattr(module, "__path__"):
            submodules = {m.name for m in pkgutil.iter_modules(module.__path__)}
            taken = {e for e in exported if not inspect.ismodule(getattr(module, e))} & submodules
            assert not taken, name


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_a_function_of_a_value(name):
    experiment = importlib.import_module(f"experiments.{name}")
    assert experiment.Config() == experiment.Config()
    assert next(iter(inspect.signature(experiment.run).parameters)) == "config"
    main = importlib.import_module(f"experiments.{name}.__main__")
    assert main.EXPERIMENT.name == name
    assert main.EXPERIMENT.config == experiment.Config()


def test_importing_starts_no_backend():
    """Setting the number of devices works after the import, so no array was made."""
    code = (
        "import importlib, sys, jax\n"
        "for name in sys.argv[1:]:\n"
        "  importlib.import_module(name)\n"
        "seqmodels = sys.modules['seqmodels']\n"
        "seqmodels.data_parallel(len, batch_axis=0)\n"
        "seqmodels.use_cpu_cores(2)\n"
        "seqmodels.use_cpu_cores(3)\n"
        "assert len(jax.devices()) == 3\n"
        "seqmodels.use_cpu_cores(3)\n"
    )
    peers = ("experiments.benchmark.torch_peer", "experiments.benchmark.peers")
    names = [name for name in MODULES if name not in peers]
    done = subprocess.run(
        [sys.executable, "-c", code, *names], capture_output=True, text=True, cwd=ROOT, check=False
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
