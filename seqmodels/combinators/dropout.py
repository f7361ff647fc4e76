"""Dropout of outputs or of the recurrent state, with one mask for a whole sequence."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.cells.stages import check_cells, make_cell, new_state, reset_state, stage_gates
from seqmodels.pytrees import is_float
from seqmodels.types import Array, Cell, DriverCall, GateValues, Params, Run, Stage, State, Unrolled


class DropoutState(NamedTuple):
    """The state of a cell under dropout.

    cell: the state of the cell inside. noise: a PRNG key for every sequence, (*batch), that
    determines its mask; None: no dropout.
    """

    cell: State
    noise: Any


def dropout(cell: Cell, rate: float, *, recurrent: bool = False) -> Cell:
    """Returns the cell with dropout, one mask for a whole sequence.

    Dropped entries become zero; the others are divided by `1 - rate`. `initial_state` draws the
    mask from the `key` given to it or to `sm.unroll`. The mask is the same at every step and across
    resets. Without a key nothing is dropped, as in evaluation. For both kinds of dropout apply the
    recurrent one first: `sm.dropout(sm.dropout(cell, 0.2, recurrent=True), 0.3)`.

    Gal, Ghahramani 2016, "A Theoretically Grounded Application of Dropout in Recurrent Neural
    Networks" (arXiv 1512.05287).

    Args:
      cell: the cell inside.
      rate: probability that an entry is dropped, 0 <= rate < 1.
      recurrent: False drops features of `y_t`, for use between the layers of a stack. True drops
        entries of the state where the cell's matrices read it, with one mask for each `project`.
        The state that is carried to the next step is not changed.

    Returns:
      A `Cell` with the parameters of `cell` and a `DropoutState`.

    Raises:
      ValueError: if the rate is out of range.
      TypeError: if `recurrent` and the cell is not declared in stages.

    Examples:
      >>> cell, xs = sm.dropout(sm.gru(3, 4), 0.5), jnp.ones((5, 2, 3))
      >>> params = cell.init(jax.random.key(0))
      >>> _, ys = sm.unroll(cell, params, xs, key=jax.random.key(1))  # without a key: no dropout
      >>> bool(jnp.all((ys[0] == 0) == (ys[4] == 0)))  # one mask for all steps
      True
    """
    check_cells("dropout", cell)
    if not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise ValueError(f"dropout: rate: got {rate!r}, expected 0 <= rate < 1")
    if recurrent and not cell.stages:
        raise TypeError(
            "dropout: recurrent=True needs a cell in stages (sm.make_cell): apply it to the "
            "innermost cells, before stack, residual or output dropout"
        )

    def initial_state(
        params: Params, batch_shape: Sequence[int] = (), key: Array | None = None
    ) -> DropoutState:
        if key is None:
            return DropoutState(new_state(cell, params, batch_shape, None), None)
        key_noise, key_cell = jax.random.split(key)
        inner = new_state(cell, params, batch_shape, key_cell)
        return DropoutState(inner, jax.random.split(key_noise, tuple(batch_shape)))

    make = _recurrent_dropout if recurrent else _output_dropout
    return make(cell, rate)._replace(initial_state=initial_state, reset=_reset_inside(cell))


def _reset_inside(cell: Cell) -> Callable[[Params, DropoutState], DropoutState]:
    """Returns the reset that keeps the masks."""

    def reset(params: Params, state: DropoutState) -> DropoutState:
        return DropoutState(reset_state(cell, params, state.cell), state.noise)

    return reset


def _output_dropout(cell: Cell, rate: float) -> Cell:
    def step(params: Params, state: DropoutState, x_t: Array) -> tuple[DropoutState, Array]:
        inner, y_t = cell.step(params, state.cell, x_t)
        if state.noise is not None:
            y_t = _drop(_masks(state.noise, y_t, rate), y_t, rate)
        return DropoutState(inner, state.noise), y_t

    def unroll(run: Run, call: DriverCall) -> Unrolled:
        noise = call.state.noise
        full = run(call._replace(cell=cell, state=call.state.cell))
        ys = full.ys
        if noise is not None:
            like_y_t = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), ys)
            masks = jax.tree.map(lambda mask: mask[None], _masks(noise, like_y_t, rate))
            ys = _drop(masks, ys, rate)
        return _with_noise(full._replace(ys=ys), noise)

    return cell._replace(step=step, stages=(), elements=None, output=None, unroll=unroll, gates=())


def _recurrent_dropout(cell: Cell, rate: float) -> Cell:
    """Returns the cell with recurrent dropout.

    The noise in its state is either keys or, inside `unroll`, a tuple of the masks.
    """

    def dropped(state: DropoutState, n: int) -> State:
        if state.noise is None:
            return state.cell
        has_masks = isinstance(state.noise, tuple)
        masks = state.noise[n] if has_masks else _masks(state.noise, state.cell, rate, n)
        return _drop(masks, state.cell, rate)

    def stage(n: int, project: Callable[..., Any], update: Callable[..., Any]) -> Stage:
        def masked_project(params: Params, state: DropoutState, x_t: Array) -> Any:
            return project(params, dropped(state, n), x_t)

        def wrapped_update(params: Params, state: DropoutState, gates: Any) -> Any:
            new = update(params, state.cell, gates)
            if n < len(cell.stages) - 1:
                return DropoutState(new, state.noise)
            return DropoutState(new[0], state.noise), new[1]

        return masked_project, wrapped_update

    def named(gates: Callable[..., GateValues]) -> Callable[..., GateValues]:
        return lambda params, state, pre: gates(params, state.cell, pre)

    stages = [stage(n, *pair) for n, pair in enumerate(cell.stages)]
    staged = make_cell(
        cell.init,
        cell.initial_state,
        *stages,
        gates=[named(gates) for gates in stage_gates(cell)],
        reset=_reset_inside(cell),
        x_ndim=cell.x_ndim,
    )

    def unroll(run: Run, call: DriverCall) -> Unrolled:
        # The masks are drawn here once and not from the keys at every step.
        state = call.state
        if state.noise is None:
            return _with_noise(run(call._replace(cell=cell, state=state.cell)), None)
        read = jax.eval_shape(
            lambda p, s, x: _states_read(cell, p, s, x), call.params, state.cell, call.x_t
        )
        noise = tuple(_masks(state.noise, s, rate, n) for n, s in enumerate(read))
        full = run(call._replace(cell=staged, state=DropoutState(state.cell, noise)))
        states = None if full.states is None else full.states.cell
        inner = full._replace(final_state=full.final_state.cell, states=states)
        return _with_noise(inner, state.noise)

    return staged._replace(unroll=unroll)


def _states_read(cell: Cell, params: Params, state: State, x_t: Array) -> list[State]:
    """Returns the state that the project of each stage reads."""
    states = []
    for project, update in cell.stages:
        states.append(state)
        state = update(params, state, project(params, state, x_t))
    return states


def _masks(keys: Array, tree: Any, rate: float, n: int = 0) -> Any:
    """Returns masks, true where kept, for the leaves that are numbers; one key per sequence."""
    leaves, structure = jax.tree.flatten(tree)

    def draw(key: Array, number: int, shape: tuple[int, ...]) -> Array:
        key = jax.random.fold_in(jax.random.fold_in(key, n), number)
        return jax.random.bernoulli(key, 1 - rate, shape)

    masks: list[Array | None] = []
    for number, leaf in enumerate(leaves):
        if not is_float(leaf):
            masks.append(None)
            continue
        shape = leaf.shape[keys.ndim :]
        flat = jax.vmap(lambda k, m=number, s=shape: draw(k, m, s))(keys.reshape(-1))
        masks.append(flat.reshape(keys.shape + shape))
    return jax.tree.unflatten(structure, masks)


def _drop(masks: Any, tree: Any, rate: float) -> Any:
    def drop(mask: Array | None, leaf: Array) -> Array:
        return leaf if mask is None else jnp.where(mask, leaf / (1 - rate), 0).astype(leaf.dtype)

    return jax.tree.map(drop, masks, tree, is_leaf=lambda a: a is None)


def _with_noise(full: Unrolled, noise: Any) -> Unrolled:
    """Returns the result with a `DropoutState` around each inner state."""
    states = None
    if full.states is not None:
        repeated = noise
        if noise is not None:
            num_steps = jax.tree.leaves(full.ys)[0].shape[0]
            repeated = jnp.broadcast_to(noise, (num_steps, *noise.shape))
        states = DropoutState(full.states, repeated)
    return full._replace(final_state=DropoutState(full.final_state, noise), states=states)
