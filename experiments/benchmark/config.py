"""Options of the benchmark."""

import dataclasses

from experiments.benchmark.cases import CELLS, PEERS, parse_shapes
from experiments.common.config import LARGEST, Options, option
from experiments.common.sections import check_devices
from seqmodels.drivers.auto import DRIVERS
from seqmodels.drivers.memory_plan import parse_bytes

SECTIONS = ("speed", "sweep", "compile", "memory", "wrappers")
METHODS = ("auto", *DRIVERS)


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of the benchmark."""

    sections: tuple[str, ...] = option(SECTIONS, "What to measure.", choices=SECTIONS)
    shapes: tuple[str, ...] = option(
        (
            "1024x16x32x64", "512x32x64x128", "1024x64x32x64", "256x64x256x512", "2048x1x32x64",
        ),
        "TxBxDxH: steps, sequences, input features, hidden units.",
        check=parse_shapes,
    )  # fmt: skip
    cells: tuple[str, ...] = option(
        ("rnn", "lstm", "gru", "gru_after", "peephole"), "Cells.", choices=CELLS
    )
    methods: tuple[str, ...] = option(
        ("auto", "scan"), "Drivers; the first is what ratios call ours.", choices=METHODS
    )
    peers: tuple[str, ...] = option(
        tuple(PEERS), "Other libraries; may be empty.", choices=tuple(PEERS), empty=True
    )
    rounds: int = option(11, "Rounds that count.", at_least=1, at_most=1_000_000)
    warmups: int = option(1, "Rounds before them that do not.", at_least=1, at_most=1_000_000)
    seed: int = option(0, "Seed of the order in a round.", at_least=0, at_most=LARGEST)
    sweep: tuple[int, ...] = option(
        (256, 1024, 4096, 16384),
        "Lengths T of the sweep, at B, D and H of the first shape.",
        at_least=1,
        at_most=1_000_000,
    )
    memory_shapes: tuple[str, ...] = option(
        ("16384x8x32x64", "65536x8x32x64"), "TxBxDxH of the memory section.", check=parse_shapes
    )
    memory_budget: str | None = option(
        None, "Memory for a driver that has a budget: 2GiB.", check=parse_bytes
    )
    stall_seconds: int = option(
        300, "How long one answer of a worker process may take.", at_least=1
    )
    devices: str = option(
        "auto",
        "CPU cores or accelerators that all devices means: auto or a number. A batch that they do "
        "not divide runs on the largest number of them that does.",
        check=check_devices,
    )
