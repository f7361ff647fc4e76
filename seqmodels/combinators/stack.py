"""Cells on top of each other: every cell reads the output of the one before."""

from collections.abc import Sequence

import jax

from seqmodels.cells.stages import check_cells, new_state, reset_state
from seqmodels.types import Array, Cell, DriverCall, Params, Run, State, Unrolled


def stack(cells: Sequence[Cell]) -> Cell:
    """Returns the cell in which every cell reads the output of the one before.

    Parameters and state are tuples with one entry for each cell. A step runs all cells at each t;
    `sm.unroll` runs layer by layer. Both give the same result.

    Args:
      cells: one or more cells; the first reads `x_t`.

    Returns:
      A `Cell`.

    Raises:
      ValueError: if `cells` is empty.
      TypeError: if `cells` is not a list of cells.

    Examples:
      >>> cell, xs = sm.stack([sm.lstm(3, 4), sm.gru(4, 2)]), jnp.ones((5, 2, 3))
      >>> (lower, upper), ys = sm.unroll(cell, cell.init(jax.random.key(0)), xs)
      >>> lower.c.shape, upper.h.shape, ys.shape
      ((2, 4), (2, 2), (5, 2, 2))
    """
    if isinstance(cells, Cell):
        raise TypeError("stack: cells: got one Cell, expected a list of cells")
    cells = tuple(cells)
    check_cells("stack", *cells)
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

    def unroll(run: Run, call: DriverCall) -> Unrolled:
        layers, xs = [], call.xs
        for cell, p, s in zip(cells, call.params, call.state, strict=True):
            layers.append(run(call._replace(cell=cell, params=p, xs=xs, state=s)))
            xs = layers[-1].ys
        return Unrolled(
            final_state=tuple(layer.final_state for layer in layers),
            ys=xs,
            states=tuple(layer.states for layer in layers),
            info=tuple(layer.info for layer in layers),
        )

    x_ndim = cells[0].x_ndim
    return Cell(init, initial_state, step, reset=reset, unroll=unroll, x_ndim=x_ndim)
