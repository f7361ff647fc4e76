"""NNX modules for new models: stacks of LSTM, GRU and simple recurrent layers."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax.nnx import Rngs

from seqmodels.cells.gru import gru
from seqmodels.cells.lstm import lstm
from seqmodels.cells.rnn import rnn
from seqmodels.flax_shared.layers import LayerOptions, layered_cell
from seqmodels.nnx.wrapped_cell import WrappedCell
from seqmodels.types import Cell, Driver


class RecurrentStack(WrappedCell):
    """A stack of layers of one kind, each one cell or a bidirectional pair of cells.

    Its parameters are those of `sm.stack`: `params[0]` belongs to the first layer, and
    `params[0].forward` and `params[0].backward` to the two directions of a pair. Calls are those of
    `WrappedCell`.

    Args:
      in_features: D.
      hidden_size: H; outputs have H features, or 2 H if `bidirectional`.
      num_layers: the number of layers.
      bidirectional: whether every layer reads the sequence in both directions.
      dropout: rate of dropout between the layers, one mask for a whole sequence.
      recurrent_dropout: rate of dropout of the state where a cell's matrices read it.
      learn_initial_state: whether initial states are parameters (they start at zero).
      dtype: dtype of the matrix products; None for the dtype of the parameters.
      param_dtype: dtype of the parameters.
      method: see `wrap`.
      time_major: see `wrap`.
      deterministic: see `wrap`.
      rngs: the stream `params` draws the parameters; with a rate above zero the stream `dropout`
        draws the masks.
      **cell_options: further options of the cell, such as `w_x_init`, `forget_bias` of `sm.lstm`,
        `reset_after` of `sm.gru` or `activation` of `sm.rnn`.

    Raises:
      TypeError: if the cell has no such option.
      ValueError: if a size is not a positive integer, a rate is out of range, or `method` is not
        known.
    """

    factory: Callable[..., Cell]

    def __init__(
        self,
        in_features: int,
        hidden_size: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        learn_initial_state: bool = False,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        method: str | Driver = "auto",
        time_major: bool = False,
        deterministic: bool = False,
        rngs: Rngs,
        **cell_options: Any,
    ):
        cell_options |= {
            "learn_initial_state": bool(learn_initial_state),
            "dtype": dtype,
            "param_dtype": param_dtype,
        }
        options = LayerOptions(
            type(self).factory,
            tuple(sorted(cell_options.items())),
            in_features,
            hidden_size,
            num_layers,
            bool(bidirectional),
            dropout,
            recurrent_dropout,
        )
        super().__init__(
            layered_cell(options),
            method=method,
            time_major=time_major,
            deterministic=deterministic,
            rngs=rngs,
        )


class LSTM(RecurrentStack):
    """The long short-term memory of `sm.lstm`; arguments and calls as in `RecurrentStack`.

    Examples:
      >>> layer = LSTM(3, 4, num_layers=2, dropout=0.1, rngs=Rngs(0))
      >>> layer(jnp.ones((2, 5, 3)), lengths=jnp.array([3, 5])).shape
      (2, 5, 4)
    """

    factory = staticmethod(lstm)


class GRU(RecurrentStack):
    """The gated recurrent unit of `sm.gru`; arguments and calls as in `RecurrentStack`.

    `reset_after=True` applies the reset gate after the matrix product, as cuDNN and torch do.
    """

    factory = staticmethod(gru)


class SimpleRNN(RecurrentStack):
    """The simple recurrent network of `sm.rnn`; arguments and calls as in `RecurrentStack`."""

    factory = staticmethod(rnn)
