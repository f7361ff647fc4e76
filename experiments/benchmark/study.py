"""The benchmark: sections of interleaved measurements, each competitor in its own process."""

import datetime
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from experiments.benchmark import sections
from experiments.benchmark.cases import Shape, parse_shape, parse_shapes
from experiments.benchmark.config import Config
from experiments.benchmark.process import Process, WorkerError, command_for
from experiments.benchmark.report import RATIOS, Report, machine
from experiments.benchmark.timing import Plan
from experiments.common import identity as identities
from experiments.common.config import absolute_path
from experiments.common.errors import UserError
from experiments.common.flags import flagfile
from experiments.common.runner import RUNS
from experiments.common.terminal import say
from seqmodels.parallel.cores import available_cores
from seqmodels.training.run_directory import RunDirectory

PROGRAM = "benchmark"


def run(
    config: Config, run_dir: str | os.PathLike[str] | None = None, *, overwrite: bool = False
) -> dict[str, Any]:
    """Measures, prints the tables, and returns results.json.

    Args:
      config: what to measure.
      run_dir: folder of the results; None for a new one below runs/. A benchmark is not resumed.
      overwrite: whether a run that the folder holds may be replaced.

    Raises:
      UserError: in one line, for what a user can fix.
      KeyboardInterrupt: after Ctrl-C, when the results so far are written and shown.
    """
    try:
        path = _new_directory() if run_dir is None else absolute_path(run_dir)
        start = _resolve_devices(config)
        config = config.replace(devices=str(start["devices"]))
        directory = RunDirectory(path, program=PROGRAM, overwrite=overwrite, files=(RATIOS,))
    except (ValueError, OSError, WorkerError) as error:
        raise UserError(str(error).removeprefix("ValueError: ")) from error
    with directory:
        directory.write_settings(
            flagfile(config, f"python -m experiments.{PROGRAM} --flagfile=THIS")
        )
        return _measure(config, directory, start)


def _measure(config: Config, directory: RunDirectory, start: dict[str, Any]) -> dict[str, Any]:
    record = sections.Record()
    settings = _settings(config, start, record)
    shapes = parse_shapes(config.shapes)
    about = {"flags": identities.identity(config), "machine": machine(settings, start["kind"])}
    report = Report(shapes, settings, record, directory=directory, about=about)
    record.save = lambda: report.write(complete=False)
    complete = False
    try:
        for section in config.sections:
            if section == "memory" and start["platform"] != "cpu":
                record.notes.append("memory: left out, it is measured on CPUs alone")
                continue
            say(f"section {section}", error=True)
            _runners(config, shapes, settings, record)[section]()
        complete = True
    except KeyboardInterrupt:
        say(f"interrupted; measured so far: {record.measured}", error=True)
        raise
    finally:
        if complete or isinstance(sys.exception(), KeyboardInterrupt):
            report.show(complete=complete)
    return report.results(complete=True)


def _runners(
    config: Config, shapes: list[Shape], settings: sections.Settings, record: sections.Record
) -> dict[str, Callable[[], None]]:
    lengths = [shapes[0]._replace(T=length) for length in sorted(config.sweep)]
    memory_shapes = [parse_shape(text) for text in config.memory_shapes]
    return {
        "speed": lambda: sections.speed(shapes, settings, record),
        "sweep": lambda: sections.sweep(lengths, settings, record),
        "compile": lambda: sections.compile_times(settings, record),
        "wrappers": lambda: sections.wrappers(shapes, settings, record),
        "memory": lambda: sections.memory(memory_shapes, settings, record),
    }


def _resolve_devices(config: Config) -> dict[str, Any]:
    """Returns devices, platform and kind as a process sees them that starts JAX; this one never."""
    with Process(command_for("ours", config.devices), config.stall_seconds) as process:
        return process.ask({"do": "start"})


def _settings(config: Config, start: dict[str, Any], record: sections.Record) -> sections.Settings:
    peers = list(config.peers)
    if start["platform"] != "cpu" and "torch" in peers:
        peers.remove("torch")
        record.notes.append("torch: left out, it is run on CPUs alone")
    extra = [name for name in ("chunked",) if name not in config.methods]
    return sections.Settings(
        cells=list(config.cells),
        methods=list(config.methods),
        peers=peers,
        devices=start["devices"],
        cores=available_cores(),
        plan=Plan(config.rounds, config.warmups, config.seed),
        stall_seconds=config.stall_seconds,
        memory_budget=config.memory_budget,
        drivers=[*config.methods, *extra],
    )


def _new_directory() -> pathlib.Path:
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return RUNS / f"{PROGRAM}-{now}"
