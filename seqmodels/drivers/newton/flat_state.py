"""A cell's step as a function of one flat vector, on all time steps at once.

What solves for the states of all steps together needs the state as a vector, the contract as part
of the step, and everything that is not solved for as an input: this module makes these of a cell.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import partial_eval

from seqmodels.cells.stages import reset_state
from seqmodels.drivers.contract import filled, select, vary_like
from seqmodels.drivers.reshape import as_rows, as_steps, merge_batch
from seqmodels.types import Array, Cell, Contract, Params, State


class Inputs(NamedTuple):
    """What a step reads beside the state that is solved for; leading axes (T, N).

    xs: inputs, ones in the padding. others: the state's leaves that are not floating, as they are
    when the step begins, after a reset. fresh: flat state (T, N, n) that a reset puts in, or None.
    valid, resets: bool, or None, as in the contract; a step of the padding has no reset.
    """

    xs: Array
    others: tuple[Array, ...]
    fresh: Array | None
    valid: Array | None
    resets: Array | None


class Layout(NamedTuple):
    """How the state of a cell lies in the vector (n,): its floating leaves, one after the other."""

    structure: Any
    batch_shape: tuple[int, ...]
    floating: tuple[bool, ...]
    features: tuple[tuple[int, ...], ...]  # of the floating leaves, so are dtypes and sizes
    dtypes: tuple[Any, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many entries each floating leaf has."""
        return tuple(int(np.prod(shape)) for shape in self.features)

    @property
    def dtype(self) -> Any:
        """The dtype of the vector, at least float32."""
        return jnp.result_type(jnp.float32, *self.dtypes)

    def rounded(self, flat: Array) -> Array:
        """Returns the vector with every entry as its leaf can hold it."""
        pairs = zip(self.split(flat), self.dtypes, strict=True)
        parts = [a.astype(dtype).astype(flat.dtype) for a, dtype in pairs]
        return jnp.concatenate(parts, axis=-1) if parts else flat

    def flat(self, state: State, lead: tuple[int, ...]) -> Array:
        """Returns the floating leaves (*lead, ...) as one array (*lead, n), at least float32."""
        leaves = [a for a, f in zip(jax.tree.leaves(state), self.floating, strict=True) if f]
        parts = zip(leaves, self.sizes, strict=True)
        flat = [a.reshape((*lead, size)).astype(self.dtype) for a, size in parts]
        return jnp.concatenate(flat, axis=-1) if flat else jnp.zeros((*lead, 0), self.dtype)

    def split(self, flat: Array) -> list[Array]:
        """Returns the part (..., size) of every floating leaf."""
        return jnp.split(flat, np.cumsum(self.sizes)[:-1].tolist(), axis=-1) if self.sizes else []

    def state(self, flat: Array, others: tuple[Array, ...], lead: tuple[int, ...]) -> State:
        """Returns the state, leaves (*lead, ...), of a vector and the leaves that are not in it."""
        parts = zip(self.split(flat), self.features, self.dtypes, strict=True)
        solved = iter([a.reshape(lead + shape).astype(dtype) for a, shape, dtype in parts])
        rest = iter(others)
        leaves = [next(solved) if f else next(rest) for f in self.floating]
        return jax.tree.unflatten(self.structure, leaves)

    def others(self, state: State) -> tuple[Array, ...]:
        """Returns the leaves that are not in the vector."""
        pairs = zip(jax.tree.leaves(state), self.floating, strict=True)
        return tuple(a for a, f in pairs if not f)


def layout_of(state: State, batch_shape: tuple[int, ...]) -> Layout:
    """Returns the layout of a state; TypeError if a leaf is complex."""
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
    cell: Cell, layout: Layout, params: Params, before: Array, inputs: Inputs
) -> tuple[Array, Any]:
    """Takes one step of the contract on the leading axis L of all its arrays.

    Args:
      cell: the cell.
      layout: the layout of its state.
      params: its parameters.
      before: flat state (L, n) before the step.
      inputs: `Inputs`, leading axis L.

    Returns:
      (after, y_t), (L, n) and leaves (L, ...): in the padding the state is handed on unchanged.
    """
    lead = before.shape[:1]
    entered = select(inputs.resets, inputs.fresh, before)
    state, y_t = cell.step(params, layout.state(entered, inputs.others, lead), inputs.xs)
    after = layout.flat(state, lead)
    return (after if inputs.valid is None else select(inputs.valid, after, before)), y_t


def all_steps(
    cell: Cell, layout: Layout, params: Params, before: Array, inputs: Inputs
) -> tuple[Array, Any]:
    """Does what `flat_step` does at all (T, N) places at once; before (T, N, n)."""
    lead = before.shape[:2]
    # One leading axis: a matrix product over it is one GEMM, and so is its transpose.
    out = flat_step(cell, layout, params, *as_rows((before, inputs)))
    return as_steps(out, lead[0], lead[1:])


def inputs_of(
    cell: Cell, layout: Layout, params: Params, xs: Array, state: State, contract: Contract
) -> tuple[Array, Inputs, tuple[Array, ...]]:
    """Returns what the steps read, in the order of processing, with batch axes made one.

    Leaves that are not floating, such as counters and dropout masks, must not depend on floating
    ones; so they are known at every step before the rest is solved for.

    Args:
      cell: the cell.
      layout: the layout of its state.
      params: its parameters.
      xs: inputs (T, *batch, ...).
      state: the state before the first step.
      contract: the contract of the call.

    Returns:
      (start, inputs, others): the flat state (N, n) before the first step; `Inputs`; the leaves
      that are not floating, as they are after every step, (T, N, ...).

    Raises:
      TypeError: if a leaf that is not floating depends on one that is.
    """
    num_steps, num_rows = xs.shape[0], int(np.prod(layout.batch_shape))
    valid, resets, reverse = contract
    num_axes = len(layout.batch_shape)

    def in_order(a: Array) -> Array:
        a = merge_batch(a, 1, num_axes)
        return jnp.flip(a, 0) if reverse else a

    def at_all_steps(a: Array) -> Array:
        return jnp.broadcast_to(a[None], (num_steps, *a.shape))

    xs, valid, resets = jax.tree.map(in_order, (filled(valid, xs), valid, resets))
    start, begin = layout.flat(state, (num_rows,)), layout.others(state)
    fresh, replaced = None, begin
    if resets is not None:
        new = reset_state(cell, params, state)
        fresh, replaced = vary_like(layout.flat(new, (num_rows,)), state), layout.others(new)
    constant = all(a is b for a, b in zip(begin, replaced, strict=True))  # by a reset
    begin, replaced = merge_batch((begin, vary_like(replaced, state)), 0, num_axes)

    def walk(others: Any, inputs: Any) -> tuple[Any, Any]:
        x_t, valid_t, reset_t = inputs
        entered = select(reset_t, replaced, others)
        after = _step_others(cell, layout, params, jnp.zeros_like(start), entered, x_t)
        after = after if valid_t is None else select(valid_t, after, others)
        return after, (entered, after)

    if constant and not _step_changes_others(cell, layout, params, start, begin, xs):
        entered = after = jax.tree.map(at_all_steps, begin)
    else:
        _, (entered, after) = jax.lax.scan(walk, begin, (xs, valid, resets))
    fresh = None if fresh is None else at_all_steps(fresh)
    return start, Inputs(xs, entered, fresh, valid, resets), after


def _step_others(
    cell: Cell, layout: Layout, params: Params, flat: Array, others: Any, x_t: Array
) -> tuple[Array, ...]:
    state = layout.state(flat, others, flat.shape[:1])
    return layout.others(cell.step(params, state, x_t)[0])


def _step_changes_others(
    cell: Cell, layout: Layout, params: Params, flat: Array, others: Any, xs: Array
) -> bool:
    """Returns whether a step changes a leaf that is not floating; TypeError if by floating ones."""

    def step(flat: Array, others: Any, params: Params, x_t: Array) -> tuple[Array, ...]:
        return _step_others(cell, layout, params, flat, others, x_t)

    x_t = jax.ShapeDtypeStruct(xs.shape[1:], xs.dtype)
    jaxpr = jax.make_jaxpr(step)(flat, others, params, x_t).jaxpr
    _, used = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    if used[0]:
        raise TypeError(
            "newton: got a cell whose state has an integer, bool or key leaf that depends on a "
            "floating one, expected none such; use method='scan' for this cell"
        )
    begin = jaxpr.invars[1 : 1 + len(jaxpr.outvars)]
    return any(a is not b for a, b in zip(jaxpr.outvars, begin, strict=True))
