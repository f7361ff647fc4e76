"""Weights of flax.nnx's LSTMCell, OptimizedLSTMCell, GRUCell and SimpleCell in `nnx.RNN`."""

from collections.abc import Mapping, Sequence
from typing import Any

from seqmodels.types import Cell, Params
from seqmodels.weights.flax_trees import nested, tree_slots
from seqmodels.weights.transfer import Framework, check_container, flatten, read, write


def from_nnx(params: Mapping[Any, Any] | Sequence[Any], cell: Cell) -> Params:
    """Returns the parameters of a cell, from those of `flax.nnx.RNN` or `Bidirectional`.

    The parameters of LSTMCell and OptimizedLSTMCell differ; both are read. GRUCell is
    `sm.gru(reset_after=True)` with a `b_n` of zeros, because it lacks that bias (Flax issue 5594).

    Args:
      params: `nnx.to_pure_dict(nnx.state(module, nnx.Param))`, or the state itself; for a stack a
        list of them, or a dict with the keys 0, 1, ...; `rngs` are ignored.
      cell: `sm.rnn`, `sm.lstm`, `sm.gru(reset_after=True)`, bidirectional pairs and stacks of
        these, each also through `sm.dropout`.

    Returns:
      `cell`'s parameters as JAX arrays of its dtypes, which share no memory with Flax's.

    Raises:
      ValueError: in one line, with every tensor that is missing, unexpected or of a wrong shape.
      TypeError: if NNX has no such cell.

    Examples:
      >>> from flax import nnx
      >>> module = nnx.RNN(nnx.LSTMCell(3, 4, rngs=nnx.Rngs(0)))
      >>> from_nnx(nnx.state(module, nnx.Param), sm.lstm(3, 4)).w_h.shape
      (4, 16)
    """
    framework = Framework("from_nnx", "nnx")
    structure = framework.structure(cell)
    check_container("from_nnx", "params", params, (Mapping, list, tuple))
    given = {path: leaf for path, leaf in flatten(params) if "rngs" not in path.split("/")}
    return read(framework, structure, given, tree_slots(framework, structure, given))


def to_nnx(params: Params, cell: Cell, *, optimized: bool = False) -> Any:
    """Returns the parameters of `flax.nnx.RNN`, as NumPy arrays of the dtypes of `params`.

    Args:
      params: `cell`'s parameters.
      cell: see `from_nnx`.
      optimized: whether an LSTM is written for OptimizedLSTMCell, not for LSTMCell.

    Returns:
      A dict, for a stack a list of them; see `from_nnx`.

    Raises:
      ValueError: if the parameters are not those of the cell, hold a learned initial state, or a
        GRU's `b_n` is not all zeros.
      TypeError: if NNX has no such cell.

    Examples:
      >>> from flax import nnx
      >>> cell, module = sm.lstm(3, 4), nnx.RNN(nnx.LSTMCell(3, 4, rngs=nnx.Rngs(0)))
      >>> graphdef, state = nnx.split(module)
      >>> nnx.replace_by_pure_dict(state, to_nnx(cell.init(jax.random.key(0)), cell))
      >>> nnx.merge(graphdef, state)(jnp.ones((2, 5, 3))).shape  # (B, T, H)
      (2, 5, 4)
    """
    framework = Framework("to_nnx", "nnx")
    structure = framework.structure(cell)
    lstm = Framework("to_nnx", "nnx_optimized" if optimized else "nnx")
    layouts = [
        (lstm if leaf.kind == "lstm" else framework).layout(leaf) for leaf in structure.leaves
    ]
    return nested(structure, write(framework, structure, params, layouts))
