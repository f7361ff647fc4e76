"""Compression of linear functions into programs with few coefficients.

The transposed Jacobian of an `update` is a linear function that the backward pass applies at every
step. Autodiff writes it as a chain of products with intermediate values of the forward computation.
For an LSTM these are eleven arrays, each read at every step, some of them twice. This module
multiplies the chains out for all steps at once and adds parallel chains between the same two
values. Then a step reads one array for each remaining path: six for an LSTM, with or without
peepholes, as many as in a derivation by hand.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from seqmodels.types import Array


class _Combination(NamedTuple):
    """A linear combination that is not computed yet: number of a value -> coefficient, None: 1."""

    terms: dict[int, Array | None]
    shape: tuple[int, ...]
    dtype: Any


class _Concatenation(NamedTuple):
    """Combinations that are concatenated along one axis."""

    axis: int
    parts: list[_Combination]


class _AddProducts(NamedTuple):
    """Instruction: one value, a sum of products of a value and a coefficient, None for one."""

    terms: list[tuple[int, int | None]]
    shape: tuple[int, ...]
    dtype: Any


class _Known(NamedTuple):
    """Instruction: one value that does not depend on the arguments."""

    coefficient: int


class _Concatenate(NamedTuple):
    """Instruction: one value, a concatenation of values."""

    axis: int
    parts: list[int]


class _Apply(NamedTuple):
    """Instruction: values of another linear primitive; arguments are (is_value, number)."""

    equation: Any
    arguments: list[tuple[bool, int]]


def compress(
    function: Callable[..., Any], *examples: Any
) -> tuple[list[Array], Callable[[Sequence[Array]], Callable[..., Any]]]:
    """Returns the coefficients of a linear function, and a function that rebuilds it from them.

    Args:
      function: linear in all its arguments; it closes over the values that determine its
        coefficients.
      *examples: arguments, or their shapes.

    Returns:
      (coefficients, rebuild): `rebuild(coefficients)(*arguments) = function(*arguments)`. Under
      `jax.vmap` the coefficients get an axis; `rebuild` takes their slices along it.
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*examples)
    compressor = _Compressor(closed.jaxpr.invars)
    outputs = compressor.interpret(closed.jaxpr, closed.consts, compressor.arguments)
    results = [compressor.number_of(output) for output in outputs]
    structure = jax.tree.structure(shapes)
    program = compressor.program

    def rebuild(coefficients: Sequence[Array]) -> Callable[..., Any]:
        def linear(*arguments: Any) -> Any:
            values = _run(program, coefficients, jax.tree.leaves(arguments))
            return jax.tree.unflatten(structure, [values[number] for number in results])

        return linear

    return compressor.coefficients, rebuild


def _run(program: list[Any], coefficients: Sequence[Array], values: list[Array]) -> list[Array]:
    """Returns all values of a program, the arguments first."""
    values = list(values)
    for instruction in program:
        match instruction:
            case _AddProducts(terms, shape, dtype):
                products = [
                    values[v] if c is None else values[v] * coefficients[c] for v, c in terms
                ]
                total = sum(products[1:], products[0]) if products else jnp.zeros(shape, dtype)
                values.append(jnp.broadcast_to(total, shape))
            case _Known(coefficient):
                values.append(coefficients[coefficient])
            case _Concatenate(axis, parts):
                values.append(lax.concatenate([values[v] for v in parts], axis))
            case _Apply(equation, arguments):
                inputs = [values[n] if is_value else coefficients[n] for is_value, n in arguments]
                values.extend(bind_equation(equation, inputs))
    return values


def bind_equation(
    equation: Any, inputs: list[Any], params: dict[str, Any] | None = None
) -> list[Any]:
    """Returns the results of an equation of a jaxpr; `params` replaces its parameters."""
    given = equation.primitive.get_bind_params(equation.params if params is None else params)
    outputs = equation.primitive.bind(*inputs, **given)
    return list(outputs) if equation.primitive.multiple_results else [outputs]


class _Compressor:
    """Translates a linear jaxpr into a program and its coefficients."""

    def __init__(self, variables: Sequence[Any]):
        self.program: list[Any] = []
        self.coefficients: list[Array] = []
        self.arguments = [_combination({n: None}, var.aval) for n, var in enumerate(variables)]
        self._num_values = len(variables)
        # id of a combination or concatenation -> (itself, number of its value)
        self._numbers: dict[int, tuple[Any, int]] = {}

    def interpret(self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        """Returns the results of a jaxpr: combinations, concatenations, or known arrays."""
        env = dict(zip(jaxpr.constvars, consts, strict=True))
        env.update(zip(jaxpr.invars, inputs, strict=True))

        def read(var: Any) -> Any:
            return var.val if hasattr(var, "val") else env[var]

        for equation in jaxpr.eqns:
            given = [read(var) for var in equation.invars]
            env.update(zip(equation.outvars, self._apply(equation, given), strict=True))
        return [read(var) for var in jaxpr.outvars]

    def number_of(self, a: Any) -> int:
        """Returns the number of the value of a combination; emits its instruction once."""
        if not _is_linear(a):  # of a derivative rule that ignores the cotangent
            return self._emit(_Known(self._coefficient(a)))
        if isinstance(a, _Combination) and list(a.terms.values()) == [None]:
            return next(iter(a.terms))
        if id(a) not in self._numbers:
            if isinstance(a, _Concatenation):
                parts = [self.number_of(part) for part in a.parts]
                number = self._emit(_Concatenate(a.axis, parts))
            else:
                terms = [
                    (n, None if c is None else self._coefficient(c)) for n, c in a.terms.items()
                ]
                number = self._emit(_AddProducts(terms, a.shape, a.dtype))
            self._numbers[id(a)] = a, number
        return self._numbers[id(a)][1]

    def _emit(self, instruction: Any, num_values: int = 1) -> int:
        self.program.append(instruction)
        self._num_values += num_values
        return self._num_values - num_values

    def _coefficient(self, array: Any) -> int:
        known = [n for n, other in enumerate(self.coefficients) if other is array]
        if known:
            return known[0]
        self.coefficients.append(jnp.asarray(array))
        return len(self.coefficients) - 1

    def _apply(self, equation: Any, given: list[Any]) -> list[Any]:
        name, out = equation.primitive.name, equation.outvars[0].aval
        linear = [_is_linear(a) for a in given]
        if not any(linear):
            if name == "broadcast_in_dim" and getattr(equation.invars[0], "val", None) == 0:
                return [_combination({}, out)]
            return bind_equation(equation, given)
        if name in ("jit", "pjit"):
            inner = equation.params["jaxpr"]
            return self.interpret(inner.jaxpr, inner.consts, given)
        if name == "neg":
            return [self._times(given[0], jnp.full((1,) * out.ndim, -1, out.dtype), out)]
        if name == "mul" and sum(linear) == 1:
            a, factor = given if linear[0] else given[::-1]
            if jnp.ndim(factor) == 0:  # a literal of the jaxpr, which fits any rank
                factor = jnp.full((1,) * out.ndim, factor, out.dtype)
            return [self._times(a, factor, out)]
        if name in ("add_any", "add") and all(linear):
            return [self._plus(given[0], given[1], out)]
        if name == "concatenate" and all(isinstance(a, _Combination) for a in given):
            return [_Concatenation(equation.params["dimension"], given)]
        arguments = [
            (is_linear, self.number_of(a) if is_linear else self._coefficient(a))
            for a, is_linear in zip(given, linear, strict=True)
        ]
        first = self._emit(_Apply(equation, arguments), len(equation.outvars))
        return [_combination({first + n: None}, var.aval) for n, var in enumerate(equation.outvars)]

    def _times(self, a: Any, factor: Array, out: Any) -> Any:
        if isinstance(a, _Concatenation):
            parts, start = [], 0
            for part in a.parts:
                size, share = part.shape[a.axis], factor
                if factor.shape[a.axis] != 1:
                    share = lax.slice_in_dim(factor, start, start + size, axis=a.axis)
                parts.append(self._times(part, share, _Combination({}, part.shape, out.dtype)))
                start += size
            return _Concatenation(a.axis, parts)
        terms = a.terms
        if len(terms) > 1:  # one coefficient for the sum instead of one for each of its terms
            terms = {self.number_of(a): None}
        return _combination({n: factor if c is None else c * factor for n, c in terms.items()}, out)

    def _plus(self, a: Any, b: Any, out: Any) -> Any:
        both = isinstance(a, _Concatenation) and isinstance(b, _Concatenation)
        if both and _part_shapes(a) == _part_shapes(b):
            pairs = zip(a.parts, b.parts, strict=True)
            return _Concatenation(a.axis, [self._plus(f, g, f) for f, g in pairs])
        terms: dict[int, Array | None] = {}
        for addend in (a, b):
            new = (
                addend.terms if isinstance(addend, _Combination) else {self.number_of(addend): None}
            )
            for n, c in new.items():
                if n in terms:
                    one = jnp.ones((1,) * len(out.shape), out.dtype)
                    first = terms[n]
                    c = (one if first is None else first) + (one if c is None else c)
                terms[n] = c
        return _combination(terms, out)


def _combination(terms: dict[int, Array | None], like: Any) -> _Combination:
    return _Combination(terms, like.shape, like.dtype)


def _is_linear(a: Any) -> bool:
    return isinstance(a, _Combination | _Concatenation)


def _part_shapes(a: _Concatenation) -> tuple[int, list[tuple[int, ...]]]:
    return a.axis, [part.shape for part in a.parts]
