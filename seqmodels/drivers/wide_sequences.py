"""Low-precision inputs and outputs as float32 inside a driver's loops.

If a loop on a CPU writes one row of a bfloat16 array at a time, XLA of JAX 0.10 converts the whole
array to float32 and back at every step. At (T,B,H) = (512,32,128) this takes 82 ms where a float32
array takes 1.4 ms. So loops read and write float32 there, and the arrays are cast once, outside of
the loops. The values are the same, since every bfloat16 number is a float32 number.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqmodels.pytrees import widen
from seqmodels.types import Cell, DriverCall, Params, State, Unrolled

IS_NEEDED = jax.__version_info__ < (0, 12)


@dataclasses.dataclass(frozen=True)
class WideUpdate:
    """The update of a last stage with outputs of at least float32; `narrow` is the cell's own."""

    narrow: Callable[..., Any]

    def __call__(self, params: Params, state: State, gates: Any) -> Any:
        """Returns (state, y_t)."""
        state, y_t = self.narrow(params, state, gates)
        return state, widen(y_t)


def run_wide(run: Callable[[DriverCall], Unrolled], call: DriverCall) -> Unrolled:
    """Returns `run(call)`, whose loops read and write sequences of at least float32."""
    y_t = jax.eval_shape(call.cell.step, call.params, call.state, call.x_t)[1]
    if not IS_NEEDED or not any(_is_low(leaf) for leaf in jax.tree.leaves((call.xs, y_t))):
        return run(call)
    wide = call._replace(cell=_wide_cell(call.cell, call.xs.dtype), xs=widen(call.xs))
    full = run(wide)
    return full._replace(ys=jax.tree.map(lambda a, like: a.astype(like.dtype), full.ys, y_t))


def _wide_cell(cell: Cell, x_dtype: Any) -> Cell:
    """Returns the cell with inputs and outputs of at least float32; it computes the same."""

    def step(params: Params, state: State, x_t: Any) -> tuple[State, Any]:
        state, y_t = cell.step(params, state, x_t.astype(x_dtype))
        return state, widen(y_t)

    def of_x(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: function(*arguments[:-1], arguments[-1].astype(x_dtype))

    stages = [(of_x(project), update) for project, update in cell.stages]
    if stages:
        stages[-1] = (stages[-1][0], WideUpdate(stages[-1][1]))
    output = cell.output
    if output is not None:
        of_state = of_x(output)
        output = lambda *arguments: widen(of_state(*arguments))  # noqa: E731
    elements = None if cell.elements is None else of_x(cell.elements)
    return cell._replace(step=step, stages=tuple(stages), elements=elements, output=output)


def _is_low(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating) and jnp.finfo(leaf.dtype).bits < 32
