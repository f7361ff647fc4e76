"""Cells declared in stages, and helpers that all cells share."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import jax
import jax.numpy as jnp

from seqmodels.types import Array, Cell, GateValues, Params, Stage, State

Options = ParamSpec("Options")
ParamsType = TypeVar("ParamsType")


def make_cell(
    init: Callable[[Array], Params],
    initial_state: Callable[..., State],
    *stages: Stage,
    gates: Sequence[Callable[..., GateValues]] = (),
    reset: Callable[[Params, State], State] | None = None,
    x_ndim: int = 1,
) -> Cell:
    """Returns the cell whose step is the fold of `stages`.

    A stage is a pair of functions:

        gates = project(params, state, x_t)     affine in state and in x_t; holds every matrix
        state = update(params, state, gates)    holds no matrix: activations, products, vectors

    Both treat the rows of a batch independently, because a driver may call them on other batches: a
    mean over the batch would be wrong. The last update returns `(state, y_t)`. Between two stages
    the state may be any pytree. Every driver can differentiate such a cell through time, without a
    hand-written backward pass.

    Args:
      init: `init(key) -> params`.
      initial_state: `initial_state(params, batch_shape) -> state`, leaves of shape (*batch, ...);
        it may also take `key=None`.
      *stages: one or more pairs `(project, update)`.
      gates: for each stage `gates(params, state, pre_activations) -> GateValues`, which names what
        its `update` computes; (): no names. See `Cell.gates`.
      reset: `reset(params, state) -> state`; None for the cell's own initial state.
      x_ndim: the number of feature axes of `x_t`.

    Returns:
      A `Cell`.

    Raises:
      TypeError: if there are no stages, if a stage is not a pair of functions, or if another
        argument is not callable.
      ValueError: if `x_ndim` is not a positive integer, or the number of `gates` is neither 0 nor
        the number of stages.

    Examples:
      >>> def project(w, state, x_t):  # parameters: one matrix (D + H, H)
      ...     return jnp.concatenate([x_t, state], -1) @ w
      >>> def update(w, state, gates):
      ...     return jnp.tanh(gates), jnp.tanh(gates)  # (state, y_t)
      >>> cell = sm.make_cell(
      ...     lambda key: jax.random.normal(key, (7, 4)),
      ...     lambda w, batch_shape: jnp.zeros((*batch_shape, 4)),
      ...     (project, update),
      ... )
      >>> state, ys = sm.unroll(cell, cell.init(jax.random.key(0)), jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 4)
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
    if gates and len(gates) != len(stages):
        raise ValueError(
            f"make_cell: gates: got {len(gates)}, expected one per stage: {len(stages)}"
        )
    pairs: tuple[Stage, ...] = tuple((project, update) for project, update in stages)

    def step(params: Params, state: State, x_t: Any) -> tuple[State, Any]:
        return fold_stages(pairs, params, state, x_t)

    def own_reset(params: Params, state: State) -> State:
        return _broadcast(initial_state(params, ()), state)

    return Cell(
        init,
        initial_state,
        step,
        stages=pairs,
        reset=reset or own_reset,
        x_ndim=x_ndim,
        gates=tuple(gates),
    )


def stage_gates(cell: Cell) -> tuple[Callable[..., GateValues], ...]:
    """Returns for each stage of a cell the function that names its activations, or ()."""
    return cell.gates if cell.stages and isinstance(cell.gates, tuple) else ()


def init_function(
    factory: Callable[Options, Cell], params_type: type[ParamsType]
) -> Callable[Concatenate[Array, Options], ParamsType]:
    """Returns the function `init(key, *args, **options)`, short for `factory(...).init(key)`.

    Args:
      factory: the function that makes the cell, such as `sm.lstm`.
      params_type: the type of its parameters.
    """

    def init(key: Array, *args: Options.args, **options: Options.kwargs) -> ParamsType:
        return factory(*args, **options).init(key)

    functools.update_wrapper(init, factory)
    signature = inspect.signature(factory)
    first = inspect.Parameter("key", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Array)
    parameters = [first, *signature.parameters.values()]
    init.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=parameters, return_annotation=params_type
    )
    init.__name__ = init.__qualname__ = f"{factory.__name__}_init"
    init.__doc__ = (
        f"Returns fresh parameters of `sm.{factory.__name__}`, drawn from `key`.\n\n"
        f"Arguments as in `sm.{factory.__name__}`, after the key; `dtype` has no effect."
    )
    return init


def fold_stages(stages: Sequence[Stage], params: Params, state: State, x_t: Any) -> Any:
    """Returns the result of the last stage's update, `(state, y_t)`."""
    for project, update in stages:
        state = update(params, state, project(params, state, x_t))
    return state


def new_state(cell: Cell, params: Params, batch_shape: Sequence[int], key: Array | None) -> State:
    """Returns `cell.initial_state(...)`; passes the key on if the function takes one."""
    batch_shape = tuple(batch_shape)
    if key is None or not _takes_key(cell.initial_state):
        return cell.initial_state(params, batch_shape)
    return cell.initial_state(params, batch_shape, key=key)


def _takes_key(function: Callable[..., Any]) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == "key" or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def reset_state(cell: Cell, params: Params, state: State) -> State:
    """Returns the state that replaces `state` at a reset.

    Raises:
      ValueError: if `cell.reset` returns a state that does not fit `state`.
    """
    if cell.reset is None:
        return _broadcast(cell.initial_state(params, ()), state)
    new = cell.reset(params, state)
    given, expected = (jax.tree.map(jnp.shape, tree) for tree in (new, state))
    if given != expected:
        raise ValueError(f"reset: got a state of shapes {given}, expected {expected}")
    return new


def _broadcast(tree: State, like: State) -> State:
    return jax.tree.map(lambda a, b: jnp.broadcast_to(a, b.shape).astype(b.dtype), tree, like)


def state_dtype(dtype: Any) -> jnp.dtype:
    """Returns the dtype of a state: `dtype`, but at least float32.

    In bfloat16 a sum that is carried over hundreds of steps loses every increment below 1/256 of
    itself. So only the matrix products run in low precision.
    """
    check_dtype(dtype)
    return jnp.promote_types(dtype, jnp.float32)


def zero_or_learned_state(
    template: Any, params: Params, dtype: Any, batch_shape: Sequence[int], hidden_size: int
) -> State:
    """Returns a state of the type `template`: zeros, or the learned `params.initial`."""
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
