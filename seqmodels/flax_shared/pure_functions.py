"""Decides whether a function may be traced once and its trace reused.

Flax traces a cell's activations at every call. A driver traces them once and compiles them. That
would freeze what a function reads from something mutable, such as an `nnx.Param` that it closes
over.
"""

import functools
import types
from typing import Any

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_LIBRARIES = ("jax", "jaxlib", "flax")
_MODULES = (*_LIBRARIES, "numpy", "math", "functools")
_DEPTH = 8  # functions that call functions are followed this far


def is_pure(function: Any) -> bool:
    """Returns whether a function is known to depend on its arguments alone.

    Known are functions of JAX and Flax, functions that read only modules, classes and pure
    functions, and `functools.partial` of them with plain values. Other callables, such as
    `nnx.Module`s, bound methods and functions that close over arrays, are not.
    """
    return _is_pure(function, _DEPTH)


def _is_pure(function: Any, depth: int) -> bool:
    if depth == 0:
        return False
    if isinstance(function, functools.partial):
        values = (*function.args, *function.keywords.values())
        return _is_pure(function.func, depth - 1) and all(isinstance(v, _PLAIN) for v in values)
    if isinstance(function, types.FunctionType):
        return _of_library(function) or _reads_nothing_mutable(function, depth - 1)
    # A compiled function or a custom derivative, which has the module of the function it wraps.
    wrapped = getattr(function, "__wrapped__", None)
    if type(function).__module__.split(".")[0] not in ("jax", "jaxlib") or wrapped is None:
        return False
    return _of_library(function) or _is_pure(wrapped, depth - 1)


def _of_library(thing: Any) -> bool:
    module = getattr(thing, "__module__", None)
    return isinstance(module, str) and module.split(".")[0] in _LIBRARIES


def _reads_nothing_mutable(function: types.FunctionType, depth: int) -> bool:
    try:
        closed_over = [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError:  # a variable that has no value yet
        return False
    defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    names = _names(function.__code__)
    read = [function.__globals__[name] for name in names if name in function.__globals__]
    # A global number may be changed, unlike a number in a closure or a default.
    return all(
        isinstance(v, _PLAIN) or _is_pure(v, depth) for v in (*closed_over, *defaults)
    ) and all(_is_library_name(v) or _is_pure(v, depth) for v in read)


def _is_library_name(thing: Any) -> bool:
    if isinstance(thing, types.ModuleType):
        return thing.__name__.split(".")[0] in _MODULES
    return isinstance(thing, type) and _of_library(thing)


def _names(code: types.CodeType) -> set[str]:
    """Returns the names of globals and attributes that the code reads, inner functions' too."""
    inner = [_names(const) for const in code.co_consts if isinstance(const, types.CodeType)]
    return set(code.co_names).union(*inner)
