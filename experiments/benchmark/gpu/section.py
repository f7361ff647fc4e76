"""The section gpu: checks and times, row by row, within a time budget.

A finished row becomes a line of metrics.jsonl at once. So an interrupted run keeps its rows, and
the same command measures the rest. Rows that failed are finished too: they are not tried again.
"""

import time
from collections.abc import Callable
from typing import Any

from experiments.benchmark.cases import Case, Shape, Worker
from experiments.benchmark.gpu import rows
from experiments.benchmark.gpu.equivalence import TOLERANCES
from experiments.benchmark.process import Pool, WorkerError
from experiments.benchmark.record import Record, Settings, logged, start
from experiments.benchmark.timing import SAME_WEIGHTS, Log, Timing, measure, work_of

Row = dict[str, Any]
OURS = Worker("ours", 1)


def run(
    settings: Settings,
    sizes: rows.Sizes,
    record: Record,
    *,
    seconds: float,
    check_shape: Shape = rows.CHECK_SHAPE,
) -> None:
    """Fills the record with all rows that are not finished, until the time is up.

    Args:
      settings: the interpreter, the rounds, the peers; torch stands for torch on the GPU.
      sizes: the sizes to time.
      record: the measurements so far; receives the rest. `left` counts the remaining rows.
      seconds: the budget; no row is begun after it.
      check_shape: the check shape of the checks.
    """
    deadline = time.monotonic() + seconds
    frameworks = ("ours", *(name.replace("torch", "torch.cuda") for name in settings.peers))
    steps = [case for case in rows.timed(sizes) if case.worker.framework in frameworks]
    work: list[tuple[str, rows.Check | Case]] = [(c.key, c) for c in rows.checks(check_shape)]
    work += [(rows.key(case), case) for case in steps]
    work = [(key, row) for key, row in work if ("gpu", key) not in record.units]
    found = record.section("gpu")
    total = sum(_work(row) for _, row in work)
    missing: set[Worker] = set()
    with logged(record, total) as log, Pool(settings.connect) as pool:
        for number, (key, row) in enumerate(work):
            if time.monotonic() > deadline:
                record.left += len(work) - number
                return
            worker = row.worker if isinstance(row, Case) else OURS
            if worker not in missing and not start(pool, [worker], record, log):
                missing.add(worker)
            if worker not in missing:
                if isinstance(row, Case):
                    result = _timed(row, settings, pool, found, log)
                else:
                    result = _checked(row, pool, log)
                found.append(result)
                record.finish("gpu", key, [result])
            log.done("gpu", key, _work(row))


def _work(row: rows.Check | Case) -> float:
    return work_of(row) if isinstance(row, Case) else 1e3


def _checked(check: rows.Check, pool: Pool, log: Log) -> Row:
    cell, method, precision, shape = check
    row: Row = {"kind": "check", "cell": cell, "method": method, "precision": precision}
    try:
        request = {"do": "check", **check._asdict(), "shape": list(shape)}
        row["errors"] = pool.ask(OURS, request)["errors"]
    except WorkerError as error:
        row["error"] = str(error)
        say: Callable[[str], None] = log.note if _is_absent(method, error) else log.error
        say(f"{check.key}: {error}")
        return row
    row["ok"] = max(row["errors"].values()) <= TOLERANCES[precision]
    if not row["ok"]:
        log.error(f"{check.key}: differs from scan by {row['errors']}; not timed")
    return row


def _is_absent(method: str, error: WorkerError) -> bool:
    """Returns whether a driver cannot run on this machine at all."""
    return method == "cudnn" and error.kind == "RuntimeError"


def _timed(case: Case, settings: Settings, pool: Pool, found: list[Row], log: Log) -> Row:
    framework = case.worker.framework
    row: Row = {
        "kind": "time",
        "cell": case.cell,
        "method": case.method or framework,
        "precision": case.precision,
        "shape": list(case.shape),
        "seconds": None,
        "long": case.shape[1:3] == (rows.LONG_BATCH, rows.LONG_INPUTS),
    }
    check = {k: row[k] for k in ("cell", "method", "precision")} | {"kind": "check"}
    checks = [one for one in found if check.items() <= one.items()]
    if checks and not checks[0].get("ok"):
        return row | {"error": "its check failed"}
    errors: list[str] = []
    timings: list[Timing] = []
    quiet = Log(log.note, errors.append, lambda *_: None)
    measure([case], pool, settings.plan, quiet, timings, with_references=False)
    if not timings:
        text = errors[0] if errors else "does not run"
        log.error(text)
        return row | {"error": text}
    row |= {"seconds": timings[0].median, "loss": timings[0].about.get("loss")}
    wrong = _disagrees(row, found)
    if wrong and framework in SAME_WEIGHTS:
        log.error(f"{rows.key(case)}: {wrong}")
        return row | {"seconds": None, "error": wrong}
    return row


def _disagrees(row: Row, found: list[Row]) -> str:
    """Returns how the loss differs from that of the first row of the same mathematics, or ""."""
    same = {key: row[key] for key in ("kind", "cell", "shape")} | {"precision": "float32"}
    for other in found:
        if same.items() <= other.items() and other.get("loss") and row["loss"] is not None:
            if abs(row["loss"] / other["loss"] - 1) > TOLERANCES[row["precision"]]:
                return f"got loss {row['loss']}, expected {other['loss']}"
            return ""
    return ""
