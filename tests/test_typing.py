"""A user's mypy reads the annotations of the installed package."""

import pathlib
import re
import venv

import mypy.api

import seqmodels

PROGRAM = """\
from typing import Any, assert_type
import seqmodels as sm

cell = sm.lstm(input_size=3, hidden_size=4)
assert_type(cell, sm.Cell)
assert_type(sm.unroll(cell, {}, None), tuple[Any, Any])
assert_type(sm.unroll_full(cell, {}, None), sm.Unrolled)
assert_type(cell.x_ndim, str)
sm.lstm(input_size="three", hidden_size=4)
sm.unroll(cell, {}, None, reversed=True)
"""
ERRORS = [(8, "assert-type"), (9, "arg-type"), (10, "call-arg")]  # lines of PROGRAM, mypy's codes


def test_users_mypy(tmp_path, monkeypatch):
    """The package is found as an installed one, in an environment without JAX (quicker)."""
    (tmp_path / "program.py").write_text(PROGRAM)
    venv.create(tmp_path / "env", symlinks=True)
    site = next((tmp_path / "env").glob("lib/python*/site-packages"))
    root = pathlib.Path(seqmodels.__file__).parents[1]
    (site / "seqmodels.pth").write_text(f"{root}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MYPYPATH", raising=False)

    report, errors, status = mypy.api.run(
        [
            "program.py",
            "--config-file=",
            f"--cache-dir={tmp_path / 'cache'}",
            f"--python-executable={tmp_path / 'env/bin/python'}",
            "--ignore-missing-imports",
            "--hide-error-context",
            "--no-error-summary",
        ]
    )

    assert (errors, status) == ("", 1)
    found = re.findall(r"^program\.py:(\d+): error: .*\[([a-z-]+)\]$", report, re.MULTILINE)
    assert [(int(line), code) for line, code in found] == ERRORS, report
