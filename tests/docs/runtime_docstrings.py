"""A griffe extension: docstrings of functions that are made by calls, such as `lstm_init`.

griffe reads source text, where such a function is an assignment without a docstring.
"""

import importlib
import inspect

import griffe


class RuntimeDocstrings(griffe.Extension):
    """Gives public attributes that are functions their signature and docstring."""

    def on_attribute_instance(self, *, attr, **kwargs):
        """Reads the docstring of an attribute of a module from the imported module."""
        module = attr.parent
        if module is None or not module.is_module or attr.name.startswith("_") or attr.docstring:
            return
        value = getattr(importlib.import_module(module.path), attr.name, None)
        if inspect.isfunction(value) and inspect.getdoc(value):
            text = f"    {attr.name}{_signature(value)}\n\n{inspect.getdoc(value)}"
            attr.docstring = griffe.Docstring(text, parent=attr, lineno=attr.lineno)
            attr.value = attr.annotation = None


def _signature(function):
    parameters = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parameters:
            parameters.append("*")
        bare = parameter.replace(annotation=parameter.empty)
        if callable(bare.default) and bare.default is not bare.empty:
            parameters.append(f"{bare.name}=...")
        else:
            parameters.append(str(bare))
    return f"({', '.join(parameters)})"
