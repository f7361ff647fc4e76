"""The types of the library: a cell, a driver, one call of a driver and its result.

Axis letters, the same everywhere: T time, B batch, D input features, H hidden units, V vocabulary,
C classes, S seeds. `*batch` stands for zero or more batch axes. The suffixes `_t` and
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
      initial_state: `initial_state(params, batch_shape=(), key=None) -> state`. It draws from `key`
        what is random for a whole sequence, such as a dropout mask. Without a key nothing is
        random. `key` is passed only to functions that take it.
      step: `step(params, state, x_t) -> (state, y_t)`, on any leading axes: `(D,)`, `(B, D)`, ...
      stages: pairs `(project, update)` of which `step` is the fold; see `sm.make_cell`.
      elements: `elements(params, x_t) -> (a_t, b_t)` of a linear recurrence
        `s_t = a_t * s_tm1 + b_t`.
      output: `output(params, state, x_t) -> y_t` of a linear recurrence.
      reset: `reset(params, state) -> state`, the state that replaces `state` where `resets` is
        true. None means the cell's own initial state. Under `sm.unroll` the cells inside a
        combinator are reset one by one.
      unroll: `unroll(run, call) -> Unrolled`, the way a combinator unrolls the cells inside it:
        `run(call._replace(cell=..., params=..., xs=..., state=...))` unrolls one of them. `call`
        is a `DriverCall`. None for a cell that a driver runs.
      x_ndim: the number of feature axes of `x_t`.
      gates: names of the activations of a step, as functions that return `GateValues`. A cell in
        stages has a tuple with one function for each stage, `gates(params, state,
        pre_activations)`, with the arguments of its `update`. Any other cell has one function,
        `gates(params, state, x_t)`, with the arguments of `step`. `seqmodels.analysis.trace` alone
        calls them. (): the activations have numbers for names.

    Examples:
      >>> cell = sm.lstm(3, 4)
      >>> params = cell.init(jax.random.key(0))
      >>> state = cell.initial_state(params, batch_shape=(2,))
      >>> state, y_t = cell.step(params, state, jnp.ones((2, 3)))
      >>> state.c.shape, y_t.shape
      ((2, 4), (2, 4))
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
    gates: "tuple[Callable[..., GateValues], ...] | Callable[..., GateValues]" = ()


class GateValues(NamedTuple):
    """The named activations of one step; arrays (*batch, H).

    Attributes:
      gates: by name, the values of gates: shares in [0, 1] of something that passes.
      candidates: by name, the values that are offered to the state.
      retention: the share of the state that the step keeps, such as f of an LSTM; None if the cell
        has none.
      pre_activations: by the names above, what the activation functions are applied to.

    Examples:
      >>> cell = sm.rnn(3, 4)
      >>> params = cell.init(jax.random.key(0))
      >>> (name_activations,) = cell.gates  # one function for each stage
      >>> named = name_activations(params, cell.initial_state(params), jnp.zeros(4))
      >>> named.gates, named.candidates
      ({}, {'h': Array([0., 0., 0., 0.], dtype=float32)})
    """

    gates: dict[str, Array] = {}  # noqa: RUF012 - never changed
    candidates: dict[str, Array] = {}  # noqa: RUF012 - never changed
    retention: Array | None = None
    pre_activations: dict[str, Array] = {}  # noqa: RUF012 - never changed


class Contract(NamedTuple):
    """Padding, mask, resets and direction of one call, after `sm.unroll` has checked them.

    Attributes:
      valid: bool (T, *batch), false in the padding and at masked steps, past which the state is
        carried unchanged; None: every step is valid.
      resets: bool (T, *batch), true where the state is replaced before the step, also before a
        masked one; false in the padding; None: never.
      reverse: whether time runs from the last step to the first.
      lengths: int (*batch), the padding alone; None: there is no padding.
      masked: whether `valid` has gaps, so that lengths do not describe it.
      hold_outputs: whether the output of a masked step repeats the last one before it.

    Examples:
      >>> valid = jnp.array([[True, True], [True, False]])  # (T, B): row 1 has length 1
      >>> Contract(valid, resets=None, reverse=False, lengths=jnp.array([2, 1])).masked
      False
    """

    valid: Array | None
    resets: Array | None
    reverse: bool
    lengths: Array | None = None
    masked: bool = False
    hold_outputs: bool = False


class DriverCall(NamedTuple):
    """One cell to unroll over one batch of sequences, checked by `sm.unroll`.

    Attributes:
      cell: the cell.
      params: its parameters.
      xs: inputs (T, *batch, ...), zero where no step is valid.
      state: the state before the first step, leaves (*batch, ...).
      contract: padding, resets and direction.
      keep_states: whether `Unrolled.states` is returned.

    Examples:
      >>> cell, xs = sm.rnn(3, 4), jnp.ones((5, 2, 3))
      >>> params = cell.init(jax.random.key(0))
      >>> state = cell.initial_state(params, (2,))
      >>> call = DriverCall(cell, params, xs, state, Contract(None, None, False), keep_states=False)
      >>> call.num_steps, call.batch_shape, call.x_t.shape
      (5, (2,), (2, 3))
    """

    cell: Cell
    params: Params
    xs: Any
    state: State
    contract: Contract
    keep_states: bool

    @property
    def num_steps(self) -> int:
        """T."""
        return self.xs.shape[0]

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The batch axes of the inputs."""
        return self.xs.shape[1 : self.xs.ndim - self.cell.x_ndim]

    @property
    def x_t(self) -> jax.ShapeDtypeStruct:
        """Shape (*batch, ...) and dtype of the input of one step."""
        return jax.ShapeDtypeStruct(self.xs.shape[1:], self.xs.dtype)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["iterations", "residual", "converged"],
    meta_fields=["method", "reason", "plan"],
)
@dataclasses.dataclass(frozen=True)
class Info:
    """Diagnostics of one unroll.

    Attributes:
      method: the name of the driver that ran.
      reason: why this driver was chosen.
      plan: the execution plan, or "".
      iterations: int32 scalar, the number of iterations of an iterative driver; None for other
        drivers, and so are the next two.
      residual: float scalar, the largest remaining error of the recurrence at any valid step.
      converged: bool scalar, whether the residual is within the tolerance.

    Examples:
      >>> cell, xs = sm.gru(3, 4), jnp.ones((5, 2, 3))
      >>> info = sm.unroll_full(cell, cell.init(jax.random.key(0)), xs).info
      >>> info.method, info.plan
      ('fused', 'chunk=32, save=True')
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
      ys: outputs (T, *batch, ...), exactly zero in the padding, and at masked steps unless held.
      states: the state after every step, each leaf (T, *batch, ...). In the padding and at masked
        steps it is the last valid state, or after a reset the fresh one. None if the states were
        not requested.
      info: an `Info`; for a stack a tuple and for a bidirectional pair a `Bidirectional`, with one
        entry for each cell.

    Examples:
      >>> cell, xs = sm.gru(3, 4), jnp.ones((5, 2, 3))
      >>> final_state, ys, states, info = sm.unroll_full(cell, cell.init(jax.random.key(0)), xs)
      >>> final_state.h.shape, ys.shape, states.h.shape
      ((2, 4), (5, 2, 4), (5, 2, 4))
    """

    final_state: State
    ys: Any
    states: State
    info: Any


Run = Callable[[DriverCall], Unrolled]  # unrolls the cell of a call, see `Cell.unroll`


class Driver(NamedTuple):
    """A way to run a cell through time, with its settings; equal settings make equal drivers.

    Attributes:
      name: the name that selects it, as in `method="scan"`.
      run: `run(call, **settings) -> Unrolled`; `call` is a `DriverCall`.
      settings: pairs of a setting's name and value.
      check: called with every `Info` after a call has run; it may raise. Under an outer jit the
        arrays of the `Info` are traced.

    Examples:
      >>> driver = sm.fused(chunk=16)
      >>> driver.name, driver.settings
      ('fused', (('chunk', 16), ('save', None), ('batch_last', None)))
      >>> driver == sm.fused(chunk=16)
      True
    """

    name: str
    run: Callable[..., Unrolled]
    settings: tuple[tuple[str, Any], ...] = ()
    check: Callable[[Info], None] | None = None
