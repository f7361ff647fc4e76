"""Cells declared in stages, and the few helpers that every cell shares."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from seqmodels.types import Array, Cell, Params, Stage, State


def make_cell(
    init: Callable[[Array], Params],
    initial_state: Callable[..., State],
    *stages: Stage,
    reset: Callable[[Params, State], State] | None = None,
    x_ndim: int = 1,
) -> Cell:
    """Returns the cell whose step is the fold of `stages`.

    A stage is a pair of functions:

        gates = project(params, state, x_t)     affine in state and in x_t; holds every matrix
        state = update(params, state, gates)    holds none: activations, products, small vectors

    Both take the rows of a batch one by one: a mean over the batch in `project` would be taken over
    other rows by some drivers. The last update returns `(state, y_t)`. Between two stages the state
    may be any pytree. A cell declared this way can be differentiated through time by every driver,
    the fast ones included, without a hand-written backward pass.

    Args:
      init: `init(key) -> params`.
      initial_state: `initial_state(params, batch_shape) -> state`, leaves of shape (*batch, ...);
        it may take `key=None` too.
      *stages: one or more pairs `(project, update)`.
      reset: `reset(params, state) -> state`; None for the cell's own initial state.
      x_ndim: the number of feature axes of `x_t`.

    Returns:
      A `Cell`.

    Raises:
      TypeError: if a stage is not a pair of functions, or if there is none, or if another argument
        is not a function.
      ValueError: if `x_ndim` is not a positive integer.
    """
    if not stages or not all(
        isinstance(stage, Sequence) and len(stage) == 2 and all(map(callable, stage))
        for stage in stages
    ):
        raise TypeError(
            f"make_cell: stages: got {stages!r}, expected one or more pairs of functions "
            "(project, update)"
        )
    if not callable(init) or not callable(initial_state) or not (reset is None or callable(reset)):
        raise TypeError("make_cell: init, initial_state and reset: expected functions")
    check_size("make_cell", x_ndim=x_ndim)
    pairs: tuple[Stage, ...] = tuple((project, update) for project, update in stages)

    def step(params: Params, state: State, x_t: Any) -> tuple[State, Any]:
        return fold_stages(pairs, params, state, x_t)

    def own_reset(params: Params, state: State) -> State:
        return _broadcast(initial_state(params, ()), state)

    return Cell(init, initial_state, step, stages=pairs, reset=reset or own_reset, x_ndim=x_ndim)


def fold_stages(stages: Sequence[Stage], params: Params, state: State, x_t: Any) -> Any:
    """Returns what the last stage's update returns, which is `(state, y_t)`."""
    for project, update in stages:
        state = update(params, state, project(params, state, x_t))
    return state


def new_state(cell: Cell, params: Params, batch_shape: Sequence[int], key: Array | None) -> State:
    """Returns `cell.initial_state`, with the key only where there is one and it is wanted."""
    batch_shape = tuple(batch_shape)
    if key is None or not _takes_key(cell.initial_state):
        return cell.initial_state(params, batch_shape)
    return cell.initial_state(params, batch_shape, key=key)


def _takes_key(function: Callable[..., Any]) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == "key" or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def reset_state(cell: Cell, params: Params, state: State) -> State:
    """Returns what replaces `state` at a reset.

    Raises:
      ValueError: if `cell.reset` returns something that does not fit `state`.
    """
    if cell.reset is None:
        return _broadcast(cell.initial_state(params, ()), state)
    new = cell.reset(params, state)
    given, wanted = (jax.tree.map(jnp.shape, tree) for tree in (new, state))
    if given != wanted:
        raise ValueError(f"reset: got a state of shapes {given}, expected {wanted}")
    return new


def _broadcast(tree: State, like: State) -> State:
    return jax.tree.map(lambda a, b: jnp.broadcast_to(a, b.shape).astype(b.dtype), tree, like)


def state_dtype(dtype: Any) -> jnp.dtype:
    """Returns the dtype of a state: `dtype`, but at least float32.

    A sum that is carried over hundreds of steps loses every increment below 1/256 of itself in
    bfloat16, so only the matrix products run in low precision.
    """
    check_dtype(dtype)
    return jnp.promote_types(dtype, jnp.float32)


def zero_or_learned_state(
    template: Any, params: Params, dtype: Any, batch_shape: Sequence[int], hidden_size: int
) -> State:
    """Returns the state type `template` filled with zeros, or with the learned `params.initial`."""
    shape = (*batch_shape, hidden_size)
    dtype = state_dtype(dtype)
    if params.initial is None:
        return template(*(jnp.zeros(shape, dtype) for _ in template._fields))
    return jax.tree.map(lambda a: jnp.broadcast_to(a.astype(dtype), shape), params.initial)


def lift(vector: Array, like: Array) -> Array:
    """Returns `vector` with leading axes of size 1, so that it has as many axes as `like`."""
    return vector.reshape((1,) * (like.ndim - vector.ndim) + vector.shape)


def check_size(cell: str, **sizes: Any) -> None:
    """Raises ValueError unless every size is a positive integer."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not hasattr(size, "__index__") or size < 1:
            raise ValueError(f"{cell}: {name}: got {size!r}, expected a positive integer")


def check_cells(combinator: str, *cells: Any) -> None:
    """Raises TypeError unless every argument is a `Cell`."""
    for number, cell in enumerate(cells):
        if not isinstance(cell, Cell):
            kind = type(cell).__name__
            raise TypeError(f"{combinator}: cell {number}: got a {kind}, expected a Cell")


def check_dtype(dtype: Any) -> None:
    """Raises ValueError unless it is a real floating dtype."""
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"dtype: got {jnp.dtype(dtype).name}, expected a floating dtype")


def check_last_axis(cell: str, name: str, array: Array, size: int) -> None:
    """Raises ValueError unless `array` is real and its last axis has `size` entries."""
    if jnp.iscomplexobj(array):
        raise ValueError(f"{cell}: {name}: got {array.dtype}, expected real numbers")
    if array.shape[-1:] != (size,):
        raise ValueError(f"{cell}: {name}: got shape {array.shape}, expected (..., {size})")
