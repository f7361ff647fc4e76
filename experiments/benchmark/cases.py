"""Cases of the benchmark: shapes, cells, competitors."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

GATES = {"rnn": 1, "lstm": 4, "gru": 3, "gru_after": 3, "peephole": 4}
CELLS = tuple(GATES)
MODES = ("train", "forward")
STEP = "step"  # the third mode: one step at a time, as a server takes them
# tf32 exists on GPUs: float32 arrays whose factors tensor cores round to 10 bits of mantissa.
PRECISIONS = ("float32", "tf32", "bfloat16")
# What runs on the JAX of its interpreter, so that several interpreters give several competitors.
WITHOUT_JAX = ("torch", "torch.cuda", "onnxruntime")
# The cell of each peer that computes what ours computes. A GRU applies the reset gate before the
# candidate's matrix product ("gru") or after it ("gru_after"); these are different equations.
PEERS = {
    "torch": {"rnn": "nn.RNN", "lstm": "nn.LSTM", "gru_after": "nn.GRU"},
    "linen": {"rnn": "SimpleCell", "lstm": "OptimizedLSTMCell", "gru_after": "GRUCell"},
    "nnx": {"rnn": "SimpleCell", "lstm": "OptimizedLSTMCell", "gru_after": "GRUCell"},
    "haiku": {"lstm": "LSTM", "gru": "GRU"},
    "equinox": {"lstm": "LSTMCell", "gru_after": "GRUCell"},
}
# Cells that a peer computes in bfloat16 too. Flax's SimpleCell does not keep the dtype of its
# state then, so its loop fails.
LOW_PRECISION_PEERS = {
    "torch": ("rnn", "lstm", "gru_after"),
    "linen": ("lstm", "gru_after"),
    "nnx": ("lstm", "gru_after"),
    "haiku": ("lstm", "gru"),
    "equinox": ("lstm", "gru_after"),
}
# The peepholes are a user's own cell, declared in the dtype of its parameters.
LOW_PRECISION_CELLS = ("rnn", "lstm", "gru", "gru_after")
# Flax's models with the RNN of this library in the place of Flax's: one import line is changed.
WRAPPERS = {"seqmodels.linen": "linen", "seqmodels.nnx": "nnx"}
NOTES = {
    "torch": "torch: nn.RNN, nn.LSTM, nn.GRU (reset after), two biases where ours has one. "
    "Nothing else may run, since its threads spin while they wait.",
    "linen": "linen: RNN of SimpleCell, OptimizedLSTMCell, GRUCell (reset after), time major.",
    "nnx": "nnx: RNN of the same cells as linen, time major, under nnx.jit.",
    "haiku": "haiku: dynamic_unroll of LSTM, GRU (reset before); its VanillaRNN is a ReLU RNN, so "
    "it is left out.",
    "equinox": "equinox: LSTMCell, GRUCell (reset after), vmap over the batch in lax.scan; it has "
    "no tanh RNN.",
    "onnxruntime": "onnxruntime: the export of sm.weights.to_onnx, which computes in float32.",
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
    """The process a competitor runs in: its framework, and how many devices or threads.

    jax: the version of JAX that names its interpreter; "" if there is only one.
    """

    framework: str
    number: int
    jax: str = ""

    def __str__(self) -> str:
        unit = {"torch": "thread", "onnxruntime": "thread"}.get(self.framework)
        if self.framework == "ours" or self.framework in WRAPPERS:
            unit = "device"
        many = "" if self.number == 1 else "s"
        name = f"{self.framework}, {self.number} {unit}{many}" if unit else self.framework
        shown = self.jax and self.framework not in WITHOUT_JAX
        return f"{name}, JAX {self.jax}" if shown else name


class Case(NamedTuple):
    """One competitor at one shape.

    method: a driver of ours, "" for a peer, "limit" for the GEMM; of a step, which call takes it.
    mode: "train" (loss and all gradients), "forward" (outputs alone) or "step".
    precision: one of `PRECISIONS`.
    variant: the part that is left out, one of `shares.VARIANTS`; "" for none.
    """

    worker: Worker
    cell: str
    method: str
    mode: str
    shape: Shape
    precision: str = "float32"
    variant: str = ""

    @property
    def label(self) -> str:
        """The name of the competitor in tables."""
        name = str(self.worker)
        if self.method == "limit":
            name = name.replace("ours, 1 device", "limit")
        elif self.method:
            framework = self.worker.framework
            name = name.replace(framework, f"{framework} {self.method}", 1)
        parts = [name, self.precision if self.precision != "float32" else "", self.variant]
        return ", ".join(part for part in parts if part)


def parse_shape(text: str) -> Shape:
    """Returns the shape of a text such as "1024x16x32x64".

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
    return [list(case.worker), case.cell, case.method, case.mode, list(case.shape), *case[5:]]


def decode(value: list[Any]) -> Case:
    """Returns the case that `encode` was given."""
    worker, cell, method, mode, shape, *more = value
    return Case(Worker(*worker), cell, method, mode, Shape(*shape), *more)


def workers_for(
    peers: Iterable[str], devices: int, cores: int, homes: Mapping[str, Sequence[str]] | None = None
) -> list[Worker]:
    """Returns the processes of a comparison, ours first.

    Args:
      peers: the other libraries.
      devices: number of devices that "all" means.
      cores: number of threads of torch.
      homes: the versions of JAX by whose interpreters a framework runs; ("",) by default.
    """
    homes = homes or {}
    workers = []
    for name in ("ours", *peers):
        counts = {"ours": {1, devices}, "torch": {1, cores}}.get(name, {1})
        for version in homes.get(name, ("",)):
            workers += [Worker(name, count, version) for count in sorted(counts)]
    return workers


def runs(worker: Worker, cell: str, precision: str) -> bool:
    """Returns whether a framework has the cell in that precision."""
    framework = WRAPPERS.get(worker.framework, worker.framework)
    if framework == "ours":
        return precision == "float32" or cell in LOW_PRECISION_CELLS
    if cell not in PEERS.get(framework, ()):
        return False
    return precision == "float32" or cell in LOW_PRECISION_PEERS.get(framework, ())


def cases_for(
    shape: Shape,
    cells: Iterable[str],
    methods: Sequence[str],
    workers: Iterable[Worker],
    precisions: Sequence[str] = ("float32",),
) -> list[Case]:
    """Returns all competitors at a shape, the limit of every cell included."""
    workers = list(workers)
    cases = []
    for cell, precision in itertools.product(cells, precisions):
        for worker in workers:
            ways = [*methods] if worker.framework == "ours" else [""]
            if runs(worker, cell, precision):
                cases += [
                    Case(worker, cell, way, mode, shape, precision)
                    for way in ways
                    for mode in MODES
                ]
        ours = [w for w in workers if w[:2] == ("ours", 1) and runs(w, cell, precision)]
        cases += [Case(worker, cell, "limit", "forward", shape, precision) for worker in ours]
    return cases


def wrapper_cases(
    shape: Shape,
    cells: Iterable[str],
    devices: int,
    precisions: Sequence[str] = ("float32",),
    versions: Sequence[str] = ("",),
) -> list[Case]:
    """Returns training steps of Flax's models, with Flax's RNN and with that of this library."""
    cases = []
    for cell, precision, version in itertools.product(cells, precisions, versions):
        for wrapper, peer in WRAPPERS.items():
            if runs(Worker(peer, 1), cell, precision):
                counts = sorted({1, devices})
                workers = [Worker(peer, 1, version), *(Worker(wrapper, n, version) for n in counts)]
                cases += [Case(worker, cell, "", "train", shape, precision) for worker in workers]
    return cases
