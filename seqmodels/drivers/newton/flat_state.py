"""A cell's step as a function of one flat vector, on all time steps at once.

The solver needs the state as a vector and the contract as part of the step. Everything that it does
not solve for must be an input. This module derives these from a cell.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import partial_eval

from seqmodels.cells.stages import reset_state
from seqmodels.drivers.contract import fill_padding, tree_where
from seqmodels.drivers.reshape import merge_batch, merge_time_batch, split_time_batch
from seqmodels.pytrees import match_varying_axes
from seqmodels.types import Array, Cell, DriverCall, Params, State


class StepInputs(NamedTuple):
    """The inputs of a step other than the state that is solved for; leading axes (T, N).

    xs: inputs, ones where not valid. others: the non-floating leaves of the state before the step,
    after a reset. fresh: flat state (T, N, n) that replaces the state at a reset, or None. valid,
    resets: bool, or None, as in the contract.
    """

    xs: Array
    others: tuple[Array, ...]
    fresh: Array | None
    valid: Array | None
    resets: Array | None


class Layout(NamedTuple):
    """The layout of a state in the vector (n,): its floating-point leaves, concatenated."""

    structure: Any
    batch_shape: tuple[int, ...]
    floating: tuple[bool, ...]
    features: tuple[tuple[int, ...], ...]  # of the floating leaves, as are dtypes and sizes
    dtypes: tuple[Any, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of entries of each floating leaf."""
        return tuple(int(np.prod(shape)) for shape in self.features)

    @property
    def dtype(self) -> Any:
        """The dtype of the vector, at least float32."""
        return jnp.result_type(jnp.float32, *self.dtypes)

    def round_to_leaf_dtypes(self, flat: Array) -> Array:
        """Returns the vector with every entry rounded to the dtype of its leaf."""
        pairs = zip(self.split_leaves(flat), self.dtypes, strict=True)
        parts = [a.astype(dtype).astype(flat.dtype) for a, dtype in pairs]
        return jnp.concatenate(parts, axis=-1) if parts else flat

    def flatten(self, state: State, lead: tuple[int, ...]) -> Array:
        """Returns the floating leaves (*lead, ...) as one array (*lead, n), at least float32."""
        leaves = [a for a, f in zip(jax.tree.leaves(state), self.floating, strict=True) if f]
        parts = zip(leaves, self.sizes, strict=True)
        flat = [a.reshape((*lead, size)).astype(self.dtype) for a, size in parts]
        return jnp.concatenate(flat, axis=-1) if flat else jnp.zeros((*lead, 0), self.dtype)

    def split_leaves(self, flat: Array) -> list[Array]:
        """Returns the part (..., size) of every floating leaf."""
        return jnp.split(flat, np.cumsum(self.sizes)[:-1].tolist(), axis=-1) if self.sizes else []

    def unflatten(self, flat: Array, others: tuple[Array, ...], lead: tuple[int, ...]) -> State:
        """Returns the state, leaves (*lead, ...), from a vector and its other leaves."""
        parts = zip(self.split_leaves(flat), self.features, self.dtypes, strict=True)
        solved = iter([a.reshape(lead + shape).astype(dtype) for a, shape, dtype in parts])
        rest = iter(others)
        leaves = [next(solved) if f else next(rest) for f in self.floating]
        return jax.tree.unflatten(self.structure, leaves)

    def other_leaves(self, state: State) -> tuple[Array, ...]:
        """Returns the leaves that are not in the vector."""
        pairs = zip(jax.tree.leaves(state), self.floating, strict=True)
        return tuple(a for a, f in pairs if not f)


def state_layout(state: State, batch_shape: tuple[int, ...]) -> Layout:
    """Returns the layout of a state; raises TypeError if a leaf is complex."""
    floating = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            name = jax.tree_util.keystr(path)
            raise TypeError(
                f"newton: state{name}: got {leaf.dtype}, expected real numbers; "
                "use method='scan' for this cell"
            )
        floating.append(bool(jnp.issubdtype(leaf.dtype, jnp.floating)))
    leaves = [a for a, f in zip(jax.tree.leaves(state), floating, strict=True) if f]
    return Layout(
        structure=jax.tree.structure(state),
        batch_shape=batch_shape,
        floating=tuple(floating),
        features=tuple(a.shape[len(batch_shape) :] for a in leaves),
        dtypes=tuple(a.dtype for a in leaves),
    )


def flat_step(
    cell: Cell, layout: Layout, params: Params, before: Array, inputs: StepInputs
) -> tuple[Array, Any]:
    """Takes one step of the contract on the leading axis L of all its arrays.

    Args:
      cell: the cell.
      layout: the layout of its state.
      params: its parameters.
      before: flat state (L, n) before the step.
      inputs: `StepInputs`, leading axis L.

    Returns:
      (after, y_t), (L, n) and leaves (L, ...); a step that is not valid only resets the state.
    """
    lead = before.shape[:1]
    entered = tree_where(inputs.resets, inputs.fresh, before)
    state, y_t = cell.step(params, layout.unflatten(entered, inputs.others, lead), inputs.xs)
    after = layout.flatten(state, lead)
    return (after if inputs.valid is None else tree_where(inputs.valid, after, entered)), y_t


def flat_steps(
    cell: Cell, layout: Layout, params: Params, before: Array, inputs: StepInputs
) -> tuple[Array, Any]:
    """Takes the step of `flat_step` at all (T, N) places at once; before (T, N, n)."""
    lead = before.shape[:2]
    # With one leading axis a matrix product is one GEMM, and so is its transpose.
    out = flat_step(cell, layout, params, *merge_time_batch((before, inputs)))
    return split_time_batch(out, lead[0], lead[1:])


def prepare_inputs(call: DriverCall, layout: Layout) -> tuple[Array, StepInputs, tuple[Array, ...]]:
    """Returns the inputs of all steps, in the order of processing, with one batch axis.

    Non-floating leaves, such as counters and dropout masks, must not depend on floating ones. So
    they are computed for every step before the solver starts.

    Args:
      call: the cell to unroll.
      layout: the layout of its state.

    Returns:
      (start, inputs, others): the flat state (N, n) before the first step; `StepInputs`; the
      non-floating leaves after every step, (T, N, ...).

    Raises:
      TypeError: if a non-floating leaf depends on a floating one.
    """
    cell, params, xs, state, contract, _ = call
    num_steps, num_rows = xs.shape[0], int(np.prod(layout.batch_shape))
    valid, resets, reverse = contract.valid, contract.resets, contract.reverse
    num_axes = len(layout.batch_shape)

    def in_order(a: Array) -> Array:
        a = merge_batch(a, 1, num_axes)
        return jnp.flip(a, 0) if reverse else a

    def at_all_steps(a: Array) -> Array:
        return jnp.broadcast_to(a[None], (num_steps, *a.shape))

    xs, valid, resets = jax.tree.map(in_order, (fill_padding(valid, xs), valid, resets))
    start, begin = layout.flatten(state, (num_rows,)), layout.other_leaves(state)
    fresh, replaced = None, begin
    if resets is not None:
        new = reset_state(cell, params, state)
        fresh, replaced = (
            match_varying_axes(layout.flatten(new, (num_rows,)), state),
            layout.other_leaves(new),
        )
    reset_keeps = all(a is b for a, b in zip(begin, replaced, strict=True))
    begin, replaced = merge_batch((begin, match_varying_axes(replaced, state)), 0, num_axes)

    def walk(others: Any, inputs: Any) -> tuple[Any, Any]:
        x_t, valid_t, reset_t = inputs
        before = tree_where(reset_t, replaced, others)
        after = _step_others(call, layout, jnp.zeros_like(start), before, x_t)
        after = after if valid_t is None else tree_where(valid_t, after, before)
        return after, (before, after)

    x_t = jax.ShapeDtypeStruct(xs.shape[1:], xs.dtype)
    if reset_keeps and not _step_changes_others(call, layout, start, begin, x_t):
        before = after = jax.tree.map(at_all_steps, begin)
    else:
        _, (before, after) = jax.lax.scan(walk, begin, (xs, valid, resets))
    fresh = None if fresh is None else at_all_steps(fresh)
    return start, StepInputs(xs, before, fresh, valid, resets), after


def _step_others(
    call: DriverCall, layout: Layout, flat: Array, others: Any, x_t: Array
) -> tuple[Array, ...]:
    """Returns the non-floating leaves of the state after one step."""
    state = layout.unflatten(flat, others, flat.shape[:1])
    return layout.other_leaves(call.cell.step(call.params, state, x_t)[0])


def _step_changes_others(
    call: DriverCall, layout: Layout, flat: Array, others: Any, x_t: Any
) -> bool:
    """Returns whether a step changes a non-floating leaf; raises TypeError if by floating ones."""

    def step(flat: Array, others: Any, params: Params, x_t: Array) -> tuple[Array, ...]:
        return _step_others(call._replace(params=params), layout, flat, others, x_t)

    jaxpr = jax.make_jaxpr(step)(flat, others, call.params, x_t).jaxpr
    _, used = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    if used[0]:
        raise TypeError(
            "newton: got a cell whose state has an integer, bool or key leaf that depends on a "
            "floating one, expected none such; use method='scan' for this cell"
        )
    begin = jaxpr.invars[1 : 1 + len(jaxpr.outvars)]
    return any(a is not b for a, b in zip(jaxpr.outvars, begin, strict=True))
