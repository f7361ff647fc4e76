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
from experiments.benchmark.gpu import rows
from experiments.benchmark.gpu import section as gpu_section
from experiments.benchmark.interpreters import Interpreters, find
from experiments.benchmark.process import WorkerError
from experiments.benchmark.record import Record, Settings
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
      config: the configuration.
      run_dir: folder of the results; None for a new one below runs/. An unfinished run with the
        same options that it holds is resumed: what is measured as one, such as all competitors at
        a shape, is measured again if it was not finished.
      overwrite: whether a run that the folder holds may be replaced.

    Raises:
      UserError: for a user error, with a message of one line.
      KeyboardInterrupt: after Ctrl-C, when the results so far are written and shown.
    """
    try:
        path = _new_directory() if run_dir is None else absolute_path(run_dir)
        interpreters, start = find(config.pythons, config.devices, config.stall_seconds)
        config = config.replace(devices=str(start["devices"]))
        directory = RunDirectory(
            path,
            program=PROGRAM,
            settings=identities.identity(config),
            overwrite=overwrite,
            files=(RATIOS,),
        )
    except (ValueError, OSError, WorkerError) as error:
        raise UserError(str(error).removeprefix("ValueError: ")) from error
    with directory:
        directory.write_settings(
            flagfile(config, f"python -m experiments.{PROGRAM} --flagfile=THIS")
        )
        return _measure(config, directory, interpreters, start)


def _measure(
    config: Config, directory: RunDirectory, interpreters: Interpreters, start: dict[str, Any]
) -> dict[str, Any]:
    record = Record()
    settings = _settings(config, interpreters, start, record)
    shapes = parse_shapes(config.shapes)
    about = {"flags": identities.identity(config), "machine": machine(settings, start["kind"])}
    report = Report(shapes, settings, record, directory=directory, about=about)
    ended = False
    with directory.metrics_log() as log:
        record.resume(log, directory.results)
        record.save = lambda: report.write(complete=False)
        record.save()  # the run can be resumed from here
        try:
            runners = _runners(config, shapes, settings, record)
            for section in config.sections:
                if section == "memory" and start["platform"] != "cpu":
                    record.notes.append("memory: left out, it is measured on CPUs alone")
                    continue
                say(f"section {section}", error=True)
                runners[section]()
            ended = True
        except KeyboardInterrupt:
            say(
                f"interrupted; measured so far: {record.measured}; --resume={directory.path} "
                "measures the rest",
                error=True,
            )
            raise
        finally:
            if ended or isinstance(sys.exception(), KeyboardInterrupt):
                report.show(complete=ended and not record.left)
    return report.results(complete=not record.left)


def _runners(
    config: Config, shapes: list[Shape], settings: Settings, record: Record
) -> dict[str, Callable[[], None]]:
    lengths = [shapes[0]._replace(T=length) for length in sorted(config.sweep)]
    memory_shapes = [parse_shape(text) for text in config.memory_shapes]
    steps = [parse_shape(text) for text in config.latency_shapes]
    sizes = rows.Sizes(
        config.gpu.gpu_steps, config.gpu.gpu_hidden, config.gpu.gpu_batch, config.gpu.gpu_long
    )
    return {
        "speed": lambda: sections.speed(shapes, settings, record),
        "sweep": lambda: sections.sweep(lengths, settings, record),
        "compile": lambda: sections.compile_times(settings, record),
        "wrappers": lambda: sections.wrappers(shapes, settings, record),
        "memory": lambda: sections.memory(memory_shapes, settings, record),
        "latency": lambda: sections.latencies(steps, settings, record),
        "shares": lambda: sections.share_times(shapes, settings, record),
        "gpu": lambda: gpu_section.run(settings, sizes, record, seconds=config.gpu.seconds),
    }


def _settings(
    config: Config, interpreters: Interpreters, start: dict[str, Any], record: Record
) -> Settings:
    peers = list(config.peers)
    if start["platform"] != "cpu" and "torch" in peers and set(config.sections) != {"gpu"}:
        peers.remove("torch")
        record.notes.append("torch: left out, it is run on CPUs alone, but for the section gpu")
    extra = [name for name in ("chunked",) if name not in config.methods]
    return Settings(
        cells=list(config.cells),
        methods=list(config.methods),
        peers=peers,
        devices=start["devices"],
        cores=available_cores(),
        plan=Plan(config.rounds, config.warmups, config.seed),
        memory_budget=config.memory_budget,
        drivers=[*config.methods, *extra],
        connect=interpreters.connect(config.stall_seconds),
        precisions=config.precision,
        versions=interpreters.versions,
        homes=interpreters.homes(peers),
    )


def _new_directory() -> pathlib.Path:
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return RUNS / f"{PROGRAM}-{now}"
