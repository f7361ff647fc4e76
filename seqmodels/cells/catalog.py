"""The cells of the library by name, for experiments, the benchmark and tests.

`seqmodels` exports the factories that `__all__` lists, as `sm.lstm` and so on. An entry of `CELLS`
is called as `CELLS[name](input_size, hidden_size, **options)`, options as in the factory.
"""

import functools
from collections.abc import Callable

from seqmodels.cells.gru import gru
from seqmodels.cells.lru import lru
from seqmodels.cells.lstm import lstm
from seqmodels.cells.lstm_variants import lstm_variant
from seqmodels.cells.mgu import mgu
from seqmodels.cells.min_gru import min_gru
from seqmodels.cells.min_lstm import min_lstm
from seqmodels.cells.rnn import rnn
from seqmodels.types import Cell

__all__ = ["gru", "lru", "lstm", "lstm_variant", "mgu", "min_gru", "min_lstm", "rnn"]

CELLS: dict[str, Callable[..., Cell]] = {
    "rnn": rnn,
    "rnn_relu": functools.partial(rnn, activation="relu"),
    "gru": gru,
    "gru_after": functools.partial(gru, reset_after=True),
    "lstm": lstm,
    "mgu": mgu,
    "min_gru": min_gru,
    "min_lstm": min_lstm,
    "lru": lru,
}
