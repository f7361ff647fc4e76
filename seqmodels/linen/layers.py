"""Linen modules of this library's LSTM, GRU and simple RNN, for new models."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from seqmodels.cells.gru import gru
from seqmodels.cells.initializers import Initializer, glorot_uniform, orthogonal
from seqmodels.cells.lstm import lstm
from seqmodels.cells.rnn import rnn
from seqmodels.flax_shared.layers import LayerOptions, layered_cell
from seqmodels.linen.cell_module import SequenceModule
from seqmodels.types import Array, Cell, Driver


class LayeredModule(SequenceModule):
    """Layers of one cell; the base of `LSTM`, `GRU` and `SimpleRNN`.

    The call takes `lengths`, `mask`, `resets`, `initial_state`, `return_state` and `reverse`, see
    `SequenceModule.__call__`. The state is a tuple with one entry for each layer. Parameters are
    packed: `params/layer_0/w_x`, or `params/layer_0/forward/w_x` of a bidirectional layer.

    Attributes:
      hidden_size: H, the number of features of one direction.
      num_layers: the number of layers; each reads the outputs of the one before.
      bidirectional: whether every layer reads in both directions; outputs then have 2H features.
      dropout: rate of dropout of the outputs of every layer but the last.
      recurrent_dropout: rate of dropout of the state where the matrices read it.
      learn_initial_state: whether the initial state is a parameter (it starts at zero).
      w_x_init: initializer of every gate's block of w_x.
      w_h_init: initializer of every gate's recurrent block.
      dtype: dtype of the matrix products; None for the dtype of the parameters.
      param_dtype: dtype of the parameters.
      time_major: whether sequences are (T, *batch, D) and not (*batch, T, D).
      method: see `sm.unroll`.
      deterministic: True turns dropout off, False on; None: on if there is a stream "dropout".
    """

    hidden_size: int
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    learn_initial_state: bool = False
    w_x_init: Initializer = glorot_uniform
    w_h_init: Initializer = orthogonal
    dtype: Any = None
    param_dtype: Any = jnp.float32
    time_major: bool = False
    method: str | Driver = "auto"
    deterministic: bool | None = None

    @nn.nowrap
    def build(self, input_size: int) -> Cell:
        """Returns the stack of the layers.

        Raises:
          ValueError: if a size or a rate is out of range.
        """
        names = ("learn_initial_state", "w_x_init", "w_h_init", "dtype", "param_dtype")
        options = tuple((name, getattr(self, name)) for name in (*names, *self._own_options()))
        return layered_cell(
            LayerOptions(
                self._factory(),
                options,
                input_size,
                self.hidden_size,
                self.num_layers,
                self.bidirectional,
                self.dropout,
                self.recurrent_dropout,
            )
        )

    @nn.nowrap
    def _factory(self) -> Callable[..., Cell]:
        raise NotImplementedError

    @nn.nowrap
    def _own_options(self) -> tuple[str, ...]:
        raise NotImplementedError


class LSTM(LayeredModule):
    """Layers of `sm.lstm`. Attributes as in `LayeredModule`.

    Attributes:
      forget_bias: initial bias of the forget gate.

    Examples:
      >>> model, xs = LSTM(4, num_layers=2, dropout=0.1), jnp.ones((2, 5, 3))  # (B, T, D)
      >>> variables = model.init(jax.random.key(0), xs)
      >>> model.apply(variables, xs, lengths=jnp.array([5, 3])).shape
      (2, 5, 4)
    """

    forget_bias: float = 1.0

    @nn.nowrap
    def _factory(self) -> Callable[..., Cell]:
        return lstm

    @nn.nowrap
    def _own_options(self) -> tuple[str, ...]:
        return ("forget_bias",)


class GRU(LayeredModule):
    """Layers of `sm.gru`. Attributes as in `LayeredModule`.

    Attributes:
      reset_after: whether the reset gate is applied after the matrix product, as in cuDNN.
      update_bias: initial bias of the update gate.
    """

    reset_after: bool = False
    update_bias: float = 0.0

    @nn.nowrap
    def _factory(self) -> Callable[..., Cell]:
        return gru

    @nn.nowrap
    def _own_options(self) -> tuple[str, ...]:
        return ("reset_after", "update_bias")


class SimpleRNN(LayeredModule):
    """Layers of `sm.rnn`. Attributes as in `LayeredModule`.

    Attributes:
      activation: "tanh", "relu" or a function.
    """

    activation: str | Callable[[Array], Array] = "tanh"

    @nn.nowrap
    def _factory(self) -> Callable[..., Cell]:
        return rnn

    @nn.nowrap
    def _own_options(self) -> tuple[str, ...]:
        return ("activation",)
