"""Backpropagation through time with a derived, fused backward pass, for every cell in stages.

The forward pass is a scan that saves the states (and, on request, the gates). The backward pass
loops over chunks of K steps. For each chunk it

1. computes the local Jacobians of every `update` for all steps at once;
2. carries the cotangent of the state from step to step in an inner scan; a step costs one product
   with the transposed recurrent matrices and a few multiply-adds;
3. computes the gradient of every matrix as one large product over the K * B rows of the chunk.

Autodiff of a scan makes T small products instead, and reads and writes an accumulator of the size
of the weights at each step.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from seqmodels.cells.stages import check_size, reset_state
from seqmodels.drivers.contract import fill_padding, tree_where, zero_unless
from seqmodels.drivers.fused.backward import backward
from seqmodels.drivers.fused.batch_last import first_axis_last, last_axis_first
from seqmodels.drivers.fused.layout import batch_last_pays, batch_last_stages
from seqmodels.drivers.fused.records import (
    FusedPlan,
    OutputCotangents,
    Residuals,
    SequenceInputs,
)
from seqmodels.drivers.linear_call import linear_call
from seqmodels.drivers.reshape import chunk_size, merge_batch, split_batch
from seqmodels.drivers.scan import run_scan
from seqmodels.drivers.stage_analysis import analyze_stages, require_stages
from seqmodels.pytrees import (
    combine,
    match_varying_axes,
    partition_by_flags,
    partition_floats,
    without_float0,
    zero_tangents,
)
from seqmodels.types import Array, Driver, DriverCall, Info, Params, State, Unrolled

# K. On two CPU cores 16 and 64 train within 5% of it at (T,B,D,H) = (1024,64,32,64), 8 is 13%
# slower.
CHUNK = 32
# The number of parameters from which the gates are saved. That makes training of an LSTM 13% faster
# at H = 512 and 5% faster at H = 256, and makes no difference at H = 128.
SAVE_FROM = 2**18


def fused(
    *, chunk: int = CHUNK, save: bool | None = None, batch_last: bool | None = None
) -> Driver:
    """Returns the driver with the fused backward pass; values and gradients equal those of `scan`.

    It serves cells in stages (`sm.make_cell`). Forward mode (`jax.jvp`, `jax.linearize`) uses JAX's
    derivative of the forward pass. Second derivatives work in every order. A custom derivative rule
    of the cell (`jax.custom_jvp`, `jax.custom_vjp`) is used. The rule may differ from the
    derivative of its function, as a scaled gradient does. Second derivatives then depend on the
    order of differentiation and may differ from those of `scan`.

    Args:
      chunk: K, the approximate number of steps in a chunk of the backward pass. If K does not
        divide T, a divisor of T near K is used if there is one.
      save: whether the forward pass saves the gates. Otherwise the backward pass recomputes them
        by one product for each chunk, which takes half the memory. None: saves them from
        `SAVE_FROM` parameters on, where the product costs more than the memory traffic it avoids,
        and if all steps are one chunk.
      batch_last: whether the loops store states and gates with the batch axis last. The results are
        the same. None: where it was measured to be faster, which is on CPUs with large matrices of
        float32; see `seqmodels/drivers/fused/layout.py`.

    Returns:
      A `Driver`.

    Raises:
      ValueError: if `chunk` is not a positive integer, or `save` or `batch_last` is not True, False
        or None.

    Examples:
      >>> cell, xs = sm.lstm(3, 4), jnp.ones((5, 2, 3))
      >>> loss = lambda params: jnp.sum(sm.unroll(cell, params, xs, method=sm.fused(chunk=16))[1])
      >>> jax.grad(loss)(cell.init(jax.random.key(0))).w_h.shape
      (4, 16)
    """
    check_size("fused", chunk=chunk)
    for name, flag in (("save", save), ("batch_last", batch_last)):
        if not (flag is None or isinstance(flag, bool)):
            raise ValueError(f"fused: {name}: got {flag!r}, expected True, False or None")
    settings = {"chunk": int(chunk), "save": save, "batch_last": batch_last}
    return Driver("fused", _run, tuple(settings.items()))


def _run(call: DriverCall, *, chunk: int, save: bool | None, batch_last: bool | None) -> Unrolled:
    require_stages("fused", call.cell)
    fresh = None
    if call.contract.resets is not None:
        fresh = reset_state(call.cell, call.params, call.state)
    K = chunk_size(call.num_steps, chunk)
    if save is None:
        # A single chunk holds the gates of all steps in either case. T may be symbolic, in exports.
        is_one_chunk = isinstance(call.num_steps, int) and call.num_steps <= K
        save = saving_pays(call.params) or is_one_chunk
    full = run_fused(call, fresh, chunk=K, save=save, batch_last=batch_last)
    plan = f"chunk={K}, save={save}" + (f", {full.info.plan}" if full.info.plan else "")
    return full._replace(info=Info("fused", plan=plan))


def saving_pays(params: Params) -> bool:
    """Returns whether saving the gates is expected to be faster than recomputing them."""
    return sum(leaf.size for leaf in jax.tree.leaves(params)) >= SAVE_FROM


def run_fused(
    call: DriverCall, fresh: State, *, chunk: int, save: bool, batch_last: bool | None = None
) -> Unrolled:
    """Unrolls a cell in stages.

    Args:
      call: the cell to unroll.
      fresh: the state that replaces the state at a reset; None without resets.
      chunk: K, steps a chunk of the backward pass.
      save: whether the forward pass saves the gates.
      batch_last: whether the loops store the batch axis last; None: where that is faster.

    Returns:
      `Unrolled`, whose `info.plan` is "batch_last=True" or empty.

    Raises:
      TypeError: see `analyze_stages`.
    """
    if call.num_steps == 0:
        return run_scan(call)
    cell, params, xs, state, contract, keep_states = call
    batch_shape = call.batch_shape
    state_leaves = jax.tree.leaves(state)
    fresh_leaves = state_leaves if fresh is None else jax.tree.leaves(fresh)
    keeps = tuple(a is b for a, b in zip(state_leaves, fresh_leaves, strict=True))
    varying = (xs, state, params, contract.valid, contract.resets)
    # All inputs of the custom derivative vary over the same axes, and so do all cotangents in it.
    # The transpose of this cast sums the gradient of replicated parameters over the devices.
    params, xs, state, fresh = (match_varying_axes(a, *varying) for a in (params, xs, state, fresh))
    num_axes = len(batch_shape)
    valid, resets = merge_batch((contract.valid, contract.resets), 1, num_axes)
    xs = merge_batch(xs, 1, num_axes)
    state, fresh = merge_batch((state, fresh), 0, num_axes)
    xs = fill_padding(valid, xs)
    x_t = jax.ShapeDtypeStruct(xs.shape[1:], xs.dtype)
    analysis = analyze_stages(cell, params, state, x_t, keeps)
    if batch_last is None:
        batch_last = batch_last_pays(cell, analysis, params, state, x_t)
    plan = FusedPlan(cell.stages, analysis, chunk, save, contract.reverse, keep_states, batch_last)
    state, constants = partition_by_flags(state, analysis.constant_leaves)
    if fresh is not None:
        fresh, _ = partition_by_flags(fresh, analysis.constant_leaves)
    inputs = SequenceInputs(params, xs, state, constants, fresh, valid, resets)
    final_state, ys, states = _with_gradient(plan, inputs)
    if keep_states:
        states = combine(states, jax.tree.map(lambda a: _repeat(a, xs.shape[0]), constants))
        states = split_batch(states, 1, batch_shape)
    return Unrolled(
        final_state=split_batch(combine(final_state, constants), 0, batch_shape),
        ys=split_batch(zero_unless(valid, ys), 1, batch_shape),
        states=states,
        info=Info("fused", plan="batch_last=True" if batch_last else ""),
    )


def _repeat(a: Array, num_steps: int) -> Array:
    return jnp.broadcast_to(a, (num_steps, *a.shape))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _with_gradient(plan: FusedPlan, inputs: SequenceInputs) -> tuple[State, Any, State]:
    final_state, ys, residuals = _forward(plan, inputs, plan.keep_states, save=False)
    return final_state, ys, residuals.states


@_with_gradient.defjvp
def _derivative(plan: FusedPlan, primals: Any, tangents: Any) -> tuple[Any, Any]:
    """Returns the outputs and their tangents, whose transpose is the fused backward pass."""
    (inputs,) = primals
    (dinputs,) = without_float0(tangents)
    final_state, ys, residuals = _forward(plan, inputs, True, save=plan.save)
    out = (final_state, ys, residuals.states if plan.keep_states else None)
    floats, others = partition_floats(out)
    dout = linear_call(
        functools.partial(_push_forward, plan),
        functools.partial(_pull_back, plan),
        (inputs, residuals),
        dinputs,
        floats,
    )
    return out, combine(dout, zero_tangents(others))


def _push_forward(
    plan: FusedPlan, saved: tuple[SequenceInputs, Residuals], dinputs: SequenceInputs
) -> Any:
    """Returns the tangents of the outputs, by JAX's derivative of the forward pass."""
    inputs, _ = saved
    floats, others = partition_floats(inputs)

    def run(floats: SequenceInputs) -> Any:
        combined = combine(floats, others)
        first = plan._replace(batch_last=False)
        final_state, ys, residuals = _forward(first, combined, plan.keep_states, save=False)
        return partition_floats((final_state, ys, residuals.states))[0]

    return jax.jvp(run, (floats,), (dinputs,))[1]


def _pull_back(
    plan: FusedPlan, saved: tuple[SequenceInputs, Residuals], cotangents: Any
) -> SequenceInputs:
    """Returns the cotangents of the inputs, by the fused backward pass."""
    inputs, residuals = saved
    dinputs = backward(plan, inputs, residuals, OutputCotangents(*cotangents))
    constants = jax.tree.map(jnp.zeros_like, partition_floats(inputs.constants)[0])
    return dinputs._replace(constants=constants)


def _forward(
    plan: FusedPlan, inputs: SequenceInputs, keep_states: bool, *, save: bool
) -> tuple[State, Any, Residuals]:
    """Returns (final_state, ys, residuals); ys is not zeroed in the padding."""
    params, xs, state, constants, fresh, valid, resets = inputs
    is_last, stages = plan.batch_last, plan.stages
    if is_last:
        stages = batch_last_stages(stages, params, combine(state, constants), xs[0])
        state, constants, fresh = first_axis_last((state, constants, fresh))
    aliases = plan.analysis.output_aliases
    structure: list[tuple[Any, list[Any]]] = []

    def body(state: State, inputs_t: Any) -> tuple[State, Any]:
        x_t, valid_t, reset_t = inputs_t
        before = tree_where(reset_t, fresh, state, batch_last=is_last)
        staged: Any = combine(before, constants)
        gates = []
        for project, update in stages:
            gates.append(project(params, staged, x_t))
            staged = update(params, staged, gates[-1])
        new, y_t = staged
        after, _ = partition_by_flags(new, plan.analysis.constant_leaves)
        new_leaves = _leaves_and_gaps(last_axis_first(after) if is_last else after)
        if valid_t is not None:
            after = tree_where(valid_t, after, before, batch_last=is_last)
        visited = last_axis_first(after) if is_last else after
        y_leaves, y_structure = jax.tree.flatten(last_axis_first(y_t) if is_last else y_t)
        structure.append((y_structure, [leaf.dtype for leaf in y_leaves]))
        # An output that equals a leaf of the state, or is that leaf rounded, is written once, and
        # rounded after the loop.
        written = [
            leaf if alias is None else new_leaves[alias]
            for leaf, alias in zip(y_leaves, aliases, strict=True)
            if alias is None or not keep_states
        ]
        return after, (written, visited if keep_states else None, gates if save else None)

    final_state, (written, states, gates) = lax.scan(
        body, state, (xs, valid, resets), reverse=plan.reverse
    )
    final_state = last_axis_first(final_state) if is_last else final_state
    outputs = iter(written)
    state_leaves = _leaves_and_gaps(states)
    y_structure, dtypes = structure[0]
    ys = [
        (state_leaves[alias] if keep_states and alias is not None else next(outputs)).astype(dtype)
        for alias, dtype in zip(aliases, dtypes, strict=True)
    ]
    return final_state, y_structure.unflatten(ys), Residuals(states, gates)


def _leaves_and_gaps(tree: Any) -> list[Any]:
    """Returns the leaves of a tree, and None where another tree has them."""
    return jax.tree.leaves(tree, is_leaf=lambda a: a is None)
