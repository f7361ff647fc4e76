"""Linear functions with few coefficients.

The transposed Jacobian of an `update` is a linear function that the backward pass applies at every
step. As autodiff writes it down, it is a chain of products with intermediate values of the forward
computation: eleven arrays for an LSTM, each read at every step, some of them twice. Here the chains
are multiplied out for all steps at once, and parallel chains between the same two values are added,
so that a step reads one array for each way that is left: six for an LSTM, with or without
peepholes, which is what one derives by hand.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from seqmodels.types import Array


class _Form(NamedTuple):
    """A sum of products that is not computed yet: number of a value -> its coefficient, None: 1."""

    terms: dict[int, Array | None]
    shape: tuple[int, ...]
    dtype: Any


class _Beside(NamedTuple):
    """Forms side by side along one axis."""

    axis: int
    forms: list[_Form]


class _Sum(NamedTuple):
    """A value that is a sum of products: pairs of a value and a coefficient, None for one."""

    terms: list[tuple[int, int | None]]
    shape: tuple[int, ...]
    dtype: Any


class _Join(NamedTuple):
    """A value that is a concatenation of values."""

    axis: int
    parts: list[int]


class _Call(NamedTuple):
    """Values from a linear primitive that is not a product; arguments are (is_value, number)."""

    equation: Any
    arguments: list[tuple[bool, int]]


def compress(
    function: Callable[..., Any], *examples: Any
) -> tuple[list[Array], Callable[[Sequence[Array]], Callable[..., Any]]]:
    """Returns the coefficients of a linear function, and what makes a function of coefficients.

    Args:
      function: linear in all its arguments; it closes over the values its coefficients are made of.
      *examples: arguments, or their shapes.

    Returns:
      (coefficients, rebuild): `rebuild(coefficients)(*arguments) = function(*arguments)`, also
      where the coefficients are slices, along an axis added by `jax.vmap`, of those returned.
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*examples)
    compressor = _Compressor(closed.jaxpr.invars)
    outputs = compressor.interpret(closed.jaxpr, closed.consts, compressor.arguments)
    results = [compressor.value(output) for output in outputs]
    structure = jax.tree.structure(shapes)
    program = compressor.program

    def rebuild(coefficients: Sequence[Array]) -> Callable[..., Any]:
        def linear(*arguments: Any) -> Any:
            values = _run(program, coefficients, jax.tree.leaves(arguments))
            return jax.tree.unflatten(structure, [values[number] for number in results])

        return linear

    return compressor.coefficients, rebuild


def _run(program: list[Any], coefficients: Sequence[Array], values: list[Array]) -> list[Array]:
    """Returns all values, the arguments first."""
    values = list(values)
    for instruction in program:
        match instruction:
            case _Sum(terms, shape, dtype):
                products = [
                    values[v] if c is None else values[v] * coefficients[c] for v, c in terms
                ]
                total = sum(products[1:], products[0]) if products else jnp.zeros(shape, dtype)
                values.append(jnp.broadcast_to(total, shape))
            case _Join(axis, parts):
                values.append(lax.concatenate([values[v] for v in parts], axis))
            case _Call(equation, arguments):
                inputs = [values[n] if is_value else coefficients[n] for is_value, n in arguments]
                values.extend(_bind(equation, inputs))
    return values


def _bind(equation: Any, inputs: list[Any]) -> list[Any]:
    outputs = equation.primitive.bind(
        *inputs, **equation.primitive.get_bind_params(equation.params)
    )
    return list(outputs) if equation.primitive.multiple_results else [outputs]


class _Compressor:
    """Reads a linear jaxpr, and writes a program and its coefficients."""

    def __init__(self, variables: Sequence[Any]):
        self.program: list[Any] = []
        self.coefficients: list[Array] = []
        self.arguments = [_form({n: None}, var.aval) for n, var in enumerate(variables)]
        self._num_values = len(variables)
        self._made: dict[int, tuple[Any, int]] = {}  # id of a form -> the form, its value's number

    def interpret(self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        """Returns what a jaxpr returns: forms, forms side by side, or arrays that are known."""
        env = dict(zip(jaxpr.constvars, consts, strict=True))
        env.update(zip(jaxpr.invars, inputs, strict=True))

        def read(var: Any) -> Any:
            return var.val if hasattr(var, "val") else env[var]

        for equation in jaxpr.eqns:
            given = [read(var) for var in equation.invars]
            env.update(zip(equation.outvars, self._apply(equation, given), strict=True))
        return [read(var) for var in jaxpr.outvars]

    def value(self, a: Any) -> int:
        """Returns the number of the value that a form has when it is computed."""
        if not _is_linear(a):  # what a linear function returns and is known is zero
            a = _Form({}, jnp.shape(a), jnp.result_type(a))
        if isinstance(a, _Form) and list(a.terms.values()) == [None]:
            return next(iter(a.terms))
        if id(a) not in self._made:
            if isinstance(a, _Beside):
                parts = [self.value(form) for form in a.forms]
                number = self._emit(_Join(a.axis, parts))
            else:
                terms = [
                    (n, None if c is None else self._coefficient(c)) for n, c in a.terms.items()
                ]
                number = self._emit(_Sum(terms, a.shape, a.dtype))
            self._made[id(a)] = a, number
        return self._made[id(a)][1]

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
                return [_form({}, out)]
            return _bind(equation, given)
        if name in ("jit", "pjit"):
            inner = equation.params["jaxpr"]
            return self.interpret(inner.jaxpr, inner.consts, given)
        if name == "neg":
            return [self._times(given[0], jnp.full((1,) * out.ndim, -1, out.dtype), out)]
        if name == "mul" and sum(linear) == 1:
            a, factor = given if linear[0] else given[::-1]
            if jnp.ndim(factor) == 0:  # a number in the program, of any rank
                factor = jnp.full((1,) * out.ndim, factor, out.dtype)
            return [self._times(a, factor, out)]
        if name in ("add_any", "add") and all(linear):
            return [self._plus(given[0], given[1], out)]
        if name == "concatenate" and all(isinstance(a, _Form) for a in given):
            return [_Beside(equation.params["dimension"], given)]
        arguments = [
            (is_linear, self.value(a) if is_linear else self._coefficient(a))
            for a, is_linear in zip(given, linear, strict=True)
        ]
        first = self._emit(_Call(equation, arguments), len(equation.outvars))
        return [_form({first + n: None}, var.aval) for n, var in enumerate(equation.outvars)]

    def _times(self, a: Any, factor: Array, out: Any) -> Any:
        if isinstance(a, _Beside):
            forms, start = [], 0
            for form in a.forms:
                size, piece = form.shape[a.axis], factor
                if factor.shape[a.axis] != 1:
                    piece = lax.slice_in_dim(factor, start, start + size, axis=a.axis)
                forms.append(self._times(form, piece, _Form({}, form.shape, out.dtype)))
                start += size
            return _Beside(a.axis, forms)
        terms = a.terms
        if len(terms) > 1:  # one coefficient for the sum, and not one for each of its terms
            terms = {self.value(a): None}
        return _form({n: factor if c is None else c * factor for n, c in terms.items()}, out)

    def _plus(self, a: Any, b: Any, out: Any) -> Any:
        if isinstance(a, _Beside) and isinstance(b, _Beside) and _sizes(a) == _sizes(b):
            pairs = zip(a.forms, b.forms, strict=True)
            return _Beside(a.axis, [self._plus(f, g, f) for f, g in pairs])
        terms: dict[int, Array | None] = {}
        for form in (a, b):
            new = form.terms if isinstance(form, _Form) else {self.value(form): None}
            for n, c in new.items():
                if n in terms:
                    one = jnp.ones((1,) * len(out.shape), out.dtype)
                    first = terms[n]
                    c = (one if first is None else first) + (one if c is None else c)
                terms[n] = c
        return _form(terms, out)


def _form(terms: dict[int, Array | None], like: Any) -> _Form:
    return _Form(terms, like.shape, like.dtype)


def _is_linear(a: Any) -> bool:
    return isinstance(a, _Form | _Beside)


def _sizes(a: _Beside) -> tuple[int, list[tuple[int, ...]]]:
    return a.axis, [form.shape for form in a.forms]
