"""Step functions, initialisers and parameters of the cells; the factories stand at `sm.`."""

from seqmodels.cells.gru import GRUParams, GRUState, gru_init, gru_initial_state, gru_step
from seqmodels.cells.lstm import LSTMParams, LSTMState, lstm_init, lstm_initial_state, lstm_step
from seqmodels.cells.rnn import RNNParams, RNNState, rnn_init, rnn_initial_state, rnn_step

__all__ = [
    "GRUParams",
    "GRUState",
    "LSTMParams",
    "LSTMState",
    "RNNParams",
    "RNNState",
    "gru_init",
    "gru_initial_state",
    "gru_step",
    "lstm_init",
    "lstm_initial_state",
    "lstm_step",
    "rnn_init",
    "rnn_initial_state",
    "rnn_step",
]
