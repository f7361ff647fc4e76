"""The vocabulary of the library: what a cell is, and what taking it through time gives.

Axis letters, the same everywhere: T time, B batch, D input features, H hidden units, V vocabulary,
C classes, S seeds. `*batch` stands for any number of batch axes, also none. The suffixes `_t` and
`_tm1` mean "at time t" and "at time t minus 1". Gate letters: i input, f forget, g candidate,
o output; r reset, z update, n candidate in a GRU.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Array = jax.Array
Params = Any  # a pytree of arrays
State = Any  # a pytree of arrays with leading axes *batch
Stage = tuple[Callable[..., Any], Callable[..., Any]]  # (project, update)


class Cell(NamedTuple):
    """A recurrence `(params, state, x_t) -> (state, y_t)` as a tuple of pure functions.

    Build one with a factory (`sm.lstm(...)`), with `sm.make_cell` for a recurrence of your own, or
    directly. Functions close over hyper-parameters; parameters and state are passed in and out.

    Attributes:
      init: `init(key) -> params`.
      initial_state: `initial_state(params, batch_shape=(), key=None) -> state`. What is random for
        a whole sequence, such as a dropout mask, is drawn here from `key`; without a key there is
        no randomness. A function that does not take `key` will not be given one.
      step: `step(params, state, x_t) -> (state, y_t)`, on any leading axes: `(D,)`, `(B, D)`, ...
      stages: pairs `(project, update)` of which `step` is the fold; see `sm.make_cell`.
      elements: `elements(params, x_t) -> (a_t, b_t)` of a linear recurrence
        `s_t = a_t * s_tm1 + b_t`.
      output: `output(params, state, x_t) -> y_t` of a linear recurrence.
      reset: `reset(params, state) -> state`, what replaces the state where `resets` is true. None
        means the cell's own initial state. A combinator resets by way of the cells inside it.
      unroll: `unroll(run, params, xs, state, contract) -> Unrolled`, by which a combinator takes
        over; `run(cell, params, xs, state, contract)` unrolls a cell inside it.
      x_ndim: the number of feature axes of `x_t`.
    """

    init: Callable[[Array], Params]
    initial_state: Callable[..., State]
    step: Callable[[Params, State, Any], tuple[State, Any]]
    stages: tuple[Stage, ...] = ()
    elements: Callable[[Params, Any], tuple[Any, Any]] | None = None
    output: Callable[[Params, State, Any], Any] | None = None
    reset: Callable[[Params, State], State] | None = None
    unroll: Callable[..., "Unrolled"] | None = None
    x_ndim: int = 1


class Contract(NamedTuple):
    """What the time steps of one call mean, after `sm.unroll` has checked them.

    Attributes:
      valid: bool (T, *batch), false in the padding; None: every step counts.
      resets: bool (T, *batch), true where the state is replaced before `x_t` is read, false in the
        padding; None: never.
      reverse: whether time runs from the last step to the first.
    """

    valid: Array | None
    resets: Array | None
    reverse: bool


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["iterations", "residual", "converged"],
    meta_fields=["method", "reason", "plan"],
)
@dataclasses.dataclass(frozen=True)
class Info:
    """What a driver has to say about one unroll.

    Attributes:
      method: the name of the driver that ran.
      reason: why it was that one.
      plan: how it went about it, where there was a choice; otherwise "".
      iterations: int32 scalar, how often an iterative driver went over the sequence; None for the
        others, as are the next two.
      residual: float scalar, the largest error that is left in the recurrence at any valid step.
      converged: bool scalar, whether the residual is within the tolerance.
    """

    method: str
    reason: str = ""
    plan: str = ""
    iterations: Array | None = None
    residual: Array | None = None
    converged: Array | None = None


class Unrolled(NamedTuple):
    """The result of `sm.unroll_full`.

    Attributes:
      final_state: the state after the last valid step in the order of processing.
      ys: outputs (T, *batch, ...), exactly zero in the padding.
      states: the state after every step, each leaf (T, *batch, ...); in the padding the state that
        is carried past it. None where they were not asked for.
      info: an `Info`; a tuple of them for a stack or a bidirectional pair, one for each cell.
    """

    final_state: State
    ys: Any
    states: State
    info: Any


class Driver(NamedTuple):
    """A way to take a cell through time, with its settings; equal settings make equal drivers.

    Attributes:
      name: what `method="name"` calls it.
      run: `run(cell, params, xs, state, contract, keep_states, **settings) -> Unrolled`; xs arrives
        with zeros in the padding.
      settings: pairs of a setting's name and value.
      check: called with every `Info` of a call once it has run, to raise where the driver is to;
        under an outer jit its arrays are traced.
    """

    name: str
    run: Callable[..., Unrolled]
    settings: tuple[tuple[str, Any], ...] = ()
    check: Callable[[Info], None] | None = None
