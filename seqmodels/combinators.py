"""Cells made of cells: stack, residual, dropout, bidirectional.

Each steps like any cell (a bidirectional pair excepted, which needs the whole sequence) and is
unrolled cell by cell, so that every cell inside runs under its own best driver.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.cells.stages import make_cell, new_state, reset_state
from seqmodels.types import Array, Cell, Contract, Params, Stage, State, Unrolled

Run = Callable[[Cell, Params, Array, State, Contract], Unrolled]


def _check_cells(combinator: str, *cells: Any) -> None:
    for number, cell in enumerate(cells):
        if not isinstance(cell, Cell):
            kind = type(cell).__name__
            raise TypeError(f"{combinator}: cell {number}: got a {kind}, expected a Cell")


def stack(cells: Sequence[Cell]) -> Cell:
    """Returns the cell in which every cell reads the output of the one before.

    Parameters and state are tuples with one entry a cell. It steps through all cells at each t, and
    is unrolled layer by layer; both give the same.

    Args:
      cells: one or more cells, the first reads `x_t`.

    Returns:
      A `Cell`.

    Raises:
      ValueError: if there are no cells.
      TypeError: if it is not a list of cells.
    """
    if isinstance(cells, Cell):
        raise TypeError("stack: cells: got one Cell, expected a list of cells")
    cells = tuple(cells)
    _check_cells("stack", *cells)
    if not cells:
        raise ValueError("stack: cells: got none, expected one or more")

    def init(key: Array) -> Params:
        keys = jax.random.split(key, len(cells))
        return tuple(cell.init(k) for cell, k in zip(cells, keys, strict=True))

    def initial_state(
        params: Params, batch_shape: Sequence[int] = (), key: Array | None = None
    ) -> State:
        keys = [None] * len(cells) if key is None else jax.random.split(key, len(cells))
        return tuple(
            new_state(cell, p, batch_shape, k)
            for cell, p, k in zip(cells, params, keys, strict=True)
        )

    def step(params: Params, state: State, x_t: Array) -> tuple[State, Array]:
        new = []
        for cell, p, s in zip(cells, params, state, strict=True):
            s, x_t = cell.step(p, s, x_t)
            new.append(s)
        return tuple(new), x_t

    def reset(params: Params, state: State) -> State:
        return tuple(
            reset_state(cell, p, s) for cell, p, s in zip(cells, params, state, strict=True)
        )

    def unroll(run: Run, params: Params, xs: Array, state: State, contract: Contract) -> Unrolled:
        layers = []
        for cell, p, s in zip(cells, params, state, strict=True):
            layers.append(run(cell, p, xs, s, contract))
            xs = layers[-1].ys
        return Unrolled(
            final_state=tuple(layer.final_state for layer in layers),
            ys=xs,
            states=tuple(layer.states for layer in layers),
            info=tuple(layer.info for layer in layers),
        )

    x_ndim = cells[0].x_ndim
    return Cell(init, initial_state, step, reset=reset, unroll=unroll, x_ndim=x_ndim)


def residual(cell: Cell) -> Cell:
    """Returns the cell whose output is `y_t + x_t`.

    Args:
      cell: a cell whose outputs have the shape of its inputs.

    Returns:
      A `Cell` with the parameters and the state of `cell`.
    """
    _check_cells("residual", cell)

    def add(ys: Array, xs: Array) -> Array:
        if ys.shape != xs.shape:
            raise ValueError(
                f"residual: got inputs of shape {xs.shape} and outputs of shape {ys.shape}, "
                "expected the same"
            )
        return ys + xs

    def step(params: Params, state: State, x_t: Array) -> tuple[State, Array]:
        state, y_t = cell.step(params, state, x_t)
        return state, add(y_t, x_t)

    def unroll(run: Run, params: Params, xs: Array, state: State, contract: Contract) -> Unrolled:
        full = run(cell, params, xs, state, contract)
        return full._replace(ys=add(full.ys, xs))  # both are zero in the padding

    return cell._replace(step=step, stages=(), elements=None, output=None, unroll=unroll)


class DropoutState(NamedTuple):
    """The state of a cell under dropout.

    cell: the state of the cell inside. noise: a PRNG key for every sequence, (*batch), from which
    its mask is drawn; None: no dropout.
    """

    cell: State
    noise: Any


def dropout(cell: Cell, rate: float, *, recurrent: bool = False) -> Cell:
    """Returns the cell with dropout, one mask for a whole sequence.

    What is dropped becomes zero, what is kept is divided by `1 - rate`. The mask is drawn when the
    state is made, from the `key` given to `sm.unroll` or to `initial_state`, and is the same at
    every step and across resets. Without a key nothing is dropped, as wanted for evaluation. For
    both kinds of dropout apply the recurrent one first:
    `sm.dropout(sm.dropout(cell, 0.2, recurrent=True), 0.3)`.

    Gal, Ghahramani 2016, "A Theoretically Grounded Application of Dropout in Recurrent Neural
    Networks" (arXiv 1512.05287).

    Args:
      cell: the cell inside.
      rate: probability of being dropped, 0 <= rate < 1.
      recurrent: False drops features of `y_t`, as wanted between the layers of a stack. True drops
        the state where the cell's matrices read it (each `project` through a mask of its own),
        while what the cell carries to the next step stays whole.

    Returns:
      A `Cell` with the parameters of `cell` and a `DropoutState`.

    Raises:
      ValueError: if the rate is out of range.
      TypeError: if `recurrent` and the cell is not declared in stages.
    """
    _check_cells("dropout", cell)
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

    def unroll(
        run: Run, params: Params, xs: Array, state: DropoutState, contract: Contract
    ) -> Unrolled:
        full = run(cell, params, xs, state.cell, contract)
        ys = full.ys
        if state.noise is not None:
            like_y_t = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), ys)
            masks = jax.tree.map(lambda mask: mask[None], _masks(state.noise, like_y_t, rate))
            ys = _drop(masks, ys, rate)
        return _with_noise(full._replace(ys=ys), state.noise)

    return cell._replace(step=step, stages=(), elements=None, output=None, unroll=unroll)


def _recurrent_dropout(cell: Cell, rate: float) -> Cell:
    """The noise of this cell is either keys or, inside `unroll`, the masks already drawn."""

    def dropped(state: DropoutState, n: int) -> State:
        if state.noise is None:
            return state.cell
        drawn = isinstance(state.noise, tuple)
        masks = state.noise[n] if drawn else _masks(state.noise, state.cell, rate, n)
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

    stages = [stage(n, *pair) for n, pair in enumerate(cell.stages)]
    staged = make_cell(
        cell.init, cell.initial_state, *stages, reset=_reset_inside(cell), x_ndim=cell.x_ndim
    )

    def unroll(
        run: Run, params: Params, xs: Array, state: DropoutState, contract: Contract
    ) -> Unrolled:
        # Drawn here once and not at every step from the keys.
        noise = state.noise
        if noise is not None:
            x_t = jax.ShapeDtypeStruct(xs.shape[1:], xs.dtype)
            seen = jax.eval_shape(lambda p, s, x: _seen(cell, p, s, x), params, state.cell, x_t)
            noise = tuple(_masks(state.noise, s, rate, n) for n, s in enumerate(seen))

        full = run(staged, params, xs, DropoutState(state.cell, noise), contract)
        states = None if full.states is None else full.states.cell
        inner = full._replace(final_state=full.final_state.cell, states=states)
        return _with_noise(inner, state.noise)

    return staged._replace(unroll=unroll)


def _seen(cell: Cell, params: Params, state: State, x_t: Array) -> list[State]:
    """Returns what the project of each stage reads as its state."""
    seen = []
    for project, update in cell.stages:
        seen.append(state)
        state = update(params, state, project(params, state, x_t))
    return seen


def _masks(keys: Array, tree: Any, rate: float, n: int = 0) -> Any:
    """Returns masks, true where kept, for the floating leaves of a tree; one key a sequence."""
    leaves, structure = jax.tree.flatten(tree)

    def draw(key: Array, number: int, shape: tuple[int, ...]) -> Array:
        key = jax.random.fold_in(jax.random.fold_in(key, n), number)
        return jax.random.bernoulli(key, 1 - rate, shape)

    masks: list[Array | None] = []
    for number, leaf in enumerate(leaves):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
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
    """Returns the result with `DropoutState`s in the place of the inner states."""
    states = None
    if full.states is not None:
        repeated = noise
        if noise is not None:
            num_steps = jax.tree.leaves(full.ys)[0].shape[0]
            repeated = jnp.broadcast_to(noise, (num_steps, *noise.shape))
        states = DropoutState(full.states, repeated)
    return full._replace(final_state=DropoutState(full.final_state, noise), states=states)


class Bidirectional(NamedTuple):
    """Parameters, states or infos of a bidirectional pair."""

    forward: Any
    backward: Any


def bidirectional(forward: Cell, backward: Cell) -> Cell:
    """Returns the pair that reads a sequence in both directions, outputs side by side.

    y_t is the concatenation of the forward cell's and the backward cell's output at t along the
    last axis. Each sequence is read backwards from its own last valid step. `resets` mark where a
    packed piece begins in the direction of the call; the other direction begins each piece at its
    other end. Under `reverse=True` the forward cell reads from the end and the backward cell from
    the start. The pair exists for whole sequences only: stepping it raises TypeError.

    Schuster, Paliwal 1997, "Bidirectional Recurrent Neural Networks", IEEE Transactions on Signal
    Processing 45(11).

    Args:
      forward: the cell that reads from the start.
      backward: the cell that reads from the end; its input has the shape of the forward cell's.

    Returns:
      A `Cell` whose parameters and state are `Bidirectional` pairs.
    """
    _check_cells("bidirectional", forward, backward)

    def init(key: Array) -> Bidirectional:
        key_f, key_b = jax.random.split(key)
        return Bidirectional(forward.init(key_f), backward.init(key_b))

    def initial_state(
        params: Params, batch_shape: Sequence[int] = (), key: Array | None = None
    ) -> Bidirectional:
        key_f, key_b = (None, None) if key is None else jax.random.split(key)
        return Bidirectional(
            new_state(forward, params.forward, batch_shape, key_f),
            new_state(backward, params.backward, batch_shape, key_b),
        )

    def step(params: Params, state: State, x_t: Array) -> tuple[State, Array]:
        raise TypeError(
            "bidirectional: cannot take one step, because it reads whole sequences; use sm.unroll"
        )

    def reset(params: Params, state: Bidirectional) -> Bidirectional:
        return Bidirectional(
            reset_state(forward, params.forward, state.forward),
            reset_state(backward, params.backward, state.backward),
        )

    def unroll(
        run: Run, params: Params, xs: Array, state: Bidirectional, contract: Contract
    ) -> Unrolled:
        f = run(forward, params.forward, xs, state.forward, contract)
        b = run(backward, params.backward, xs, state.backward, _opposite(contract))
        return Unrolled(
            final_state=Bidirectional(f.final_state, b.final_state),
            ys=jnp.concatenate([f.ys, b.ys], axis=-1),
            states=Bidirectional(f.states, b.states),
            info=Bidirectional(f.info, b.info),
        )

    return Cell(init, initial_state, step, reset=reset, unroll=unroll, x_ndim=forward.x_ndim)


def _opposite(contract: Contract) -> Contract:
    """Returns the contract of the same pieces read in the other direction.

    A piece begins at t, read forwards, where the piece before it ends at t - 1; read backwards it
    is t - 1 that begins a piece. A reset in the padding begins none.
    """
    valid, resets, reverse = contract
    if resets is None:
        return contract._replace(reverse=not reverse)
    outside = jnp.zeros_like(resets[:1])
    pieces = [outside, resets[:-1]] if reverse else [resets[1:], outside]
    return Contract(valid, jnp.concatenate(pieces), not reverse)
