"""Check that an activation function acts elementwise.

A driver applies activations to other batches than the caller: to all gates at once, to a chunk of
steps at once. That is right for a function of single entries, and wrong for one that reads several
(softmax) or that has a state, parameters or effects.
"""

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

# fmt: off
_ELEMENTWISE = frozenset({
    "abs", "acos", "acosh", "add", "and", "asin", "asinh", "atan", "atan2", "atanh", "cbrt",
    "ceil", "clamp", "convert_element_type", "copy", "cos", "cosh", "digamma", "div", "eq",
    "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt", "integer_pow",
    "is_finite", "le", "lgamma", "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne",
    "neg", "nextafter", "not", "or", "pow", "reduce_precision", "rem", "round", "rsqrt",
    "select_n", "sign", "sin", "sinh", "sqrt", "square", "stop_gradient", "sub", "tan", "tanh",
    "xor",
})
_CALLS = frozenset({
    "checkpoint", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call",
    "custom_vjp_call_jaxpr", "jit", "pjit", "remat2",
})
# fmt: on


def is_elementwise(function: Callable[..., Any], dtype: Any = jnp.float32) -> bool:
    """Returns whether `function` maps an array entry by entry, and depends on nothing else.

    True only if that is certain: for a Python function (also under jit, partial or a custom
    derivative) whose trace has operations on single entries alone, and no arrays from outside. A
    method, a callable object or a function that closes over an array gives False.

    Args:
      function: the activation, a function of one array.
      dtype: the dtype of its argument.
    """
    plain, options = function, []
    if isinstance(function, functools.partial):
        plain, options = function.func, [*function.args, *function.keywords.values()]
    plain = inspect.unwrap(plain)
    if not isinstance(plain, types.FunctionType):
        return False
    if not all(isinstance(option, int | float) for option in options):
        return False
    # What a closure reads may change, so the answer is kept only for functions without one.
    check = _check if plain.__closure__ or options else _cached_check
    return check(function, jnp.dtype(dtype))


def _check(function: Callable[..., Any], dtype: jnp.dtype) -> bool:
    try:
        closed = jax.make_jaxpr(function)(jax.ShapeDtypeStruct((2, 3), dtype))
    except Exception:  # the caller gets the error when the function runs
        return False
    shapes = [getattr(aval, "shape", None) for aval in closed.out_avals]
    return shapes == [(2, 3)] and _is_safe(closed)


_cached_check = functools.lru_cache(maxsize=256)(_check)


def _is_safe(jaxpr: Jaxpr | ClosedJaxpr) -> bool:
    if isinstance(jaxpr, ClosedJaxpr):
        if jaxpr.consts:
            return False
        jaxpr = jaxpr.jaxpr
    return not jaxpr.effects and not jaxpr.constvars and all(map(_is_safe_equation, jaxpr.eqns))


def _is_safe_equation(equation: Any) -> bool:
    inputs = equation.invars
    if any(jnp.shape(v.val) for v in inputs if isinstance(v, Literal)):
        return False
    name = equation.primitive.name
    if name in _CALLS:
        inner = [p for p in equation.params.values() if isinstance(p, Jaxpr | ClosedJaxpr)]
        return bool(inner) and all(map(_is_safe, inner))
    if name == "broadcast_in_dim":
        return inputs[0].aval.shape in ((), equation.outvars[0].aval.shape)
    shapes = {variable.aval.shape for variable in (*inputs, *equation.outvars)}
    return name in _ELEMENTWISE and shapes <= {(), (2, 3)}
