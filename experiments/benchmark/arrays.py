"""The arrays that all competitors of the benchmark get: inputs and weights."""

from typing import Any

import numpy as np

from experiments.benchmark.cases import GATES, Shape


def inputs(shape: Shape) -> np.ndarray:
    """Returns xs (T, B, D) float32, the same for every competitor."""
    return np.random.default_rng(0).standard_normal(shape[:3], np.float32)


def weights(cell: str, input_size: int, hidden_size: int) -> dict[str, Any]:
    """Returns the weights of a cell, the same for every competitor that takes weights.

    Gates lie along the last axis, in our order: i, f, g, o in an LSTM, r, z, n in a GRU.

    Args:
      cell: one of `CELLS`.
      input_size: D.
      hidden_size: H.

    Returns:
      w_x (D, G H), w_h (H, G H) and b (G H,). Also b_n (H,) for the GRU that resets after, and p
      (3, H) for peepholes. All are float32, uniform in +-1/sqrt(H).
    """
    G, D, H = GATES[cell], input_size, hidden_size
    shapes: dict[str, tuple[int, ...]] = {"w_x": (D, G * H), "w_h": (H, G * H), "b": (G * H,)}
    if cell == "gru_after":
        shapes["b_n"] = (H,)
    if cell == "peephole":
        shapes["p"] = (3, H)
    random = np.random.default_rng(1)
    return {
        name: random.uniform(-(H**-0.5), H**-0.5, size).astype(np.float32)
        for name, size in shapes.items()
    }


def fields(cell: str, input_size: int, hidden_size: int) -> dict[str, Any]:
    """Returns the weights by the fields of our parameters.

    In a GRU the recurrent matrix of the candidate is a field of its own, w_n.
    """
    w = weights(cell, input_size, hidden_size)
    if cell in ("gru", "gru_after"):
        w["w_h"], w["w_n"] = np.split(w["w_h"], [2 * hidden_size], axis=1)
    return w
