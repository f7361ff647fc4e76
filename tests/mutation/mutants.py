"""Mutation check: small faults in drivers, contract, combinators and cells, which tests must find.

    python tests/mutation/mutants.py                    all mutants
    python tests/mutation/mutants.py --only=scan-reverse,stack-inputs
    python tests/mutation/mutants.py --list

The tree is copied to a temporary directory. For each mutant one text of one file is replaced and
pytest runs the files that should find the fault. First the same files run without a fault. The exit
status is 1 if a mutant survives, if its text does not occur exactly once, or if pytest cannot run.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence

from mutant_list import MUTANTS, Mutant

ROOT = pathlib.Path(__file__).parents[2]
COPIED = ("seqmodels", "experiments", "tests", "pyproject.toml", "README.md")
TIMEOUT = 900  # seconds for one mutant; a loop that does not end is found too
VERDICTS = {0: "survived", 1: "killed"}  # of pytest's exit status


def copy_tree(target: pathlib.Path) -> None:
    """Copies what the tests need."""
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=ignored)
        elif source.exists():
            shutil.copy(source, target / name)


def run_tests(tree: pathlib.Path, tests: Iterable[str]) -> tuple[str, str]:
    """Runs pytest in a copy of the tree; returns a verdict and the last line of its output."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n0", "-p", "no:cacheprovider", *tests]
    # Without bytecode, because a mutant may have the size and the time of the original.
    env = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    env.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
    try:
        done = subprocess.run(
            command, cwd=tree, env=env, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return "killed", f"no end after {TIMEOUT} s"
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    last = (failed or lines or ["no output"])[-1]
    return VERDICTS.get(done.returncode, f"pytest ended with {done.returncode}"), last


def run_mutant(tree: pathlib.Path, mutant: Mutant) -> tuple[str, str]:
    """Applies one mutant, runs its tests and restores the file; returns a verdict and a line."""
    path = tree / mutant.file
    if not path.exists():
        return "file not found", mutant.file
    source = path.read_text()
    count = source.count(mutant.text)
    if count != 1:
        return f"text occurs {count} times, expected 1", mutant.text
    path.write_text(source.replace(mutant.text, mutant.replacement))
    try:
        return run_tests(tree, mutant.tests)
    finally:
        path.write_text(source)


def select(names: str | None) -> list[Mutant]:
    """Returns the mutants of a comma-separated list of names, or all."""
    if names is None:
        return list(MUTANTS)
    known = {mutant.name: mutant for mutant in MUTANTS}
    unknown = [name for name in names.split(",") if name not in known]
    if unknown:
        raise SystemExit(f"--only: got {', '.join(unknown)}, expected names of --list")
    return [known[name] for name in names.split(",")]


def print_list(mutants: Sequence[Mutant]) -> int:
    """Prints the mutants; returns 1 if the text of one does not occur exactly once."""
    status = 0
    for mutant in mutants:
        path = ROOT / mutant.file
        count = path.read_text().count(mutant.text) if path.exists() else 0
        status |= count != 1
        note = "" if count == 1 else f"   text occurs {count} times, expected 1"
        print(f"{mutant.name:32} {mutant.file}{note}")
    print(f"{len(mutants)} mutants")
    return status


def main() -> int:
    """Runs the script; returns its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--list", action="store_true", help="print the mutants and check their texts"
    )
    parser.add_argument("--only", help="names of mutants, separated by commas")
    parser.add_argument(
        "--skip-baseline", action="store_true", help="do not first run the tests without a fault"
    )
    options = parser.parse_args()
    mutants = select(options.only)
    if options.list:
        return print_list(mutants)
    failures = 0
    with tempfile.TemporaryDirectory() as directory:
        tree = pathlib.Path(directory)
        copy_tree(tree)
        if not options.skip_baseline:
            tests = sorted({test for mutant in mutants for test in mutant.tests})
            start = time.monotonic()
            verdict, line = run_tests(tree, tests)
            print(f"{'without a fault':32} {verdict:10} {time.monotonic() - start:6.0f} s  {line}")
            if verdict != "survived":
                return 1
        for mutant in mutants:
            start = time.monotonic()
            verdict, line = run_mutant(tree, mutant)
            failures += verdict != "killed"
            seconds = time.monotonic() - start
            print(f"{mutant.name:32} {verdict:10} {seconds:6.0f} s  {line}", flush=True)
    print(f"{len(mutants) - failures} of {len(mutants)} killed")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
