"""Memory of a call: the growth of the process's high-water mark."""

import pathlib
import resource
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

_CLEAR = pathlib.Path("/proc/self/clear_refs")
_STATUS = pathlib.Path("/proc/self/status")


class Growth(NamedTuple):
    """Bytes by which a call raised the high-water mark, and the measure that was used.

    how: "VmHWM" (reset before the call), or "ru_maxrss", which cannot be reset and so misses what
    stays below an earlier peak.
    """

    growth: int
    how: str


def growth_of(call: Callable[[], Any]) -> Growth:
    """Runs `call` once and returns by how much it raised the memory this process holds."""
    try:
        _CLEAR.write_text("5")  # proc(5): resets VmHWM to what is resident now
        before = _resident("VmRSS")
        call()
        return Growth(max(0, _resident("VmHWM") - before), "VmHWM")
    except (OSError, KeyError):
        before = _largest()
        call()
        return Growth(_largest() - before, "ru_maxrss")


def _resident(field: str) -> int:
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    return int(lines[field].split()[0]) * 1024


def _largest() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
