"""How fast is it, and how much memory does it take? Ours beside torch, Flax, Haiku and Equinox.

Every cell under every driver, forward and training, on one device and on all of them; the same
cells of the peers; and as a limit the same multiply-adds in large matrix products.

    python -m experiments.benchmark --flagfile=experiments/benchmark/flagfiles/default.flags
"""

import datetime
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from absl import flags

from experiments.benchmark import sections as sections
from experiments.benchmark.cases import CELLS, PEERS, Shape, parse_shape, parse_shapes
from experiments.benchmark.process import Process, WorkerError, command_for
from experiments.benchmark.report import Report, machine
from experiments.benchmark.timing import Plan
from experiments.common import app
from seqmodels.drivers.auto import DRIVERS
from seqmodels.drivers.memory_plan import parse_bytes
from seqmodels.training.run_directory import FLAGS, RunFolder

SECTIONS = ("speed", "sweep", "compile", "memory")
METHODS = ("auto", *DRIVERS)
INTERRUPTED = 130  # the status a shell gives a program ended by Ctrl-C
# Where a run is kept is not part of what it is, so that flags.txt can be used again as it stands.
REPEATED = (
    "sections", "shapes", "cells", "methods", "peers", "rounds", "warmups", "seed", "sweep",
    "memory_shapes", "memory_budget", "stall_seconds", "devices",
)  # fmt: skip


def define_flags() -> None:
    """Defines the flags of this entry point."""
    flags.DEFINE_list("sections", list(SECTIONS), f"What to measure, of {', '.join(SECTIONS)}.")
    flags.DEFINE_list(
        "shapes",
        "1024x16x32x64,512x32x64x128,1024x64x32x64,256x64x256x512,2048x1x32x64",
        "TxBxDxH: steps, sequences, input features, hidden units.",
    )
    flags.DEFINE_list("cells", ["rnn", "lstm", "gru", "gru_after", "peephole"], f"Of {CELLS}.")
    flags.DEFINE_list(
        "methods",
        ["auto", "scan"],
        f"Drivers, of {', '.join(METHODS)}; the first is what ratios call ours.",
    )
    flags.DEFINE_list("peers", list(PEERS), f"Of {', '.join(PEERS)}; may be empty.")
    flags.DEFINE_integer("rounds", 11, "Rounds that count.", lower_bound=1, upper_bound=app.LARGEST)
    flags.DEFINE_integer(
        "warmups", 1, "Rounds before them that do not.", lower_bound=1, upper_bound=app.LARGEST
    )
    flags.DEFINE_integer("seed", 0, "Seed of the order in a round.", lower_bound=0)
    flags.DEFINE_list(
        "sweep",
        ["256", "1024", "4096", "16384"],
        "Lengths T of the sweep, at B, D and H of the first shape.",
    )
    flags.DEFINE_list(
        "memory_shapes", ["16384x8x32x64", "65536x8x32x64"], "TxBxDxH of the memory section."
    )
    flags.DEFINE_string("memory_budget", None, "What a driver with a memory budget is given: 2GiB.")
    flags.DEFINE_integer(
        "stall_seconds", 300, "How long one answer of a worker process may take.", lower_bound=1
    )
    flags.DEFINE_string(
        "devices",
        "auto",
        "CPU cores or accelerators that all devices means: auto or a number. A batch that they do "
        "not divide runs on the largest number of them that does.",
    )
    flags.DEFINE_string(
        "run_dir", None, "Folder for the results; by default a new one below runs/."
    )
    flags.DEFINE_bool("overwrite", False, "Replace the run that run_dir holds.")
    app.checked(lambda value: app.names(value, SECTIONS), "sections")
    app.checked(parse_shapes, "shapes", "memory_shapes")
    app.checked(lambda value: app.names(value, CELLS), "cells")
    app.checked(lambda value: app.names(value, METHODS), "methods")
    app.checked(lambda value: not value or app.names(value, PEERS), "peers")
    app.checked(_lengths, "sweep")
    app.checked(app.devices, "devices")
    app.checked(app.not_empty, "run_dir")
    app.checked(lambda value: value is None or parse_bytes(value), "memory_budget")


def _lengths(values: list[str]) -> list[int]:
    lengths = app.numbers(values)
    if not lengths[0]:
        raise ValueError("got 0, expected positive numbers")
    return lengths


def main() -> int:
    """Runs the benchmark that the flags describe. Returns the exit status."""
    values = flags.FLAGS
    try:
        folder_path = _run_dir(values.run_dir)
        start = _resolve_devices(values.devices)
        folder = RunFolder(folder_path, overwrite=values.overwrite)
    except (ValueError, WorkerError) as error:
        raise app.UserError(str(error).removeprefix("ValueError: ")) from None
    app.set_flag("devices", str(start["devices"]))
    folder.write_text(
        FLAGS, app.write_flags(REPEATED, "python -m experiments.benchmark --flagfile=THIS")
    )
    record = sections.Record()
    settings = _settings(start, record)
    shapes = parse_shapes(values.shapes)
    about = {
        "flags": {name: values[name].value for name in REPEATED},
        "machine": machine(settings, start["kind"]),
    }
    report = Report(shapes, settings, record, folder, about)
    record.save = lambda: report.write(complete=False)
    status = 0
    try:
        for section in values.sections:
            if section == "memory" and start["platform"] != "cpu":
                record.notes.append("memory: left out, it is measured on CPUs alone")
                continue
            print(f"section {section}", file=sys.stderr)
            _runners(shapes, settings, record)[section]()
    except KeyboardInterrupt:
        status = INTERRUPTED
    report.show(complete=status == 0)
    if status:
        print(f"interrupted; measured so far: {record.measured}", file=sys.stderr)
    return status or min(1, len(record.errors))


def _runners(
    shapes: list[Shape], settings: sections.Settings, record: sections.Record
) -> dict[str, Callable[[], None]]:
    values = flags.FLAGS
    lengths = [shapes[0]._replace(T=length) for length in _lengths(values.sweep)]
    memory_shapes = [parse_shape(text) for text in values.memory_shapes]
    return {
        "speed": lambda: sections.speed(shapes, settings, record),
        "sweep": lambda: sections.sweep(lengths, settings, record),
        "compile": lambda: sections.compile_times(settings, record),
        "memory": lambda: sections.memory(memory_shapes, settings, record),
    }


def _resolve_devices(wanted: str) -> dict[str, Any]:
    """Returns devices, platform and kind as a process sees them that starts JAX; this one never."""
    with Process(command_for("ours", wanted), flags.FLAGS.stall_seconds) as process:
        return process.ask({"do": "start"})


def _settings(start: dict[str, Any], record: sections.Record) -> sections.Settings:
    values = flags.FLAGS
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    peers = list(values.peers)
    if start["platform"] != "cpu" and "torch" in peers:
        peers.remove("torch")
        record.notes.append("torch: left out, it is run on CPUs alone")
    extra = [name for name in ("chunked",) if name not in values.methods]
    return sections.Settings(
        cells=list(values.cells),
        methods=list(values.methods),
        peers=peers,
        devices=start["devices"],
        cores=cores or 1,
        plan=Plan(values.rounds, values.warmups, values.seed),
        stall_seconds=values.stall_seconds,
        memory_budget=values.memory_budget,
        drivers=[*values.methods, *extra],
    )


def _run_dir(given: str | None) -> pathlib.Path:
    """Returns the folder given, or a new one: a benchmark is not gone on with."""
    if given is not None:
        return pathlib.Path(given)
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return pathlib.Path("runs") / f"benchmark-{now}"
