"""A cell with a residual connection from its input to its output."""

from seqmodels.cells.stages import check_cells
from seqmodels.drivers.contract import hold_last_outputs
from seqmodels.types import Array, Cell, DriverCall, Params, Run, State, Unrolled


def residual(cell: Cell) -> Cell:
    """Returns the cell whose output is `y_t + x_t`.

    Args:
      cell: a cell whose outputs have the shape of its inputs.

    Returns:
      A `Cell` with the parameters and the state of `cell`.

    Examples:
      >>> cell, xs = sm.residual(sm.gru(3, 3)), jnp.ones((5, 2, 3))
      >>> state, ys = sm.unroll(cell, cell.init(jax.random.key(0)), xs)
      >>> ys.shape
      (5, 2, 3)
    """
    check_cells("residual", cell)

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

    def unroll(run: Run, call: DriverCall) -> Unrolled:
        full = run(call._replace(cell=cell))
        # Both are zero where no step is valid, and both are held where outputs are.
        return full._replace(ys=add(full.ys, hold_last_outputs(call.contract, call.xs)))

    return cell._replace(step=step, stages=(), elements=None, output=None, unroll=unroll, gates=())
