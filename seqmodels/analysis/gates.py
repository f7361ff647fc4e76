"""The gates, candidates and states of a cell at every step of a sequence.

A driver unrolls the cell. Then the cell's `project` and `gates` are evaluated for all steps at
once, at the states that the driver returned. This module contains no equation of a cell.
"""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.cells.linear import linear_elements
from seqmodels.cells.stages import reset_state, stage_gates
from seqmodels.drivers.auto import choose_driver, find_driver
from seqmodels.drivers.contract import fill_padding, tree_where
from seqmodels.drivers.reshape import merge_time_batch
from seqmodels.drivers.unroll import unroll_full
from seqmodels.pytrees import is_float
from seqmodels.types import (
    Array,
    Cell,
    Driver,
    DriverCall,
    GateValues,
    Info,
    Params,
    State,
    Unrolled,
)


class Trace(NamedTuple):
    """The activations of one cell at every step; arrays (T, *batch, H), NaN at steps not valid.

    Attributes:
      gates: by name, the values of gates in [0, 1], such as i, f and o of an LSTM.
      candidates: by name, the values that are offered to the state, such as g of an LSTM.
      states: by name, the state after each step, such as h and c of an LSTM; floating-point leaves
        only.
      retention: the share of the state that each step keeps: f of an LSTM, z of `sm.gru`, 1 - z of
        `sm.min_gru`, |lambda| of an LRU. None if the cell has none.
      pre_activations: by the names of gates and candidates, what their activation functions are
        applied to.
      valid: bool (T, *batch), false in the padding and at masked steps.
    """

    gates: dict[str, Array]
    candidates: dict[str, Array]
    states: dict[str, Array]
    retention: Array | None
    pre_activations: dict[str, Array]
    valid: Array

    @property
    def named(self) -> dict[str, Array]:
        """Gates, candidates and states in one dict."""
        return self.gates | self.candidates | self.states


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["iterations", "residual", "converged", "trace"],
    meta_fields=["method", "reason", "plan"],
)
@dataclasses.dataclass(frozen=True)
class _TracedInfo(Info):
    """The diagnostics of an unroll with the trace of its cell."""

    trace: Trace | None = None


def trace(
    cell: Cell,
    params: Params,
    xs: Any,
    state: State | None = None,
    *,
    lengths: Any = None,
    mask: Any = None,
    resets: Any = None,
    reverse: bool = False,
    key: Array | None = None,
    method: str | Driver = "auto",
) -> Any:
    """Returns every gate, candidate and state of a cell at every step.

    The values are those that the cell computes, after the activation function. The names are the
    cell's, see `Cell.gates`. A cell in stages without names has the `pre_activations` gate_0,
    gate_1, ... If the size of the state divides the packed array, each has the size of the state. A
    linear recurrence without names has the gate a = |a_t| and the candidate b = b_t. Arrays of
    complex cells, such as h and b of an LRU, are complex.

    Args:
      cell: a cell, a stack, a bidirectional pair, or a cell with dropout or a residual connection.
      params: its parameters.
      xs: inputs (T, *batch, D).
      state: see `sm.unroll`, and so are all further arguments.
      lengths: int (*batch).
      mask: bool (T, *batch).
      resets: bool (T, *batch). The gates of a step that is reset are computed from the fresh state.
      reverse: whether time runs from the last step to the first.
      key: PRNG key; with it recurrent dropout is active, and gates are those of the masked state.
      method: the driver.

    Returns:
      A `Trace`; for a stack a tuple of them, one for each layer, and for a bidirectional pair a
      `Bidirectional` of two. Values are NaN in the padding and at masked steps, so that means over
      time can leave them out (`jnp.nanmean`).

    Raises:
      TypeError: see `sm.unroll`.
      ValueError: see `sm.unroll`.

    Examples:
      >>> cell, xs = sm.lstm(3, 4), jnp.ones((5, 2, 3))
      >>> lstm = trace(cell, cell.init(jax.random.key(0)), xs)
      >>> {name: values.shape for name, values in lstm.gates.items()}
      {'f': (5, 2, 4), 'i': (5, 2, 4), 'o': (5, 2, 4)}
      >>> sorted(lstm.named)
      ['c', 'f', 'g', 'h', 'i', 'o']
    """
    inner = find_driver(method)
    full = unroll_full(
        cell,
        params,
        xs,
        state,
        lengths=lengths,
        mask=mask,
        resets=resets,
        reverse=reverse,
        key=key,
        method=_tracing(inner),
    )
    return jax.tree.map(
        lambda info: info.trace, full.info, is_leaf=lambda leaf: isinstance(leaf, Info)
    )


def _tracing(inner: Driver | None) -> Driver:
    """Returns the driver that runs `inner` (None: "auto") and puts a trace into its `Info`."""
    check = None if inner is None else inner.check
    name = "auto" if inner is None else inner.name
    return Driver(name, _run_traced, (("inner", inner),), check)


def _run_traced(call: DriverCall, *, inner: Driver | None) -> Unrolled:
    call = call._replace(keep_states=True)
    driver = choose_driver(call)[0] if inner is None else inner
    full = driver.run(call, **dict(driver.settings))
    info = {field.name: getattr(full.info, field.name) for field in dataclasses.fields(Info)}
    return full._replace(info=_TracedInfo(**info, trace=_trace_of(call, full.states)))


def _trace_of(call: DriverCall, states: State) -> Trace:
    """Returns the trace of one cell, given the state after every step, leaves (T, *batch, ...)."""
    num_steps, batch_shape, valid = call.num_steps, call.batch_shape, call.contract.valid
    if valid is None:
        valid = jnp.ones((num_steps, *batch_shape), bool)
    before = states_before(call, states)
    xs = fill_padding(call.contract.valid, call.xs)
    # One leading axis, as in drivers: a user's cell may count axes.
    rows = merge_time_batch((before, xs), len(batch_shape))
    values = _gate_values(call.cell, call.params, *rows)

    def unmerged(array: Array) -> Array:
        shape = array.shape[1:]
        array = jnp.broadcast_to(array, (math.prod((num_steps, *batch_shape)), *shape))
        return _nan_unless(valid, array.reshape((num_steps, *batch_shape, *shape)))

    values = jax.tree.map(unmerged, values)
    named = {name: _nan_unless(valid, leaf) for name, leaf in named_leaves(states).items()}
    return Trace(
        gates=values.gates,
        candidates=values.candidates,
        states=named,
        retention=values.retention,
        pre_activations=values.pre_activations,
        valid=valid,
    )


def states_before(call: DriverCall, states: State) -> State:
    """Returns the state that enters each step, given the state after every step.

    Args:
      call: the call of the driver.
      states: leaves (T, *batch, ...).
    """
    reverse, resets = call.contract.reverse, call.contract.resets

    def shift(first: Array, after: Array) -> Array:
        first = first[None]
        parts = [after[1:], first] if reverse else [first, after[:-1]]
        return jnp.concatenate(parts) if len(after) else after

    before = jax.tree.map(shift, call.state, states)
    if resets is None:
        return before
    fresh = reset_state(call.cell, call.params, call.state)
    fresh = jax.tree.map(lambda a, b: jnp.broadcast_to(a, b.shape), fresh, before)
    return tree_where(resets, fresh, before)


def _gate_values(cell: Cell, params: Params, state: State, xs: Array) -> GateValues:
    """Returns the named activations of steps whose states and inputs are rows, (N, ...)."""
    if cell.stages:
        values, gates = [GateValues()], stage_gates(cell)
        for n, (project, update) in enumerate(cell.stages):
            pre = project(params, state, xs)
            if gates:
                values.append(gates[n](params, state, pre))
            else:
                values.append(_numbered(pre, state, sum(len(v.pre_activations) for v in values)))
            if n < len(cell.stages) - 1:
                state = update(params, state, pre)
        return functools.reduce(_merge, values)
    if callable(cell.gates):
        return cell.gates(params, state, xs)
    if cell.elements is None:
        return GateValues()
    a_t, b_t = (named_leaves(t) for t in linear_elements(cell.elements, params, xs, state))
    single = len(a_t) == 1
    decays = {"a" if single else f"a.{name}": jnp.abs(leaf) for name, leaf in a_t.items()}
    offered = {"b" if single else f"b.{name}": leaf for name, leaf in b_t.items()}
    return GateValues(decays, offered, retention=decays["a"] if single else None)


def _merge(first: GateValues, second: GateValues) -> GateValues:
    return GateValues(
        first.gates | second.gates,
        first.candidates | second.candidates,
        first.retention if second.retention is None else second.retention,
        first.pre_activations | second.pre_activations,
    )


def _numbered(pre: Any, state: State, first: int) -> GateValues:
    """Returns pre-activations named by numbers from `first` on, packed ones split by unit."""
    sizes = [leaf.shape[-1] for leaf in jax.tree.leaves(state) if leaf.ndim > 1 and is_float(leaf)]
    parts: list[Array] = []
    for leaf in jax.tree.leaves(pre):
        blocks = leaf.shape[-1] // sizes[0] if sizes and leaf.shape[-1] % sizes[0] == 0 else 1
        parts += jnp.split(leaf, max(blocks, 1), axis=-1)
    named = {f"gate_{number}": part for number, part in enumerate(parts, first)}
    return GateValues(pre_activations=named)


def named_leaves(tree: Any) -> dict[str, Array]:
    """Returns floating-point leaves by the last part of their path, or by all of it if two agree.

    A state that is a single array is named "state".

    Examples:
      >>> params = sm.lstm(3, 4).init(jax.random.key(0))
      >>> sorted(named_leaves(params))
      ['b', 'w_h', 'w_x']
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    paths = {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in leaves
        if is_float(leaf)
    }
    last = [path.split(".")[-1] for path in paths]
    names = last if len(set(last)) == len(last) else list(paths)
    return {name or "state": leaf for name, leaf in zip(names, paths.values(), strict=True)}


def _nan_unless(valid: Array, array: Array) -> Array:
    if not is_float(array):
        array = array.astype(jnp.float32)
    return tree_where(valid, array, jnp.full_like(array, jnp.nan))
