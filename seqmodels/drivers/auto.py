"""Drivers by name, and the choice that "auto" makes."""

import difflib
from collections.abc import Callable

import jax

from seqmodels.drivers.associative import associative
from seqmodels.drivers.chunked import chunked
from seqmodels.drivers.cudnn import cudnn
from seqmodels.drivers.fused.driver import fused, saving_pays
from seqmodels.drivers.memory_plan import kept_bytes
from seqmodels.drivers.newton.driver import newton
from seqmodels.drivers.scan import scan
from seqmodels.drivers.stage_analysis import analyze_stages
from seqmodels.types import Driver, DriverCall

DRIVERS: dict[str, Callable[[], Driver]] = {
    "scan": scan,
    "fused": fused,
    "chunked": chunked,
    "associative": associative,
    "newton": newton,
    "cudnn": cudnn,
}
MAX_KEPT_BYTES = 4 * 2**30  # bytes of states and gates that "auto" lets the forward pass keep


def find_driver(method: str | Driver) -> Driver | None:
    """Returns the driver that `method` names, or None for "auto".

    Raises:
      ValueError: if no driver has that name.
    """
    if isinstance(method, Driver):
        return method
    if method == "auto":
        return None
    if isinstance(method, str) and method in DRIVERS:
        return DRIVERS[method]()
    names = ["auto", *DRIVERS]
    near = difflib.get_close_matches(str(method), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"method: got {method!r}, expected one of {', '.join(names)} "
        f"or a driver such as sm.scan(){hint}"
    )


def choose_driver(call: DriverCall) -> tuple[Driver, str]:
    """Returns the driver that "auto" chooses for a call, and the reason.

    It is the fastest driver of those measured on CPUs. Drivers that are parallel in time are never
    chosen: they are slower on CPUs and have not been measured elsewhere.
    """
    cell = call.cell
    if not cell.stages:
        kind = "a linear recurrence" if cell.elements else "a step alone"
        return scan(), f"auto: the cell is {kind}, and scan is the fastest driver for it"
    try:
        keeps = (True,) * len(jax.tree.leaves(call.state))
        analyze_stages(cell, call.params, call.state, call.x_t, keeps)
    except TypeError as error:
        return scan(), f"auto: {error}"
    kept = kept_bytes(call, save=saving_pays(call.params))
    if kept > MAX_KEPT_BYTES:
        return chunked(), f"auto: to keep every step would take {kept / 2**30:.1f} GiB"
    return fused(), "auto: the cell is in stages, so its backward pass can be fused"
