"""Modules for Flax NNX.

`RNN` and `Bidirectional` replace Flax's classes of these names. Arguments, graphs, initial values
and results are the same, but the drivers of this library run the cells of Flax. All other names of
`flax.nnx` are here too, so one line moves a file:

    - from flax import nnx
    + from seqmodels import nnx

`LSTM`, `GRU`, `SimpleRNN` and `wrap` make modules of this library's own cells.
"""

from typing import Any

import flax.nnx
from flax.nnx import GRUCell, LSTMCell, OptimizedLSTMCell, RNNCellBase, SimpleCell
from flax.nnx.nn.recurrent import flip_sequences

from seqmodels.nnx.bidirectional import Bidirectional
from seqmodels.nnx.layers import GRU, LSTM, RecurrentStack, SimpleRNN
from seqmodels.nnx.rnn import RNN
from seqmodels.nnx.wrapped_cell import WrappedCell, wrap

__all__ = [  # noqa: RUF022
    "Bidirectional",
    "GRU",
    "GRUCell",
    "LSTM",
    "LSTMCell",
    "OptimizedLSTMCell",
    "RNN",
    "RNNCellBase",
    "RecurrentStack",
    "SimpleCell",
    "SimpleRNN",
    "WrappedCell",
    "flip_sequences",
    "wrap",
]


def __getattr__(name: str) -> Any:
    """Returns any other name of `flax.nnx`."""
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(flax.nnx, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(flax.nnx)})
