"""Flax Linen modules that run by the drivers of this library.

`RNN` and `Bidirectional` replace Flax's: the parameters and the results are the same, and the
training step is faster. The cells are Flax's own, and all other names of `flax.linen` are here too,
so that one import moves a file:

    from seqmodels.linen import RNN, Bidirectional, LSTMCell       # was: from flax.linen import
    from seqmodels import linen as nn                              # was: from flax import

`LSTM`, `GRU`, `SimpleRNN` and `wrap` are for new models: packed parameters, several layers, padding
and masks as in `sm.unroll`.
"""

from typing import Any

import flax.linen
from flax.linen import (
    ConvLSTMCell,
    GRUCell,
    LSTMCell,
    MGUCell,
    OptimizedLSTMCell,
    RNNCellBase,
    SimpleCell,
)
from flax.linen.recurrent import flip_sequences

from seqmodels.linen.bidirectional import Bidirectional
from seqmodels.linen.cell_module import wrap
from seqmodels.linen.layers import GRU, LSTM, SimpleRNN
from seqmodels.linen.rnn import RNN

__all__ = [  # noqa: RUF022
    "Bidirectional",
    "ConvLSTMCell",
    "GRU",
    "GRUCell",
    "LSTM",
    "LSTMCell",
    "MGUCell",
    "OptimizedLSTMCell",
    "RNN",
    "RNNCellBase",
    "SimpleCell",
    "SimpleRNN",
    "flip_sequences",
    "wrap",
]


def __getattr__(name: str) -> Any:
    """Returns any other name of `flax.linen`."""
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(flax.linen, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(flax.linen)})
