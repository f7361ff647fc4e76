"""Structure of a cell: its layers of recurrent cells that other frameworks also have.

A recurrent cell is recognized by the functions of its stages. A combinator is recognized by an
abstract unroll of the cells inside it. A chain passes each output to the next cell. A pair runs two
cells over the same input in both directions. Dropout without a key changes nothing.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.cells.gru import (
    gru_after_project,
    gru_after_update,
    gru_gate,
    gru_project,
    gru_project_candidate,
    gru_update,
)
from seqmodels.cells.lstm import lstm_project, lstm_update
from seqmodels.cells.rnn import rnn_project, rnn_update
from seqmodels.combinators.bidirectional import Bidirectional
from seqmodels.types import Array, Cell, Contract, DriverCall, Info, Params, Unrolled

_KINDS: dict[tuple[Any, ...], str] = {
    (rnn_project, rnn_update): "rnn",
    (lstm_project, lstm_update): "lstm",
    (gru_project, gru_gate, gru_project_candidate, gru_update): "gru",
    (gru_after_project, gru_after_update): "gru_after",
}
_NAMES = {"gru": "sm.gru", "gru_after": "sm.gru(reset_after=True)"}
_ACTIVATIONS: dict[Any, str] = {jnp.tanh: "tanh", jax.nn.relu: "relu"}


class Leaf(NamedTuple):
    """One recurrent cell.

    Attributes:
      kind: "rnn", "lstm", "gru", or "gru_after" for the GRU with `reset_after=True`.
      activation: activation of a simple RNN: "tanh", "relu" or a function; otherwise "tanh".
      params: its parameters as `jax.ShapeDtypeStruct`.
    """

    kind: str
    activation: str | Callable[[Array], Array]
    params: Any

    @property
    def input_size(self) -> int:
        """D."""
        return self.params.w_x.shape[0]

    @property
    def hidden_size(self) -> int:
        """H."""
        return self.params.w_h.shape[0]

    @property
    def name(self) -> str:
        """The factory that makes it, for messages."""
        options = "" if self.activation == "tanh" else f"(activation={self.activation!r})"
        return _NAMES.get(self.kind, f"sm.{self.kind}{options}")


class Structure(NamedTuple):
    """The layers of a cell.

    Attributes:
      layers: from the input to the output; a layer is one `Leaf`, or one that reads forwards and
        one that reads backwards.
      is_stack: whether the cell is a stack, maybe of one cell.
      params: the parameters of the whole cell as `jax.ShapeDtypeStruct`.
    """

    layers: tuple[tuple[Leaf, ...], ...]
    is_stack: bool
    params: Params

    @property
    def leaves(self) -> list[Leaf]:
        """All recurrent cells, forward before backward."""
        return [leaf for layer in self.layers for leaf in layer]


class NoCounterpartError(TypeError):
    """A cell that no other framework has."""


def structure_of(cell: Cell) -> Structure:
    """Returns the layers of a cell.

    Args:
      cell: `sm.rnn`, `sm.lstm`, `sm.gru`, `sm.bidirectional` of two of those, or `sm.stack` of all
        these; each also through `sm.dropout`.

    Raises:
      NoCounterpartError: if it is another cell.

    Examples:
      >>> structure = structure_of(sm.stack([sm.lstm(3, 4), sm.gru(4, 2)]))
      >>> [leaf.name for leaf in structure.leaves]
      ['sm.lstm', 'sm.gru']
    """
    if not isinstance(cell, Cell):
        raise NoCounterpartError(f"got a {type(cell).__name__}, expected a Cell")
    key = jax.eval_shape(lambda: jax.random.key(0))
    params = jax.eval_shape(cell.init, key)
    return Structure(_layers(cell, params), _is_tuple(params), params)


def recurrent_params(structure: Structure, params: Params) -> list[Any]:
    """Returns the parameters of each `Leaf`, in the order of `structure.leaves`.

    Examples:
      >>> cell = sm.stack([sm.lstm(3, 4), sm.gru(4, 2)])
      >>> params = cell.init(jax.random.key(0))
      >>> [type(each).__name__ for each in recurrent_params(structure_of(cell), params)]
      ['LSTMParams', 'GRUParams']
    """
    types = tuple({type(leaf.params) for leaf in structure.leaves})
    return jax.tree.leaves(params, is_leaf=lambda node: isinstance(node, types))


def combine_params(structure: Structure, params: list[Any]) -> Params:
    """Returns the parameters of the whole cell, from those of each `Leaf`.

    Examples:
      >>> cell = sm.stack([sm.lstm(3, 4), sm.gru(4, 2)])
      >>> structure, params = structure_of(cell), cell.init(jax.random.key(0))
      >>> len(combine_params(structure, recurrent_params(structure, params)))
      2
    """
    types = tuple({type(leaf.params) for leaf in structure.leaves})
    tree = jax.tree.structure(structure.params, is_leaf=lambda node: isinstance(node, types))
    return jax.tree.unflatten(tree, params)


def _is_tuple(params: Params) -> bool:
    return isinstance(params, tuple) and not hasattr(params, "_fields")


def _layers(cell: Cell, params: Params) -> tuple[tuple[Leaf, ...], ...]:
    if cell.unroll is None:
        return ((_leaf(cell, params),),)
    probe = _Probe()
    jax.eval_shape(functools.partial(probe.unroll, cell), params)
    if not probe.in_order:
        raise _unknown()
    if probe.is_chain:
        return tuple(layer for layers in probe.layers for layer in layers)
    if probe.is_pair and all(len(layers) == len(layers[0]) == 1 for layers in probe.layers):
        return (tuple(layers[0][0] for layers in probe.layers),)
    raise _unknown()


def _leaf(cell: Cell, params: Params) -> Leaf:
    stages = [function for stage in cell.stages for function in stage]
    bare = tuple(getattr(function, "func", function) for function in stages)
    try:
        kind = _KINDS.get(bare)
    except TypeError:  # a callable of the user's that has no hash
        kind = None
    if kind is None:
        raise _unknown()
    activation = getattr(stages[-1], "keywords", {}).get("activation", "tanh")
    if not isinstance(activation, str):
        activation = _ACTIVATIONS.get(activation, activation)
    return Leaf(kind, activation, params)


def _unknown() -> NoCounterpartError:
    return NoCounterpartError(
        "got a cell without a counterpart, expected sm.rnn, sm.lstm, sm.gru, sm.bidirectional of "
        "two of those, or sm.stack of these"
    )


class _Probe:
    """Observed behavior of a combinator.

    Attributes:
      layers: the layers of each cell inside, in the order in which they ran.
      in_order: whether the parameters are those of the cells inside, one after the other.
      is_chain: whether each cell reads the output of the one before.
      is_pair: whether two cells read the same input in both directions, side by side.
    """

    def __init__(self) -> None:
        self.layers: list[tuple[tuple[Leaf, ...], ...]] = []
        self.in_order = self.is_chain = self.is_pair = False

    def unroll(self, cell: Cell, params: Params) -> Array:
        """Returns the outputs of a traced unroll of two steps, and records its behavior."""
        leaves = jax.tree.leaves(params)
        if cell.unroll is None or cell.x_ndim != 1 or not leaves or leaves[0].ndim != 2:
            raise _unknown()
        xs = jnp.zeros((2, 1, leaves[0].shape[0]))
        calls: list[DriverCall] = []
        outputs: list[Array] = []

        def run(call: DriverCall) -> Unrolled:
            shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), call.params)
            self.layers.append(_layers(call.cell, shapes))
            size = sum(leaf.hidden_size for leaf in self.layers[-1][-1])
            calls.append(call)
            outputs.append(jnp.zeros((2, 1, size)))
            return Unrolled(call.state, outputs[-1], None, Info("none"))

        state = cell.initial_state(params, (1,))
        contract = Contract(valid=None, resets=None, reverse=False)
        try:
            ys = cell.unroll(run, DriverCall(cell, params, xs, state, contract, False)).ys
        except NoCounterpartError:
            raise
        except (TypeError, ValueError):  # such as sm.residual of other sizes
            raise _unknown() from None
        inside = [id(leaf) for call in calls for leaf in jax.tree.leaves(call.params)]
        self.in_order = inside == [id(leaf) for leaf in leaves]
        backward = [call.contract.reverse for call in calls]
        links = zip([xs, *outputs], [*(call.xs for call in calls), ys], strict=True)
        self.is_chain = not any(backward) and all(a is b for a, b in links)
        self.is_pair = (
            isinstance(params, Bidirectional)
            and backward == [False, True]
            and all(call.xs is xs for call in calls)
            and ys.shape[-1] == sum(output.shape[-1] for output in outputs)
        )
        return ys
