"""Whether two commits give the same results, to the last digit, in short runs of all experiments.

    python tests/compare_commits.py --before=HEAD~3 --after=. --keep=/tmp/compared
    python tests/compare_commits.py --before=/tmp/compared --after=.

A commit is checked out into a temporary folder, a folder with the source is used as it is, and of a
folder that --keep made the earlier runs are taken. Every case of compare_cases.py runs on both
sides with the interpreter that runs this script. Prints a table in Markdown; the exit status is 1
where anything differs. Without --after the runs before are made and kept.
"""

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from compare_cases import CASES, RUN, Case, renamed

ROOT = pathlib.Path(__file__).parents[1]
CASE = "case.json"  # what was run; the mark of a folder that this script made
# Keys of results.json and metrics.jsonl that may differ, with all below them.
MAY_DIFFER = {
    "ended",
    "flags",  # spelling of flags, and absolute paths
    "metrics_bytes",  # length of names in metrics.jsonl
    "paths",
    "program",
    "run",  # a random id
    "seconds",
    "versions",  # compared once for all cases, as what made the runs
}
RENAMED_KEYS = {
    "measurements": "results"
}  # of the side before: {its name: the name of the side after}
NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d+)?")
COMPARED = ("results.json", "metrics.jsonl", "*.csv", "*.txt")
NOT_COMPARED = ("flags.txt",)
SECONDS = "s a seed"  # heading of the last column of tables on standard output; not compared
LONGEST = 110  # characters of a difference in the table
VERSIONS = """
import importlib.metadata, json, os, platform, seqmodels
names = ("jax", "jaxlib", "numpy", "optax", "scikit-learn", "statsmodels")
found = {name: importlib.metadata.version(name) for name in names}
found |= {"python": platform.python_version(), "machine": platform.machine()}
print(json.dumps([seqmodels.__file__, found | {"cores": os.cpu_count()}]))
"""


class Side(NamedTuple):
    """tree: the source; None for kept runs. runs: the folder of the cases' folders."""

    tree: pathlib.Path | None
    runs: pathlib.Path


class Compared(NamedTuple):
    """count: of numbers. number, words: the first difference in each, or empty."""

    count: int
    number: str
    words: str


def main() -> int:
    """Runs what is to be run and prints the table. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Plain)
    parser.add_argument("--before", required=True, help="commit, folder, or folder of --keep")
    parser.add_argument("--after", help="the same")
    parser.add_argument("--only", help="names of cases, or beginnings of them, with commas between")
    parser.add_argument("--keep", type=pathlib.Path, help="folder that keeps all runs")
    given = parser.parse_args()
    # As an exit, so that a commit that was checked out is removed again.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cases = _chosen(given.only)
    with contextlib.ExitStack() as stack:
        keep = given.keep or pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sides = [
            stack.enter_context(_side(name, where, keep.resolve()))
            for name, where in (("before", given.before), ("after", given.after))
            if where is not None
        ]
        return _run(cases, sides)


class _Plain(argparse.RawDescriptionHelpFormatter):
    pass


def _chosen(only: str | None) -> list[Case]:
    if only is None:
        return CASES
    beginnings = tuple(name.strip() for name in only.split(","))
    found = [case for case in CASES if case.name.startswith(beginnings)]
    if not found:
        sys.exit(f"only: got {only!r}, expected {', '.join(case.name for case in CASES)}")
    return found


@contextlib.contextmanager
def _side(name: str, where: str, keep: pathlib.Path) -> Iterator[Side]:
    folder = pathlib.Path(where).resolve()
    if (folder / "experiments").is_dir():
        yield Side(folder, keep / name)
        return
    for runs in (folder, folder / "before"):
        if any(runs.glob(f"*/{CASE}")):
            yield Side(None, runs)
            return
    if folder.is_dir():
        sys.exit(f"{name}: got {where!r}, expected a commit, a folder of the source or of --keep")
    git = ["git", "-C", str(ROOT), "worktree"]
    with tempfile.TemporaryDirectory() as parent:
        tree = pathlib.Path(parent) / name
        if subprocess.run([*git, "add", "--detach", str(tree), where], check=False).returncode:
            sys.exit(f"{name}: got {where!r}, expected a commit or a folder")
        try:
            yield Side(tree, keep / name)
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=False)


def _run(cases: list[Case], sides: list[Side]) -> int:
    versions = [_versions(side) for side in sides]
    rows: list[tuple[str, Compared]] = []
    for number, case in enumerate(cases, 1):
        begun, cpu = time.monotonic(), _cpu()
        found = [
            _kept(case, side, versions[-1]) if side.tree is None else _made(case, side, its)
            for side, its in zip(sides, versions, strict=True)
        ]
        if len(found) == 2:
            rows += [(name, _compare(name, case, found)) for name in case.commands()]
        took = f"{time.monotonic() - begun:.0f} s, {_cpu() - cpu:.0f} s of a core"
        print(f"{number}/{len(cases)} {case.name}: {took}", file=sys.stderr, flush=True)
    if len(sides) == 1:
        return 0
    ran = [_read(folder) for folder in found]
    print(f"Before: {ran[0]['commit']}. After: {ran[1]['commit']}.")
    print(f"{', '.join(f'{name} {value}' for name, value in ran[1]['versions'].items())}.\n")
    print("| case | values compared | equal | first difference |\n|---|---|---|---|")
    for name, one in rows:
        equal = "NO" if one.number else "numbers; not words" if one.words else "yes"
        shown = (one.number or one.words).replace("|", "\\|").replace("\n", " ")
        print(f"| {name} | {one.count:,} | {equal} | {shown[:LONGEST]} |")
    differ = sum(bool(one.number or one.words) for _, one in rows)
    total = sum(one.count for _, one in rows)
    print(f"\n{len(rows)} commands, {total:,} values, {differ} commands that differ.")
    return int(differ > 0)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _commit(tree: pathlib.Path) -> str:
    git = ["git", "-C", str(tree), "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "no commit"


def _environment(tree: pathlib.Path) -> dict[str, str]:
    fixed = {"MPLBACKEND": "agg", "COLUMNS": "200", "PYTHONPATH": str(tree), "NO_COLOR": "1"}
    return {**os.environ, "JAX_PLATFORMS": "cpu", **fixed}


def _versions(side: Side) -> dict[str, Any] | None:
    """Returns the versions under which a tree runs; None for kept runs."""
    if side.tree is None:
        return None
    done = subprocess.run(
        [sys.executable, "-c", VERSIONS], env=_environment(side.tree), cwd=side.tree,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    file, found = json.loads(done.stdout)
    if not pathlib.Path(file).resolve().is_relative_to(side.tree):
        sys.exit(f"{side.tree}: imports {file}, expected its own seqmodels")
    return found


def _made(case: Case, side: Side, versions: dict[str, Any] | None) -> pathlib.Path:
    """Runs the commands of a case. Returns its folder, with what is compared alone."""
    assert side.tree is not None
    folder = side.runs / case.name.replace(" ", "_")
    if folder.exists():
        if not (folder / CASE).is_file():
            sys.exit(f"keep: {folder} was not made by this script; give another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    about = {
        "commit": _commit(side.tree),
        "versions": versions,
        "commands": case.commands(),
        "complete": False,
    }
    _write(folder / CASE, about)
    if case.inputs:
        case.inputs(folder)
    about["inputs"] = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != CASE
    }
    about["failed"] = {}
    for number, (name, flags) in enumerate(case.commands().items()):
        done = subprocess.run(
            [sys.executable, "-m", f"experiments.{case.experiment}", *renamed(flags, side.tree)],
            env=_environment(side.tree), cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        (folder / f"{number}.stdout").write_text(done.stdout)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [""]
            about["failed"][name] = f"status {done.returncode}: {lines[-1]}"
    for large in ("checkpoints", "models", "tensorboard"):
        shutil.rmtree(folder / RUN / large, ignore_errors=True)
    _write(folder / CASE, about | {"complete": True})
    return folder


def _kept(case: Case, side: Side, versions: dict[str, Any] | None) -> pathlib.Path:
    """Returns the folder of a case that was run before, by the same commands and versions."""
    folder = side.runs / case.name.replace(" ", "_")
    try:
        about = _read(folder)
    except FileNotFoundError:
        sys.exit(f"before: {folder} is not there; make it again")
    if not about["complete"] or about["commands"] != case.commands():
        sys.exit(f"before: {folder} is incomplete, or was run by other flags; make it again")
    if versions is not None and about["versions"] != versions:
        sys.exit(f"before: {folder} was run under {about['versions']}, expected {versions}")
    return folder


def _read(folder: pathlib.Path) -> dict[str, Any]:
    return json.loads((folder / CASE).read_text())


def _write(path: pathlib.Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


def _compare(name: str, case: Case, folders: list[pathlib.Path]) -> Compared:
    """Compares what one command left in two folders: files of the run, or standard output."""
    sides = [_read(folder) for folder in folders]
    failed = [side["failed"].get(name) for side in sides]
    if any(failed):
        return Compared(0, " / ".join(f"{one or 'succeeded'}" for one in failed), "")
    for what in ("versions", "inputs"):
        if sides[0][what] != sides[1][what]:
            return Compared(0, f"{what}: {sides[0][what]} / {sides[1][what]}", "")
    number = list(case.commands()).index(name)
    found: list[dict[str, Any]] = []
    for folder, rename in zip(folders, (True, False), strict=True):
        paths = [] if number else _files(folder / RUN)
        paths.append(folder / f"{number}.stdout")
        found.append({})
        for path in paths:
            key = "stdout" if path.suffix == ".stdout" else path.relative_to(folder).as_posix()
            found[-1] |= dict(_leaves(_content(path), key, rename))
    return _compared(*found)


def _files(run: pathlib.Path) -> list[pathlib.Path]:
    found = {path for pattern in COMPARED for path in run.rglob(pattern)}
    return sorted(path for path in found if path.name not in NOT_COMPARED)


def _content(path: pathlib.Path) -> Any:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".stdout":
        lines = [line.rstrip() for line in text.splitlines()]
        if SECONDS in text:
            lines = [re.sub(r" +\d+$", "", line) for line in lines]
        return "\n".join(lines)
    if path.suffix == ".json":
        return json.loads(text)
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else text


def _leaves(value: Any, path: str, rename: bool) -> Iterator[tuple[str, Any]]:
    """Yields (path, leaf) for all that may not differ; an empty list or object is a leaf."""
    if isinstance(value, dict) and value:
        for key, below in value.items():
            if key not in MAY_DIFFER:
                own = RENAMED_KEYS.get(key, key) if rename else key
                yield from _leaves(below, f"{path}: {own}", rename)
    elif isinstance(value, list) and value:
        for number, below in enumerate(value):
            yield from _leaves(below, f"{path}[{number}]", rename)
    else:
        yield path, value


def _compared(before: dict[str, Any], after: dict[str, Any]) -> Compared:
    count, number, words = 0, "", ""
    for path in [*before, *(path for path in after if path not in before)]:
        if path not in before or path not in after:
            number = number or f"{path}: {'before' if path in before else 'after'} alone"
            continue
        one, other = before[path], after[path]
        if isinstance(one, str) and isinstance(other, str):
            numbers = [NUMBER.findall(text) for text in (one, other)]
            count += len(numbers[0])
            number = number or _first(path, *numbers)
            lines = [NUMBER.sub("#", text).splitlines() for text in (one, other)]
            words = words or _first(path, *lines)
        else:
            count += 1
            # The text distinguishes 1 from True and 0.0 from -0.0, and shows every digit.
            if repr(one) != repr(other):
                number = number or f"{path}: {one!r} / {other!r}"
    if not count:
        number = number or "there is nothing to compare"
    return Compared(count, number, words)


def _first(path: str, before: list[str], after: list[str]) -> str:
    for one, other in itertools.zip_longest(before, after):
        if one != other:
            return f"{path}: {one!r} / {other!r}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
