"""Functions of a cell on arrays that store the batch axis last.

The kernel that XLA uses on CPUs for a small product of float32 packs both matrices at every step of
a loop. Weights on the left, `w.T @ h` with h (H, B), take less time than weights on the right,
`h @ w` with h (B, H). At (B,H) = (32,512) they take half of the time in the backward pass. A
transpose of every result would cost as much as that saves, so the whole loop must keep the batch
axis last.

`batch_last` derives such a function from one for arrays (B, ...), which is how cells are written.
It traces the function and evaluates each operation on the stored arrays: products have their
operands exchanged, and elementwise operations do not change. Any other operation gets its operands
with the batch axis first.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.interpreters.partial_eval import dce_jaxpr

from seqmodels.drivers.fused.linear_program import bind_equation
from seqmodels.types import Array

ELEMENTWISE = frozenset(
    ("add", "add_any", "sub", "mul", "div", "neg", "convert_element_type", "copy", "pcast")
)
ALONG_AXIS = {"split": "axis", "concatenate": "dimension"}  # primitive -> parameter


class _Value(NamedTuple):
    """A value of a step: its number, and whether its first axis is stored last."""

    number: int
    is_last: bool


class _Instruction(NamedTuple):
    """`apply(*inputs)` returns a list of new values; inputs are `_Value`s or known arrays."""

    apply: Callable[..., Sequence[Array]]
    inputs: list[Any]


def first_axis_last(tree: Any, axis: int = 0) -> Any:
    """Returns leaves whose axis `axis`, the batch axis, is the last one."""
    return jax.tree.map(lambda a: jnp.moveaxis(a, axis, -1), tree)


def last_axis_first(tree: Any, axis: int = 0) -> Any:
    """Returns leaves whose last axis is axis `axis`: the inverse of `first_axis_last`."""
    return jax.tree.map(lambda a: jnp.moveaxis(a, -1, axis), tree)


def batch_last(
    function: Callable[..., Any], known: Any, stored_last: Any, stored_first: Any = ()
) -> Callable[..., Any]:
    """Returns `function(known, stored_last, stored_first)` with the batch axis stored last.

    Values that depend on `known` alone, such as transposed weights, are computed here and not in
    the loop that calls the function.

    Args:
      function: its other arguments and its results have leaves (B, ...).
      known: pytree of arrays.
      stored_last: pytree of example arrays (B, ...); the function that is returned takes leaves
        (..., B) instead.
      stored_first: pytree of example arrays, which stay (B, ...).

    Returns:
      The function `(stored_last, stored_first) -> results`, leaves of results (..., B).
    """
    leaves, structure = jax.tree.flatten((known, stored_last, stored_first))

    def flat(leaves: list[Array]) -> Any:
        return function(*jax.tree.unflatten(structure, leaves))

    closed, shapes = jax.make_jaxpr(flat, return_shape=True)(leaves)
    jaxpr, is_used = dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    num_known, num_last = len(jax.tree.leaves(known)), len(jax.tree.leaves(stored_last))
    arguments = [
        leaf if n < num_known else _Value(n - num_known, n < num_known + num_last)
        for n, leaf in enumerate(leaves)
    ]
    translator = _Translator(len(leaves) - num_known, leaves[num_known].shape[0])
    used = [argument for argument, flag in zip(arguments, is_used, strict=True) if flag]
    outputs = [translator.moved(a, True) for a in translator.interpret(jaxpr, closed.consts, used)]

    def run(stored_last: Any, stored_first: Any = ()) -> Any:
        values = jax.tree.leaves((stored_last, stored_first))
        for instruction in translator.program:
            inputs = [values[a.number] if isinstance(a, _Value) else a for a in instruction.inputs]
            values.extend(instruction.apply(*inputs))
        results = [values[a.number] if isinstance(a, _Value) else a for a in outputs]
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return run


class _Translator:
    """Translates a jaxpr into a program on stored arrays."""

    def __init__(self, num_arguments: int, batch_size: int):
        self.program: list[_Instruction] = []
        self._num_values = num_arguments
        self._batch_size = batch_size

    def interpret(self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        """Returns the results of a jaxpr: values, or known arrays."""
        env = dict(zip(jaxpr.constvars, consts, strict=True))
        env.update(zip(jaxpr.invars, inputs, strict=True))

        def read(var: Any) -> Any:
            return var.val if hasattr(var, "val") else env[var]

        for equation in jaxpr.eqns:
            given = [read(var) for var in equation.invars]
            env.update(zip(equation.outvars, self._apply(equation, given), strict=True))
        return [read(var) for var in jaxpr.outvars]

    def _emit(
        self, apply: Callable[..., Sequence[Array]], inputs: list[Any], is_last: list[bool]
    ) -> list[_Value]:
        self.program.append(_Instruction(apply, inputs))
        self._num_values += len(is_last)
        first = self._num_values - len(is_last)
        return [_Value(first + n, flag) for n, flag in enumerate(is_last)]

    def moved(self, a: Any, is_last: bool) -> Any:
        """Returns a value or known array in one of the two layouts; scalars have none."""
        if isinstance(a, _Value):
            if a.is_last == is_last:
                return a
            move = first_axis_last if is_last else last_axis_first
            return self._emit(lambda a: [move(a) if a.ndim else a], [a], [is_last])[0]
        return first_axis_last(a) if is_last and jnp.ndim(a) else a

    def _apply(self, equation: Any, given: list[Any]) -> list[Any]:
        name, out = equation.primitive.name, equation.outvars[0].aval
        varies = [isinstance(a, _Value) for a in given]
        if not any(varies):
            is_row = name == "broadcast_in_dim" and out.shape[:1] == (self._batch_size,)
            if not is_row:
                return bind_equation(equation, given)
            # A vector for every row of the batch is cheaper to repeat than to read.
            return self._emit(lambda a: bind_equation(equation, [a]), given, [False])
        if name in ("jit", "pjit"):
            inner = equation.params["jaxpr"]
            return self.interpret(inner.jaxpr, inner.consts, given)
        any_last = any(isinstance(a, _Value) and a.is_last for a in given)
        if name == "dot_general" and sum(varies) == 1 and is_row_product(equation):
            return self._product(equation, given, weights_first=varies[1])
        if name == "transpose" and equation.params["permutation"] == (1, 0):
            return [_Value(given[0].number, not given[0].is_last)]
        is_last, params = any_last, None
        if any_last and name in ALONG_AXIS and equation.params[ALONG_AXIS[name]] > 0:
            params = {**equation.params, ALONG_AXIS[name]: equation.params[ALONG_AXIS[name]] - 1}
        elif name not in ELEMENTWISE:
            is_last = False
        inputs = [self.moved(a, is_last) for a in given]
        return self._emit(
            lambda *a: bind_equation(equation, list(a), params),
            inputs,
            [is_last] * len(equation.outvars),
        )

    def _product(self, equation: Any, given: list[Any], *, weights_first: bool) -> list[Any]:
        """Emits the product with the weights (N, K) on the left: (N, B)."""
        (axis_a,), (axis_b,) = equation.params["dimension_numbers"][0]
        weights, rows = given if weights_first else given[::-1]
        axis_w, axis_r = (axis_a, axis_b) if weights_first else (axis_b, axis_a)
        left = weights if axis_w == 1 else weights.T
        contracted = ((1,), (1 - axis_r if rows.is_last else axis_r,))
        params = {**equation.params, "dimension_numbers": (contracted, ((), ()))}

        def apply(rows: Array) -> list[Array]:
            return bind_equation(equation, [left, rows], params)

        # (N, B) is the result itself if the weights come first, and otherwise its stored form.
        return self._emit(apply, [rows], [not weights_first])


def is_row_product(equation: Any) -> bool:
    """Returns whether an equation is a product of two matrices that keeps batch rows separate."""
    if equation.primitive.name != "dot_general":
        return False
    contracted, batch = equation.params["dimension_numbers"]
    ranks = [var.aval.ndim for var in equation.invars]
    return batch == ((), ()) and ranks == [2, 2] and [len(axes) for axes in contracted] == [1, 1]
