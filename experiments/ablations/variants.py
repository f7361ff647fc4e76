"""The variants of the LSTM that are compared, by name."""

import functools
from collections.abc import Callable

import seqmodels as sm

BASELINE = "lstm"

_OPTIONS: dict[str, dict[str, object]] = {
    BASELINE: {},
    # The eight of "LSTM: A Search Space Odyssey" (arXiv 1503.04069).
    "no_input_gate": {"input_gate": False},
    "no_forget_gate": {"forget_gate": False},
    "no_output_gate": {"output_gate": False},
    "identity_candidate": {"candidate": "identity"},  # no input activation
    "identity_output": {"output": "identity"},  # no output activation
    "coupled_gates": {"coupled": True},
    "peepholes": {"peepholes": True},
    "gate_recurrence": {"gate_recurrence": True},
    # Other functions in the place of sigmoid and tanh.
    "hard_sigmoid_gates": {"gate": "hard_sigmoid"},
    "relu_gates": {"gate": "relu"},
    "relu_candidate": {"candidate": "relu"},
    "relu_output": {"output": "relu"},
    # Other initial biases; that of the baseline is 1.
    "forget_bias_0": {"forget_bias": 0.0},
}
CHRONO = "chrono"
RNN = "rnn"
NAMES = (*_OPTIONS, CHRONO, RNN)


def make_variant(
    name: str, hidden: int, num_steps: int, precision: str = "float32"
) -> Callable[[int], sm.Cell]:
    """Returns `make(input_size)` of a variant.

    Args:
      name: one of `NAMES`.
      hidden: H.
      num_steps: T; the chrono biases are for memories of up to T steps.
      precision: dtype of the operands of the matrix products.
    """
    if name == RNN:
        return functools.partial(sm.rnn, hidden_size=hidden, dtype=precision)
    if name == CHRONO:
        options: dict[str, object] = {"chrono": float(max(num_steps, 3))}
    else:
        options = _OPTIONS[name]
    options = options | {"dtype": precision}
    return functools.partial(sm.lstm_variant, hidden_size=hidden, **options)  # type: ignore[arg-type]
