"""The cells of the long-context study, initialized for long memories or in the standard way."""

import seqmodels as sm
from seqmodels.cells import catalog


def build_cell(
    name: str,
    input_size: int,
    hidden: int,
    *,
    num_steps: int,
    initialisation: str,
    precision: str = "float32",
) -> sm.Cell:
    """Returns a cell.

    Args:
      name: a name in `catalog.CELLS`.
      input_size: D.
      hidden: H.
      num_steps: T, the length of the task's sequences.
      initialisation: "standard" is the library's default: orthogonal recurrent matrices, forget
        bias 1 in the LSTM, zero bias in the GRU. "memory" starts every cell as one that keeps its
        state: an identity recurrent matrix in the RNN, chrono biases up to the length of the
        sequence in LSTM and GRU. Le, Jaitly, Hinton 2015 (for ReLU); Tallec, Ollivier 2018.
      precision: dtype of the operands of the matrix products.
    """
    memory = initialisation == "memory"
    chrono = float(max(num_steps, 3)) if memory else None
    recurrent = sm.initializers.identity() if memory else sm.initializers.orthogonal
    is_rnn = name in ("rnn", "rnn_relu")
    options = {"w_h_init": recurrent} if is_rnn else {"chrono": chrono}
    return catalog.CELLS[name](input_size, hidden, dtype=precision, **options)
