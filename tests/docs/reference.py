"""Public names and the pages of the API reference; also the hook of mkdocs that compares them.

`mkdocs build` stops with the list of the names that have no page.
"""

import importlib
import inspect
import pathlib
import pkgutil
import re
import zlib

ROOT = pathlib.Path(__file__).parents[2]
PAGES = ROOT / "docs" / "reference"
# Modules whose public names are those that a package above them exports, or that nobody calls
# from outside of the library.
INTERNAL = (
    "seqmodels.analysis.autocorrelation.",
    "seqmodels.cells.",
    "seqmodels.combinators.",
    "seqmodels.drivers",
    "seqmodels.flax_shared",
    "seqmodels.linen.",
    "seqmodels.nnx.",
    "seqmodels.parallel",
    "seqmodels.plots.",
    "seqmodels.storage",
    "seqmodels.types",
    "seqmodels.weights.",
)


def directives():
    """Returns the dotted names for which the reference has a directive."""
    text = "\n".join(page.read_text() for page in sorted(PAGES.glob("*.md")))
    return re.findall(r"^::: (\S+)$", text, re.MULTILINE)


def public_names():
    """Returns the public functions and classes of the library by their dotted names."""
    import seqmodels

    names = _names_of(seqmodels)
    for info in pkgutil.walk_packages(seqmodels.__path__, "seqmodels."):
        if not info.name.startswith(INTERNAL):
            names |= _names_of(importlib.import_module(info.name))
    return names | _names_of(seqmodels.initializers)


def missing_names():
    """Returns the public names without a page, and those without a docstring."""
    covered = set()
    for directive in directives():
        found = _object(directive)
        covered |= {id(found)}
        if inspect.ismodule(found):
            covered |= {id(value) for value in _names_of(found).values()}
    return sorted(
        name
        for name, value in public_names().items()
        if id(value) not in covered or not inspect.getdoc(value)
    )


def on_pre_build(config):
    """Stops the build if a public name has no page."""
    from mkdocs.exceptions import Abort

    if missing := missing_names():
        raise Abort(f"reference: got no page for {', '.join(missing)}")


def on_post_build(config):
    """Stops the build if a public name is on no built page, such as one that griffe overlooks."""
    from mkdocs.exceptions import Abort

    inventory = (pathlib.Path(config["site_dir"]) / "objects.inv").read_bytes()
    lines = zlib.decompress(inventory.split(b"\n", 4)[4]).decode().splitlines()
    built = {line.split(" ")[0] for line in lines}
    names = public_names()
    shown = {id(value) for name, value in names.items() if name in built}
    if missing := sorted(name for name, value in names.items() if id(value) not in shown):
        raise Abort(f"reference: got no entry for {', '.join(missing)}")


def _object(dotted):
    parts = dotted.split(".")
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError:
        return getattr(importlib.import_module(".".join(parts[:-1])), parts[-1])


def _names_of(module):
    """Returns the functions and classes of a module: those in `__all__`, or those defined in it."""
    listed = getattr(module, "__all__", None)
    names = [name for name in listed or vars(module) if not name.startswith("_")]
    found = {f"{module.__name__}.{name}": getattr(module, name) for name in names}
    return {
        name: value
        for name, value in found.items()
        if callable(value)
        and str(getattr(value, "__module__", "")).startswith("seqmodels")
        and (listed or value.__module__ == module.__name__)
    }
