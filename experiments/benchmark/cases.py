"""What the benchmark compares: shapes, cells, competitors, and the arrays that all of them get."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

GATES = {"rnn": 1, "lstm": 4, "gru": 3, "gru_after": 3, "peephole": 4}
CELLS = tuple(GATES)
MODES = ("train", "forward")
# The cell of each peer that computes what ours computes. A GRU applies the reset gate before the
# candidate's matrix product ("gru") or after it ("gru_after"); that is other mathematics.
PEERS = {
    "torch": {"rnn": "nn.RNN", "lstm": "nn.LSTM", "gru_after": "nn.GRU"},
    "linen": {"rnn": "SimpleCell", "lstm": "OptimizedLSTMCell", "gru_after": "GRUCell"},
    "nnx": {"rnn": "SimpleCell", "lstm": "OptimizedLSTMCell", "gru_after": "GRUCell"},
    "haiku": {"lstm": "LSTM", "gru": "GRU"},
    "equinox": {"lstm": "LSTMCell", "gru_after": "GRUCell"},
}
# Flax's models with the RNN of this library in the place of Flax's: one import line is changed.
WRAPPERS = {"seqmodels.linen": "linen", "seqmodels.nnx": "nnx"}
NOTES = {
    "torch": "torch: nn.RNN, nn.LSTM, nn.GRU (reset after), two biases where ours has one. "
    "Nothing else may run: its threads spin while they wait for each other.",
    "linen": "linen: RNN of SimpleCell, OptimizedLSTMCell, GRUCell (reset after), time major.",
    "nnx": "nnx: RNN of the same cells as linen, time major, under nnx.jit.",
    "haiku": "haiku: dynamic_unroll of LSTM, GRU (reset before); its VanillaRNN is a ReLU RNN, so "
    "it is left out.",
    "equinox": "equinox: LSTMCell, GRUCell (reset after), vmap over the batch in lax.scan; it has "
    "no tanh RNN.",
}


class Shape(NamedTuple):
    """T steps, B sequences, D input features, H hidden units."""

    T: int
    B: int
    D: int
    H: int

    def __str__(self) -> str:
        return "x".join(map(str, self))


class Worker(NamedTuple):
    """The process a competitor runs in: its framework, and how many devices or threads."""

    framework: str
    number: int

    def __str__(self) -> str:
        unit = {"torch": "thread"}.get(self.framework)
        if self.framework == "ours" or self.framework in WRAPPERS:
            unit = "device"
        many = "" if self.number == 1 else "s"
        return f"{self.framework}, {self.number} {unit}{many}" if unit else self.framework


class Case(NamedTuple):
    """One competitor at one shape. method: a driver of ours, "" for a peer, "limit" for the GEMM.

    mode: "train" (loss and all gradients) or "forward" (outputs alone).
    """

    worker: Worker
    cell: str
    method: str
    mode: str
    shape: Shape

    @property
    def label(self) -> str:
        """What a table calls the competitor."""
        if self.worker.framework != "ours":
            return str(self.worker)
        if self.method == "limit":
            return "limit"
        return str(self.worker).replace("ours", f"ours {self.method}")


def parse_shape(text: str) -> Shape:
    """Returns the shape that "1024x16x32x64" says.

    Raises:
      ValueError: if it is not four positive numbers.
    """
    parts = text.strip().split("x")
    if len(parts) != 4 or not all(part.isdecimal() and 0 < int(part) <= 2**24 for part in parts):
        raise ValueError(f"got {text!r}, expected TxBxDxH such as 1024x16x32x64")
    return Shape(*map(int, parts))


def parse_shapes(values: Sequence[str]) -> list[Shape]:
    """Returns the shapes of a list flag, in the order given.

    Raises:
      ValueError: if there are none, one is not a shape, or one stands twice.
    """
    if not [value for value in values if value.strip()]:
        raise ValueError("got nothing, expected shapes TxBxDxH such as 1024x16x32x64")
    shapes = [parse_shape(value) for value in values]
    for shape in shapes:
        if shapes.count(shape) > 1:
            raise ValueError(f"got {shape} twice")
    return shapes


def encode(case: Case) -> list[Any]:
    """Returns a case as JSON can hold it."""
    return [list(case.worker), case.cell, case.method, case.mode, list(case.shape)]


def decode(value: list[Any]) -> Case:
    """Returns the case that `encode` was given."""
    worker, cell, method, mode, shape = value
    return Case(Worker(*worker), cell, method, mode, Shape(*shape))


def workers_for(peers: Iterable[str], devices: int, cores: int) -> list[Worker]:
    """Returns the processes of a comparison, ours first."""
    workers = [Worker("ours", count) for count in sorted({1, devices})]
    for peer in peers:
        counts = {1, cores} if peer == "torch" else {1}
        workers += [Worker(peer, count) for count in sorted(counts)]
    return workers


def cases_for(
    shape: Shape, cells: Iterable[str], methods: Sequence[str], workers: Iterable[Worker]
) -> list[Case]:
    """Returns all competitors at a shape, the limit of every cell included."""
    workers = list(workers)
    cases = []
    for cell in cells:
        for worker in workers:
            if worker.framework == "ours":
                ways = [*methods]
            else:
                ways = [""] if cell in PEERS[worker.framework] else []
            cases += [Case(worker, cell, way, mode, shape) for way in ways for mode in MODES]
        if Worker("ours", 1) in workers:
            cases.append(Case(Worker("ours", 1), cell, "limit", "forward", shape))
    return cases


def wrapper_cases(shape: Shape, cells: Iterable[str], devices: int) -> list[Case]:
    """Returns training steps of Flax's models, with Flax's RNN and with that of this library."""
    cases = []
    for cell in cells:
        for wrapper, peer in WRAPPERS.items():
            if cell in PEERS[peer]:
                workers = [Worker(peer, 1), *(Worker(wrapper, n) for n in sorted({1, devices}))]
                cases += [Case(worker, cell, "", "train", shape) for worker in workers]
    return cases


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
      w_x (D, G H), w_h (H, G H), b (G H,), b_n (H,) for the GRU that resets after, p (3, H) for
      peepholes; float32, uniform in +-1/sqrt(H).
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
