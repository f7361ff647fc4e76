"""Weights of flax.linen's LSTMCell, OptimizedLSTMCell, GRUCell and SimpleCell in `nn.RNN`."""

from collections.abc import Mapping, Sequence
from typing import Any

from seqmodels.types import Cell, Params
from seqmodels.weights.flax_trees import nested, tree_slots
from seqmodels.weights.transfer import Framework, check_container, flatten, read, write


def from_linen(params: Mapping[str, Any] | Sequence[Any], cell: Cell) -> Params:
    """Returns the parameters of a cell, from those of `flax.linen.RNN` or `Bidirectional`.

    LSTMCell and OptimizedLSTMCell have the same parameters. GRUCell is `sm.gru(reset_after=True)`.
    The functions of the cell must be the default ones: sigmoid and, but for `sm.rnn`, tanh.

    Args:
      params: `{"cell": {"ii": {"kernel": ...}, ...}}`, also without the level "cell". For a
        bidirectional pair `{"forward_rnn": ..., "backward_rnn": ...}`, for a stack a list of such
        trees, one for each layer.
      cell: `sm.rnn`, `sm.lstm`, `sm.gru(reset_after=True)`, bidirectional pairs and stacks of
        these, each also through `sm.dropout`.

    Returns:
      `cell`'s parameters as JAX arrays of its dtypes, which share no memory with Flax's.

    Raises:
      ValueError: in one line, with every tensor that is missing, unexpected or of a wrong shape.
      TypeError: if Linen has no such cell.

    Examples:
      >>> import flax.linen as nn
      >>> variables = nn.RNN(nn.OptimizedLSTMCell(4)).init(jax.random.key(0), jnp.ones((2, 5, 3)))
      >>> from_linen(variables["params"], sm.lstm(3, 4)).w_h.shape
      (4, 16)
    """
    framework = Framework("from_linen", "linen")
    structure = framework.structure(cell)
    check_container("from_linen", "params", params, (Mapping, list, tuple))
    given = dict(flatten(params))
    return read(framework, structure, given, tree_slots(framework, structure, given))


def to_linen(params: Params, cell: Cell) -> Any:
    """Returns the parameters of `flax.linen.RNN`, as NumPy arrays of the dtypes of `params`.

    Args:
      params: `cell`'s parameters.
      cell: see `from_linen`.

    Returns:
      A dict, for a stack a list of them; see `from_linen`.

    Raises:
      ValueError: if the parameters are not those of the cell, or hold a learned initial state.
      TypeError: if Linen has no such cell.

    Examples:
      >>> import flax.linen as nn
      >>> cell = sm.lstm(3, 4)
      >>> variables = {"params": to_linen(cell.init(jax.random.key(0)), cell)}
      >>> nn.RNN(nn.OptimizedLSTMCell(4)).apply(variables, jnp.ones((2, 5, 3))).shape  # (B, T, H)
      (2, 5, 4)
    """
    framework = Framework("to_linen", "linen")
    structure = framework.structure(cell)
    layouts = [framework.layout(leaf) for leaf in structure.leaves]
    return nested(structure, write(framework, structure, params, layouts))
