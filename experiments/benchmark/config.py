"""Options of the benchmark."""

import dataclasses
import math
from collections.abc import Sequence

from experiments.benchmark.cases import CELLS, PEERS, Shape, parse_shapes
from experiments.common.config import LARGEST, Options, option, section
from experiments.common.sections import check_devices
from seqmodels.drivers.auto import DRIVERS
from seqmodels.drivers.memory_plan import parse_bytes

# The last one needs a GPU, so it is not in the default.
SECTIONS = ("speed", "sweep", "compile", "memory", "wrappers", "latency", "shares", "gpu")
METHODS = ("auto", *DRIVERS)
ALL_PEERS = (*PEERS, "onnxruntime")


def parse_steps(values: Sequence[str]) -> list[Shape]:
    """Returns shapes of one step; ValueError if one is not, or stands twice."""
    shapes = parse_shapes(values)
    for shape in shapes:
        if shape.T != 1:
            raise ValueError(f"got {shape}, expected 1xBxDxH such as 1x16x64x256")
    return shapes


@dataclasses.dataclass(frozen=True)
class GPUConfig(Options):
    """Options of the section gpu."""

    gpu_steps: tuple[int, ...] = option((256, 1024, 4096), "Steps T.", at_least=1, at_most=10**7)
    gpu_hidden: tuple[int, ...] = option(
        (128, 512, 1024), "Hidden units H; there are as many inputs.", at_least=1, at_most=10**5
    )
    gpu_batch: int = option(64, "Sequences B.", at_least=1, at_most=10**5)
    gpu_long: tuple[int, ...] = option(
        (1000, 10_000, 100_000),
        "Steps T of drivers that are parallel in time.",
        at_least=1,
        at_most=10**7,
    )
    seconds: float = option(
        math.inf,
        "After this time no further row of the section gpu is begun; the same command with the "
        "same run_dir measures the rest.",
        above=0,
        infinite=True,
        decides=False,
    )


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of the benchmark."""

    sections: tuple[str, ...] = option(
        SECTIONS[:-1], "Sections to run, in this order.", choices=SECTIONS
    )
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
        ("auto", "scan"), "Drivers; ratios use the first one as ours.", choices=METHODS
    )
    precision: tuple[str, ...] = option(
        ("float32",),
        "Precisions of speed, wrappers and shares; torch by autocast, the others by dtype.",
        choices=("float32", "bfloat16"),
    )
    peers: tuple[str, ...] = option(ALL_PEERS, "Other libraries.", choices=ALL_PEERS, empty=True)
    pythons: tuple[str, ...] = option(
        (),
        "Interpreters of environments with other versions of JAX; by default the one that runs "
        "this. With two of them every competitor that uses JAX runs in both.",
        empty=True,
    )
    rounds: int = option(11, "Timed rounds.", at_least=1, at_most=1_000_000)
    warmups: int = option(1, "Warm-up rounds before them.", at_least=1, at_most=1_000_000)
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
    latency_shapes: tuple[str, ...] = option(
        (
            "1x1x64x64", "1x1x64x256", "1x1x64x512", "1x16x64x64", "1x16x64x256", "1x16x64x512",
        ),
        "1xBxDxH of the latency section.",
        check=parse_steps,
    )  # fmt: skip
    gpu: GPUConfig = section(GPUConfig())
    stall_seconds: int = option(
        300, "Longest time in seconds of one answer of a worker process.", at_least=1
    )
    devices: str = option(
        "auto",
        "CPU cores or accelerators that all devices means: auto or a number. A batch that they do "
        "not divide runs on the largest number of them that does.",
        check=check_devices,
    )
