import contextlib
import importlib.util
import io
import json
import pathlib
import subprocess
import sys

import quick_programs

from experiments.common import app

ROOT = pathlib.Path(__file__).parents[1]


def load_program(name):
    """Returns the module of a program of the tests, such as "experiments/runner_program"."""
    file = ROOT / "tests" / f"{name}.py"
    if file.stem not in sys.modules:
        spec = importlib.util.spec_from_file_location(file.stem, file)
        module = importlib.util.module_from_spec(spec)
        sys.modules[file.stem] = module  # dataclasses look there for the annotations
        spec.loader.exec_module(module)
    return sys.modules[file.stem]


def starter(program, timeout=240):
    """Returns the function that runs an entry point in a folder, as a user does.

    program: a module, such as "experiments.sentiment", or the path of a file.
    """
    named = [str(program)] if isinstance(program, pathlib.Path) else ["-m", program]

    def start(folder, *arguments):
        return subprocess.run(
            [sys.executable, *named, *arguments],
            cwd=folder,
            env={**quick_programs.environment(), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return start


# Imports what a program imports once, then runs it for each list of arguments in a fork of its own:
# no array is made before, so that there is no thread to lose.
_FORKS = """
import ast, contextlib, importlib, json, os, runpy, sys, tempfile
program, cases = sys.argv[1], json.loads(sys.argv[2])
importlib.import_module(program + ".study" if program.startswith("experiments.") else program)
sys.modules.pop(program, None)
found = []
for arguments in cases:
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.argv = [program, *arguments]
            status = 0
            try:
                runpy.run_module(program, run_name="__main__", alter_sys=True)
            except SystemExit as end:
                status = end.code or 0
            except BaseException:
                import traceback
                traceback.print_exc()
                status = 70
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0), err.seek(0)
        found.append((status, out.read(), err.read()))
print(json.dumps(found))
"""


def run_each(program, folder, cases, timeout=240):
    """Runs an entry point in a folder for each list of arguments, with the imports done once.

    For what ends before a network is made, such as a mistake in the flags.

    Args:
      program: a module, such as "experiments.sentiment".
      folder: where it runs.
      cases: lists of arguments.
      timeout: seconds for all of them.

    Returns:
      For each case (exit status, standard output, standard error).
    """
    done = subprocess.run(
        [sys.executable, "-c", _FORKS, program, json.dumps([list(case) for case in cases])],
        cwd=folder,
        env={**quick_programs.environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [tuple(one) for one in json.loads(done.stdout)]


def flags_of(options):
    """Returns options, by name, as a command line."""
    texts = {
        name: ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for name, value in options.items()
    }
    return [f"--{name}={text}" for name, text in texts.items()]


def execute(experiment, *arguments):
    """Returns (exit status, standard output, standard error) of a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = app.execute(experiment, arguments)
    return status, out.getvalue(), err.getvalue()
