"""The backward pass through time of any cell in stages, chunk by chunk."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from seqmodels.drivers.contract import select, vary_like, zero_unless
from seqmodels.drivers.fused.linear_program import compress
from seqmodels.drivers.reshape import as_rows, as_steps, cut, joined
from seqmodels.drivers.stage_analysis import Traits, join, split
from seqmodels.types import Array, Params, Stage, State


class Plan(NamedTuple):
    """What is known when the driver is traced.

    Attributes:
      stages: the cell's.
      traits: what its functions have shown.
      chunk: K, steps a chunk of the backward pass.
      save: whether the forward pass keeps the gates.
      reverse: whether time runs from the last step to the first.
      keep_states: whether the states are an output.
    """

    stages: tuple[Stage, ...]
    traits: Traits
    chunk: int
    save: bool
    reverse: bool
    keep_states: bool


class Inputs(NamedTuple):
    """What a sequence is computed from; arrays (T, B, ...) or (B, ...).

    Attributes:
      params: parameters.
      xs: inputs.
      state: the state before the first step, without its constant leaves.
      constants: the constant leaves.
      fresh: what replaces the state at a reset, without constant leaves; None without resets.
      valid: bool (T, B) or None.
      resets: bool (T, B), false in the padding, or None.
    """

    params: Params
    xs: Array
    state: State
    constants: State
    fresh: State
    valid: Array | None
    resets: Array | None


class Kept(NamedTuple):
    """What the forward pass keeps for the backward pass.

    Attributes:
      states: the state after each step, leaves (T, B, ...).
      gates: for each stage its gates (T, B, ...); None where they are computed again.
    """

    states: State
    gates: Any


class Cotangents(NamedTuple):
    """Cotangents of what the forward pass returned; None in the place of leaves that have none.

    Attributes:
      final_state: (B, ...).
      ys: (T, B, ...).
      states: (T, B, ...), None where the states are no output.
    """

    final_state: State
    ys: Any
    states: State


class _Piece(NamedTuple):
    """K steps of everything that has a time axis; `start` is the state before the first of them."""

    xs: Array
    states: State
    gates: Any
    dys: Any
    dstates: State
    valid: Array | None
    resets: Array | None
    start: State


def backward(plan: Plan, inputs: Inputs, kept: Kept, cotangents: Cotangents) -> Inputs:
    """Returns the cotangents of `inputs`; None for what is no floating number.

    The rest of T modulo K steps lies at the end of the sequence in the order of processing, so it
    comes first here.
    """
    num_steps, K = inputs.xs.shape[0], plan.chunk
    num_chunks, rest = divmod(num_steps, K)
    carry = _zero_carry(inputs, cotangents.final_state)
    whole = slice(rest, None) if plan.reverse else slice(num_chunks * K)
    remainder = slice(rest) if plan.reverse else slice(num_chunks * K, None)
    over_time: Any = (inputs.xs, *kept, *cotangents[1:], inputs.valid, inputs.resets)
    dxs = []
    if rest:
        start = inputs.state
        if num_chunks:
            start = _at(kept.states, rest if plan.reverse else num_chunks * K - 1)
        piece = _Piece._make((*_slices(over_time, remainder), start))
        carry, dx = _chunk(plan, inputs, carry, piece)
        dxs.append(dx)
    if num_chunks:
        batch = inputs.xs.shape[1:2]
        over_chunks = _slices(over_time, whole) if rest else over_time

        def chunk(carry: Any, inputs_n: Any) -> Any:
            rows, start = inputs_n
            carry, dx = _chunk(
                plan, inputs, carry, _Piece._make((*as_steps(rows, K, batch), start))
            )
            return carry, as_rows(dx)

        starts = _starts(plan, inputs.state, over_chunks[1])
        rows = cut(over_chunks, num_chunks, batch)
        carry, dx = lax.scan(chunk, carry, (rows, starts), reverse=not plan.reverse)
        dxs.insert(len(dxs) if plan.reverse else 0, joined(dx, num_chunks * K, batch))
    dxs = jax.tree.map(lambda *a: jnp.concatenate(a) if len(a) > 1 else a[0], *dxs)
    dstate, dparams, dfresh = carry
    params = split(inputs.params)[0]
    dparams = jax.tree.map(lambda d, p: d.astype(p.dtype), dparams, params)
    return Inputs(dparams, dxs, dstate, None, dfresh, None, None)


def _zero_carry(inputs: Inputs, dfinal: State) -> tuple[State, Params, State]:
    """Returns (dstate, dparams, dfresh) before the first chunk.

    Weight gradients are summed in at least float32.
    """
    dparams = jax.tree.map(
        lambda p: jnp.zeros(p.shape, jnp.promote_types(p.dtype, jnp.float32)),
        split(inputs.params)[0],
    )
    dfresh = None
    if inputs.resets is not None:
        dfresh = jax.tree.map(jnp.zeros_like, split(inputs.fresh)[0])
    return vary_like((dfinal, dparams, dfresh), dfinal, inputs)


def _slices(tree: Any, where: slice) -> Any:
    return jax.tree.map(lambda a: a[where], tree)


def _at(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda a: a[index], tree)


def _starts(plan: Plan, state: State, states: State) -> State:
    """Returns the state before each chunk, from the states after every step (N * K, B, ...)."""

    def start(first: Array, after: Array) -> Array:
        first = first[None]
        if plan.reverse:
            return jnp.concatenate([after[plan.chunk :: plan.chunk], first])
        return jnp.concatenate([first, after[plan.chunk - 1 : -1 : plan.chunk]])

    return jax.tree.map(start, state, states)


def _entered(plan: Plan, inputs: Inputs, piece: _Piece) -> State:
    """Returns the state that each step of a piece read, constant leaves included."""

    def shift(start: Array, after: Array) -> Array:
        start = start[None]
        if plan.reverse:
            return jnp.concatenate([after[1:], start])
        return jnp.concatenate([start, after[:-1]])

    state = jax.tree.map(shift, piece.start, piece.states)

    def over_steps(tree: State, like: State) -> State:
        return jax.tree.map(lambda a, b: jnp.broadcast_to(a, (len(b), *a.shape)), tree, like)

    if piece.resets is not None:
        state = select(piece.resets, over_steps(inputs.fresh, state), state)
    constants = jax.tree.map(
        lambda a: jnp.broadcast_to(a, (piece.xs.shape[0], *a.shape)), inputs.constants
    )
    return join(state, constants)


class _Linearised(NamedTuple):
    """One stage at all steps of a piece.

    Attributes:
      state: what the stage read, (K, B, ...).
      gates: its gates, (K, B, ...).
      coefficients: of the transposed Jacobian of its update, each (K, ...).
      rebuild: coefficients of one step -> the function from the cotangents of what the update
        returned to those of (state, gates).
    """

    state: Any
    gates: Any
    coefficients: list[Array]
    rebuild: Callable[[Sequence[Array]], Callable[..., Any]]


def _linearise(plan: Plan, params: Params, state: Any, piece: _Piece) -> list[_Linearised]:
    """Goes through the stages with all K steps at once and takes the Jacobian of each update."""
    stages = []
    for n, (project, update) in enumerate(plan.stages):
        if piece.gates is not None:
            gates = piece.gates[n]
        else:
            gates = project(params, as_rows(state), as_rows(piece.xs))
            gates = as_steps(gates, piece.xs.shape[0], piece.xs.shape[1:2])
        coefficients, rebuild = _local_jacobian(update, params, state, gates)
        stages.append(_Linearised(state, gates, coefficients, rebuild))
        if n + 1 < len(plan.stages):
            state = jax.vmap(lambda s, g, update=update: update(params, s, g))(state, gates)
    return stages


def _local_jacobian(
    update: Callable[..., Any], params: Params, state: Any, gates: Any
) -> tuple[list[Array], Callable[[Sequence[Array]], Callable[..., Any]]]:
    """Returns the transposed Jacobian of `update` at each of K steps, as `compress` gives it."""
    rebuild: Any = None

    def at_one_step(state: Any, gates: Any) -> list[Array]:
        nonlocal rebuild
        (sf, so), (gf, go) = split(state), split(gates)

        def of_floats(sf: Any, gf: Any) -> Any:
            return split(update(params, join(sf, so), join(gf, go)))[0]

        out, pull_back = jax.vjp(of_floats, sf, gf)
        coefficients, rebuild = compress(pull_back, out)
        return coefficients

    return jax.vmap(at_one_step)(state, gates), rebuild


def _chunk(
    plan: Plan, inputs: Inputs, carry: tuple[State, Params, State], piece: _Piece
) -> tuple[tuple[State, Params, State], Array | None]:
    """Takes (dstate, dparams, dfresh) K steps back; also returns dxs (K, B, D)."""
    dstate, dparams, dfresh = carry
    stages = _linearise(plan, inputs.params, _entered(plan, inputs, piece), piece)
    # An affine function has the same matrix at every x_t, so zero will do; but integers, such as
    # words, may choose the matrix.
    zero_x, x_others = jnp.zeros_like(piece.xs[0]), split(piece.xs)[1]

    def step(carry: tuple[State, State], inputs_t: Any) -> tuple[tuple[State, State], Any]:
        dstate, dfresh = carry
        coefficients, others, x_other, dy_t, dkept_t, valid_t, reset_t = inputs_t
        x_t = zero_x if x_other is None else x_other
        if dkept_t is not None:
            dstate = jax.tree.map(jnp.add, dstate, dkept_t)
        d: Any = (zero_unless(valid_t, dstate), dy_t)
        dgates, douts = [], []
        for n in reversed(range(len(stages))):
            # What reaches y_t is known without going back; it is put beside this in `_weights`.
            dout = d[0] if n + 1 == len(stages) else d
            douts.append(dout if plan.traits.reads[n] else None)
            dread, dg = stages[n].rebuild(coefficients[n])(d)
            through = _transposed(plan.stages[n][0], inputs.params, stages[n], others[n], x_t)
            d = jax.tree.map(jnp.add, dread, through(dg))
            dgates.append(dg)
        d = d if valid_t is None else select(valid_t, d, dstate)
        if reset_t is not None:
            dfresh = jax.tree.map(jnp.add, dfresh, zero_unless(reset_t, d))
            d = zero_unless(~reset_t, d)
        return (d, dfresh), (dgates[::-1], douts[::-1])

    (dstate, dfresh), (dgates, douts) = lax.scan(
        step,
        (dstate, dfresh),
        (
            [stage.coefficients for stage in stages],
            [split(stage.state)[1] for stage in stages],
            x_others,
            piece.dys,
            piece.dstates,
            piece.valid,
            piece.resets,
        ),
        reverse=not plan.reverse,
    )
    dparams, dx = _weights(plan, inputs.params, piece, stages, dparams, dgates, douts)
    return (dstate, dparams, dfresh), dx


def _transposed(
    project: Callable[..., Any], params: Params, stage: _Linearised, others: Any, x_t: Array
) -> Callable[[Any], Any]:
    """Returns the transpose of `project` in the state: cotangents of gates -> of the state."""
    # Not by its shape alone: in shard_map it must vary as the data do, or its cotangent is summed.
    read = jax.tree.map(lambda a: a[0], split(stage.state)[0])

    def linear(floats: Any) -> Any:
        return split(project(params, join(floats, others), x_t))[0]

    transpose = jax.linear_transpose(linear, read)
    return lambda dgates: transpose(dgates)[0]


def _weights(
    plan: Plan,
    params: Params,
    piece: _Piece,
    stages: list[_Linearised],
    dparams: Params,
    dgates: list[Any],
    douts: list[Any],
) -> tuple[Params, Array | None]:
    """Returns the sum of `dparams` and a chunk's share of it, and dxs: one product a matrix."""
    floats, others = split(params)
    x, dx = split(piece.xs), None

    def add(total: Array, share: Array) -> Array:
        return total + share.astype(total.dtype)

    for n, ((project, update), stage) in enumerate(zip(plan.stages, stages, strict=True)):

        def of_project(pf: Params, xf: Any, project: Any = project, stage: Any = stage) -> Any:
            rows = as_rows((stage.state, join(xf, x[1])))
            return split(project(join(pf, others), *rows))[0]

        dp, dx_n = jax.vjp(of_project, floats, x[0])[1](as_rows(dgates[n]))
        dx = dx_n if dx is None else jax.tree.map(jnp.add, dx, dx_n)
        dparams = jax.tree.map(add, dparams, dp)
        if plan.traits.reads[n]:  # peepholes, scales, the shift of a layer norm: all in one sweep

            def of_update(pf: Params, update: Any = update, stage: Any = stage) -> Any:
                at_one_step = functools.partial(update, join(pf, others))
                return split(jax.vmap(at_one_step)(stage.state, stage.gates))[0]

            dout = (douts[n], piece.dys) if n + 1 == len(stages) else douts[n]
            (dp,) = jax.vjp(of_update, floats)[1](dout)
            dparams = jax.tree.map(add, dparams, dp)
    return dparams, dx
