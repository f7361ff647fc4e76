"""Which driver a name stands for, and which one "auto" takes."""

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
from seqmodels.drivers.stage_analysis import read_traits
from seqmodels.types import Array, Cell, Driver, Params, State

DRIVERS: dict[str, Callable[[], Driver]] = {
    "scan": scan,
    "fused": fused,
    "chunked": chunked,
    "associative": associative,
    "newton": newton,
    "cudnn": cudnn,
}
LARGE = 4 * 2**30  # bytes of states and gates that "auto" lets the forward pass keep


def find_driver(method: str | Driver) -> Driver | None:
    """Returns the driver that `method` names, None for "auto".

    Raises:
      ValueError: if there is none of that name.
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


def choose(cell: Cell, params: Params, xs: Array, state: State) -> tuple[Driver, str]:
    """Returns the driver that "auto" stands for, and why.

    It is the fastest one of those measured on CPUs. Parallel drivers are never taken: there they
    are slower, and elsewhere they have not been measured.
    """
    if not cell.stages:
        kind = "a linear recurrence" if cell.elements else "a step alone"
        return scan(), f"auto: the cell is {kind}, and scan is the fastest driver for it"
    try:
        x_t = jax.ShapeDtypeStruct(xs.shape[1:], xs.dtype)
        read_traits(cell, params, state, x_t, (True,) * len(jax.tree.leaves(state)))
    except TypeError as error:
        return scan(), f"auto: {error}"
    kept = kept_bytes(cell, params, xs, state, save=saving_pays(params))
    if kept > LARGE:
        return chunked(), f"auto: to keep every step would take {kept / 2**30:.1f} GiB"
    return fused(), "auto: the cell is in stages, so its backward pass can be fused"
