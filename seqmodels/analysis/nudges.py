"""Gradients with respect to the state of every step, by zero perturbations (nudges).

A nudge is added to the state that enters each step. One backward pass gives the gradient with
respect to all nudges of a sequence, which equals the gradient with respect to the states.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.analysis.gates import named_leaves
from seqmodels.cells.stages import new_state, reset_state
from seqmodels.drivers.contract import (
    check_lengths,
    check_state,
    check_steps,
    check_xs,
    fill_padding,
    tree_where,
    valid_steps,
    zero_unless,
)
from seqmodels.pytrees import is_float, match_varying_axes, widen
from seqmodels.types import Array, Cell, Contract, DriverCall, Info, Params, State, Unrolled


def make_contract(
    cell: Cell, xs: Any, *, lengths: Any, mask: Any, resets: Any = None, reverse: bool = False
) -> tuple[Array, Contract]:
    """Returns checked inputs in at least float32 and the contract.

    Examples:
      >>> options = {"lengths": jnp.array([5, 2]), "mask": None, "resets": None, "reverse": False}
      >>> xs, contract = make_contract(sm.gru(3, 4), jnp.ones((5, 2, 3)), **options)
      >>> xs.shape, contract.valid.shape
      ((5, 2, 3), (5, 2))
    """
    xs = widen(check_xs(cell, xs))
    steps_shape = xs.shape[: xs.ndim - cell.x_ndim]
    if lengths is not None:
        lengths = check_lengths(lengths, len(xs), steps_shape[1:])
    valid = padding = valid_steps(lengths, len(xs))
    if resets is not None:
        resets = check_steps("resets", resets, steps_shape)
        resets = resets if padding is None else resets & padding
    if mask is not None:
        mask = check_steps("mask", mask, steps_shape)
        valid = mask if padding is None else padding & mask
    return zero_unless(valid, xs), Contract(valid, resets, bool(reverse), lengths, mask is not None)


class Layout(NamedTuple):
    """The states of the cells inside a cell.

    Attributes:
      names: for each cell the names of its state's leaves.
      shapes: for each cell the shapes of its nudges, (T, *batch, n) for a leaf of n real numbers.
      numbers: the number of each cell; for a stack a tuple, for a pair a `Bidirectional`.
    """

    names: list[list[str]]
    shapes: list[list[jax.ShapeDtypeStruct]]
    numbers: Any


class Inputs(NamedTuple):
    """Arguments of an unroll.

    Attributes:
      params: the parameters of the cell.
      xs: inputs (T, *batch, D), at least float32, zero where no step is valid.
      state: the first state, leaves (*batch, ...); None for the cell's own.
      contract: lengths, mask, resets and direction.
    """

    params: Params
    xs: Array
    state: State | None
    contract: Contract


def state_gradients(
    cell: Cell, inputs: Inputs, score: Callable[[Array], Array]
) -> tuple[list[list[Array]], Layout]:
    """Returns for each cell, and each leaf of its state, d score / d state (T, *batch, n).

    Args:
      cell: any cell that can be unrolled.
      inputs: its arguments.
      score: `score(ys) -> scalar`.

    Raises:
      ValueError: if the score is not one real number, or the state does not match the cell.
    """
    params, xs, state, contract = inputs
    batch_shape = xs.shape[1 : xs.ndim - cell.x_ndim]
    if state is None:
        state = new_state(cell, params, batch_shape, None)
    else:
        state = check_state(cell, params, jax.tree.map(jnp.asarray, state), batch_shape)
    state = widen(state)
    state = match_varying_axes(state, params, xs, state)
    flags = contract.reverse, contract.masked
    arrays = params, xs, state, contract.valid, contract.resets, contract.lengths
    leaves, structure = jax.tree.flatten(arrays)
    shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
    layout = _layout(cell, flags, structure, shapes)
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), layout.shapes)
    # In shard_map the gradient of what is the same on every device is summed over the devices.
    nudges = match_varying_axes(zeros, params, xs)
    ys, pull_back = jax.vjp(lambda nudges: _outputs_of(cell, flags)(arrays, nudges), nudges)
    (gradients,) = pull_back(score_gradient(score, ys))
    return gradients, layout


def score_gradient(score: Callable[[Any], Array], ys: Any) -> Any:
    """Returns d score / d ys.

    Raises:
      ValueError: if the score is not one real number.

    Examples:
      >>> score_gradient(jnp.sum, jnp.zeros(3)).tolist()
      [1.0, 1.0, 1.0]
    """
    value, pull_back = jax.vjp(score, ys)
    leaves = jax.tree.leaves(value)
    got = type(value).__name__
    if len(leaves) == 1 and leaves[0] is value:
        got = f"{jnp.result_type(value)}{list(jnp.shape(value))}"
        if jnp.shape(value) == () and jnp.issubdtype(jnp.result_type(value), jnp.floating):
            return pull_back(jnp.ones_like(value))[0]
    raise ValueError(f"score: got {got}, expected one real number")


def _nudge_shapes(state: State, num_steps: int, num_axes: int) -> list[jax.ShapeDtypeStruct]:
    """Returns shapes (T, *batch, n), one for the n real numbers of each leaf of the state."""
    shapes = []
    for leaf in filter(is_float, jax.tree.leaves(state)):
        size = math.prod(leaf.shape[num_axes:]) * (2 if jnp.iscomplexobj(leaf) else 1)
        shape = (num_steps, *leaf.shape[:num_axes], size)
        shapes.append(jax.ShapeDtypeStruct(shape, leaf.real.dtype))
    return shapes


def _nudged(state: State, nudges: list[Array]) -> State:
    """Returns the state plus the nudges of one step."""
    parts = iter(nudges)

    def move(leaf: Array) -> Array:
        if not is_float(leaf):
            return leaf
        part = next(parts)
        if jnp.iscomplexobj(leaf):
            part = jax.lax.complex(*jnp.split(part, 2, axis=-1))
        return leaf + part.reshape(leaf.shape)

    return jax.tree.map(move, state)


def _call(cell: Cell, flags: tuple[bool, bool], arrays: tuple[Any, ...]) -> DriverCall:
    params, xs, state, valid, resets, lengths = arrays
    contract = Contract(valid, resets, flags[0], lengths, flags[1])
    return DriverCall(cell, params, xs, state, contract, keep_states=False)


@functools.lru_cache(maxsize=64)
def _layout(
    cell: Cell,
    flags: tuple[bool, bool],
    structure: Any,
    leaves: tuple[jax.ShapeDtypeStruct, ...],
) -> Layout:
    """Returns the `Layout` of the states, from an abstract unroll without nudges."""
    names: list[list[str]] = []
    shapes: list[list[jax.ShapeDtypeStruct]] = []
    numbers: list[Any] = []

    def run(call: DriverCall) -> Unrolled:
        if call.cell.unroll is not None:
            return call.cell.unroll(run, call)
        names.append(list(named_leaves(call.state)))
        shapes.append(_nudge_shapes(call.state, call.num_steps, len(call.batch_shape)))
        return _unroll(call, None)._replace(info=len(names) - 1)

    def outputs(arrays: tuple[Any, ...]) -> Any:
        full = run(_call(cell, flags, arrays))
        numbers.append(full.info)
        return full.ys

    jax.eval_shape(outputs, jax.tree.unflatten(structure, leaves))
    return Layout(names, shapes, numbers[0])


@functools.lru_cache(maxsize=16)
def _outputs_of(cell: Cell, flags: tuple[bool, bool]) -> Callable[..., Any]:
    """Returns `run(arrays, nudges) -> ys`, compiled, ys in at least float32.

    The nudges are zero and enter with the state, so one backward pass gives the gradient with
    respect to the state of every step.
    """

    @jax.jit
    def outputs(arrays: tuple[Any, ...], nudges: list[list[Array]]) -> Any:
        parts: Iterator[list[Array]] = iter(nudges)

        def run(call: DriverCall) -> Unrolled:
            if call.cell.unroll is not None:
                return call.cell.unroll(run, call)
            return _unroll(call, next(parts))

        return widen(run(_call(cell, flags, arrays)).ys)

    return outputs


def _unroll(call: DriverCall, nudges: list[Array] | None) -> Unrolled:
    """Unrolls one cell with a nudge to the state that enters each step."""
    contract, cell = call.contract, call.cell
    fresh = None
    if contract.resets is not None:
        fresh = match_varying_axes(reset_state(cell, call.params, call.state), call.state)

    def body(state: State, inputs: Any) -> tuple[State, Any]:
        x_t, valid_t, reset_t, nudges_t = inputs
        before = tree_where(reset_t, fresh, state)
        before = before if nudges_t is None else _nudged(before, nudges_t)
        new, y_t = cell.step(call.params, before, x_t)
        new = jax.tree.map(lambda a, b: a.astype(b.dtype), new, state)
        return new if valid_t is None else tree_where(valid_t, new, before), y_t

    xs = fill_padding(contract.valid, call.xs)
    inputs = (xs, contract.valid, contract.resets, nudges)
    state, ys = jax.lax.scan(body, call.state, inputs, reverse=contract.reverse)
    return Unrolled(state, zero_unless(contract.valid, ys), None, Info("scan"))
