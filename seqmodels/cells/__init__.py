"""Step functions, initial parameters and types of the cells; the factories are `sm.lstm`, ...

Examples:
  >>> params = lstm_init(jax.random.key(0), input_size=3, hidden_size=4)
  >>> state, y_t = lstm_step(params, lstm_initial_state(params, (2,)), jnp.ones((2, 3)))
  >>> y_t.shape
  (2, 4)
"""

from seqmodels.cells.gru import GRUParams, GRUState, gru_init, gru_initial_state, gru_step
from seqmodels.cells.lru import LRUParams, LRUState, lru_init, lru_initial_state, lru_step
from seqmodels.cells.lstm import LSTMParams, LSTMState, lstm_init, lstm_initial_state, lstm_step
from seqmodels.cells.lstm_variants import LSTMVariantParams, LSTMVariantState
from seqmodels.cells.mgu import MGUParams, MGUState, mgu_init, mgu_initial_state, mgu_step
from seqmodels.cells.min_gru import (
    MinGRUParams,
    MinGRUState,
    min_gru_init,
    min_gru_initial_state,
    min_gru_step,
)
from seqmodels.cells.min_lstm import (
    MinLSTMParams,
    MinLSTMState,
    min_lstm_init,
    min_lstm_initial_state,
    min_lstm_step,
)
from seqmodels.cells.rnn import RNNParams, RNNState, rnn_init, rnn_initial_state, rnn_step

__all__ = [
    "GRUParams",
    "GRUState",
    "LRUParams",
    "LRUState",
    "LSTMParams",
    "LSTMState",
    "LSTMVariantParams",
    "LSTMVariantState",
    "MGUParams",
    "MGUState",
    "MinGRUParams",
    "MinGRUState",
    "MinLSTMParams",
    "MinLSTMState",
    "RNNParams",
    "RNNState",
    "gru_init",
    "gru_initial_state",
    "gru_step",
    "lru_init",
    "lru_initial_state",
    "lru_step",
    "lstm_init",
    "lstm_initial_state",
    "lstm_step",
    "mgu_init",
    "mgu_initial_state",
    "mgu_step",
    "min_gru_init",
    "min_gru_initial_state",
    "min_gru_step",
    "min_lstm_init",
    "min_lstm_initial_state",
    "min_lstm_step",
    "rnn_init",
    "rnn_initial_state",
    "rnn_step",
]
