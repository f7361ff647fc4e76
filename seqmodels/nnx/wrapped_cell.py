"""`wrap`: an NNX module for any cell: the library's, a stack, or a user's cell."""

from typing import Any

import flax.nnx
import jax
import jax.numpy as jnp
from flax.nnx import Rngs, RngStream, Variable

from seqmodels.cells.stages import check_cells
from seqmodels.drivers.auto import find_driver
from seqmodels.flax_shared.batch_major import unroll_batch_major
from seqmodels.flax_shared.noise import is_random
from seqmodels.types import Array, Cell, Driver, State


class WrappedCell(flax.nnx.Module):
    """An NNX module that unrolls a `sm.Cell`; made by `wrap`.

    Attributes:
      cell: the cell.
      params: its parameters, a pytree whose leaves are `nnx.Param`s (`nnx.Variable`s if they are
        not floating).
      deterministic: whether nothing is random, such as dropout; set by `train()` and `eval()`.
      rngs: the stream that dropout masks are drawn from; None if the cell is not random.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        method: str | Driver = "auto",
        time_major: bool = False,
        deterministic: bool = False,
        rngs: Rngs,
    ):
        check_cells("wrap", cell)
        find_driver(method)  # raises ValueError if it is not known
        params = cell.init(rngs.params())
        self.cell = cell
        self.params = flax.nnx.data(jax.tree.map(_variable, params))
        self.method = method
        self.time_major = time_major
        self.deterministic = deterministic
        self.is_random = is_random(cell, params)
        self.rngs: RngStream | None
        self.rngs = rngs["dropout"].fork() if self.is_random else flax.nnx.data(None)

    def __call__(
        self,
        inputs: Any,
        *,
        lengths: Any = None,
        mask: Any = None,
        hold_outputs: bool = False,
        resets: Any = None,
        initial_state: State | None = None,
        return_state: bool = False,
        reverse: bool = False,
        deterministic: bool | None = None,
        rngs: Rngs | RngStream | Array | None = None,
    ) -> Any:
        """Runs the cell over a sequence; the rules of padding and resets are those of `sm.unroll`.

        Args:
          inputs: (*batch, T, ...), or (T, *batch, ...) with `time_major`.
          lengths: int (*batch), the number of valid steps of each sequence.
          mask: bool (*batch, T), or (T, *batch) with `time_major`: false where a step does not
            count.
          hold_outputs: whether the output of a masked step repeats the last valid one.
          resets: bool of the same shape: true where a packed sequence begins.
          initial_state: the state before the first step, as a call with `return_state` returns it;
            None for the cell's own. The masks of dropout that it holds are used again where the
            call has dropout.
          return_state: whether to return the final state.
          reverse: whether time runs from the last valid step to the first.
          deterministic: whether nothing is random; None for the module's attribute.
          rngs: `Rngs`, whose dropout stream is used, a stream or a key; None for the module's own
            stream.

        Returns:
          Outputs (*batch, T, ...), or (T, *batch, ...) with `time_major`; with `return_state` the
          pair (state, outputs).

        Raises:
          TypeError: see `sm.unroll`.
          ValueError: see `sm.unroll`.
        """
        key = None
        if self.is_random and not (self.deterministic if deterministic is None else deterministic):
            key = self._draw(rngs)
        state, ys = unroll_batch_major(
            self.cell,
            jax.tree.map(_value, self.params, is_leaf=_is_variable),
            inputs,
            initial_state,
            key,
            time_major=self.time_major,
            lengths=lengths,
            mask=mask,
            hold_outputs=hold_outputs,
            resets=resets,
            reverse=reverse,
            method=self.method,
        )
        return (state, ys) if return_state else ys

    def _draw(self, rngs: Rngs | RngStream | Array | None) -> Array:
        source = self.rngs if rngs is None else rngs
        if source is None:
            raise ValueError("rngs: got None, expected Rngs, a stream or a key for the dropout")
        stream = source["dropout"] if isinstance(source, Rngs) else source
        return stream() if isinstance(stream, RngStream) else stream


def wrap(
    cell: Cell,
    *,
    method: str | Driver = "auto",
    time_major: bool = False,
    deterministic: bool = False,
    rngs: Rngs,
) -> WrappedCell:
    """Returns an NNX module that unrolls a cell of this library, a stack or a cell of your own.

    Args:
      cell: a `sm.Cell`.
      method: the driver, see `sm.unroll`.
      time_major: whether the first axis of inputs and outputs is time.
      deterministic: whether nothing is random, such as dropout, unless a call says otherwise.
      rngs: the stream `params` draws the parameters; the stream `dropout` serves cells with
        dropout.

    Returns:
      A `WrappedCell`; its parameters are at `params`, such as `module.params.w_x`.

    Raises:
      TypeError: if `cell` is not a `Cell`.
      ValueError: if `method` is not known.

    Examples:
      >>> layer = wrap(sm.min_gru(3, 4), rngs=Rngs(0))
      >>> layer(jnp.ones((2, 5, 3))).shape
      (2, 5, 4)
    """
    return WrappedCell(
        cell, method=method, time_major=time_major, deterministic=deterministic, rngs=rngs
    )


def _variable(leaf: Array) -> Variable:
    floating = jnp.issubdtype(leaf.dtype, jnp.floating)
    return flax.nnx.Param(leaf) if floating else Variable(leaf)


def _value(variable: Variable) -> Array:
    return variable[...]


def _is_variable(leaf: Any) -> bool:
    return isinstance(leaf, Variable)
