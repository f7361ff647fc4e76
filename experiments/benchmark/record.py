"""The record of a benchmark, unit by unit, so that an interrupted run resumes.

A unit is what is measured as one, such as all competitors at one shape. Finished units are lines of
the run's metrics.jsonl; results.json also has what an interrupted unit had measured.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from experiments.benchmark.cases import NOTES, Worker, decode, encode
from experiments.benchmark.interpreters import Connect
from experiments.benchmark.process import Pool
from experiments.benchmark.timing import Log, Plan, Timing
from seqmodels.training.metrics import MetricsLog
from seqmodels.training.progress import ProgressDisplay

# Sections whose rows are timings; the rows of the others are dictionaries.
TIMED = ("speed", "sweep", "wrappers", "latency", "shares")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the comparison. methods[0] is "ours" in a ratio.

    homes: the versions of JAX by whose interpreters a framework runs. connect: starts a worker.
    """

    cells: list[str]
    methods: list[str]
    peers: list[str]
    devices: int
    cores: int
    plan: Plan
    memory_budget: str | None
    drivers: list[str]
    connect: Connect
    precisions: tuple[str, ...] = ("float32",)
    versions: tuple[str, ...] = ("",)
    homes: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Record:
    """Measurements, notes and errors so far.

    rows: the rows by section. units: (section, unit) of each finished unit. left: the number of
    units that a section left out for lack of time. save: called after each change. log: gets the
    finished units, each with the notes and errors since the one before.
    """

    rows: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    units: set[tuple[str, str]] = dataclasses.field(default_factory=set)
    notes: list[str] = dataclasses.field(default_factory=list)
    errors: list[str] = dataclasses.field(default_factory=list)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    left: int = 0
    save: Callable[[], None] = lambda: None
    log: MetricsLog | None = None
    _said: tuple[int, int] = (0, 0)

    @property
    def measured(self) -> int:
        """The number of figures."""
        return sum(map(len, self.rows.values()))

    def section(self, name: str) -> list[Any]:
        """Returns the rows of a section, a list to append to."""
        return self.rows.setdefault(name, [])

    def finish(self, section: str, unit: str, rows: Sequence[Any]) -> None:
        """Notes that a unit is finished; `rows` are those of the section that belong to it."""
        self.units.add((section, unit))
        if self.log is not None:
            plain = list(map(to_json, rows)) if section in TIMED else list(rows)
            said = {"notes": self.notes[self._said[0] :], "errors": self.errors[self._said[1] :]}
            self.log.append({"section": section, "unit": unit, "rows": plain, **said})
            self._said = len(self.notes), len(self.errors)
        self.save()

    def resume(self, log: MetricsLog, results: dict[str, Any] | None) -> None:
        """Loads the finished units of a log.

        Args:
          log: log of the finished units.
          results: results.json of the resumed run; None for a new run, whose log is emptied.
        """
        self.log = log
        log.truncate(log.offset if results else 0)
        for line in log.path.read_text(encoding="utf-8").splitlines():
            unit = json.loads(line)
            section = unit["section"]
            self.units.add((section, unit["unit"]))
            rows = map(from_json, unit["rows"]) if section in TIMED else unit["rows"]
            self.section(section).extend(rows)
            self.notes += unit["notes"]
            self.errors += unit["errors"]
        self._said = len(self.notes), len(self.errors)
        self.versions |= (results or {}).get("versions", {})


def to_json(timing: Timing) -> dict[str, Any]:
    """Returns a timing as JSON can hold it."""
    return timing._asdict() | {"case": encode(timing.case)}


def from_json(value: dict[str, Any]) -> Timing:
    """Returns the timing that `to_json` was given."""
    return Timing(**value | {"case": decode(value["case"])})


@contextmanager
def logged(record: Record, total: float) -> Iterator[Log]:
    """Shows the progress of a section of so much work, and keeps its notes and errors."""
    with ProgressDisplay(total) as progress:

        def keep(lines: list[str], text: str) -> None:
            if text not in lines:
                lines.append(text)
                progress.note(text)

        yield Log(
            note=lambda text: keep(record.notes, text),
            error=lambda text: keep(record.errors, f"error: {text}"),
            done=progress.update,
        )


def start(pool: Pool, workers: Sequence[Worker], record: Record, log: Log) -> list[Worker]:
    """Returns the workers that run; a peer that is not installed is a note."""

    def fail(worker: Worker, text: str) -> None:
        if text.endswith("is not installed"):
            name = str(worker) if worker.jax else worker.framework
            log.note(f"{name}: left out, {text}")
        else:
            log.error(f"{worker}: {text}")

    running = pool.start(workers, fail)
    record.versions.update(pool.versions)
    for worker in running:
        if worker.framework in NOTES:
            log.note(NOTES[worker.framework])
    return running
