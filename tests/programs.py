import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]


def starter(program, timeout=240):
    """Returns the function that runs an entry point in a folder, as a user does.

    program: a module, such as "experiments.sentiment", or the path of a file.
    """
    named = [str(program)] if isinstance(program, pathlib.Path) else ["-m", program]

    def start(folder, *arguments):
        return subprocess.run(
            [sys.executable, *named, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "true"},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return start
