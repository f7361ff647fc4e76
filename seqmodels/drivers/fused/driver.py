"""Backpropagation through time with a derived, fused backward pass, for every cell in stages.

The forward pass is a scan that keeps the states (and, on request, the gates). The backward pass
walks over chunks of K steps. In a chunk the local Jacobians of every `update` are taken for all
steps at once; then an inner scan carries the cotangent of the state from step to step, which costs
one product with the transposed recurrent matrices and a few multiply-adds; then the gradient of
every matrix is one large product over the K * B rows of the chunk. Autodiff of a scan makes T small
products instead, and reads and writes an accumulator of the size of the weights at each.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from seqmodels.cells.stages import check_size, reset_state
from seqmodels.drivers import scan
from seqmodels.drivers.contract import filled, select, vary_like, zero_unless
from seqmodels.drivers.fused.backward import Cotangents, Inputs, Kept, Plan, backward
from seqmodels.drivers.reshape import chunk_size, merge_batch, split_batch
from seqmodels.drivers.stage_analysis import join, part, read_traits, require_stages
from seqmodels.types import Array, Cell, Contract, Driver, Info, Params, State, Unrolled

# K. On two CPU cores 16 and 64 train within 5 % of it at (T,B,D,H) = (1024,64,32,64), 8 is 13 %
# slower.
CHUNK = 32
# Parameters. An LSTM of H = 512 trains 13 % faster with its gates kept, of H = 256 5 %; at H = 128
# it makes no difference.
SAVE_FROM = 2**18


def fused(*, chunk: int = CHUNK, save: bool | None = None) -> Driver:
    """Returns the driver with the fused backward pass; values and gradients are those of `scan`.

    It serves cells in stages (`sm.make_cell`). Forward mode (`jax.jvp`) raises TypeError; second
    derivatives by reverse over reverse work.

    Args:
      chunk: K, about how many steps the backward pass takes together. Where K does not divide T, a
        divisor of T near to it is taken if there is one.
      save: whether the forward pass keeps the gates; otherwise they are computed again by one
        product a chunk, which takes half the memory. None: whether the parameters are so many that
        the product costs more than the memory traffic that it spares.

    Returns:
      A `Driver`.

    Raises:
      ValueError: if `chunk` is not a positive integer, or `save` not True, False or None.
    """
    check_size("fused", chunk=chunk)
    if not (save is None or isinstance(save, bool)):
        raise ValueError(f"fused: save: got {save!r}, expected True, False or None")
    return Driver("fused", _run, (("chunk", int(chunk)), ("save", save)))


def _run(
    cell: Cell,
    params: Params,
    xs: Array,
    state: State,
    contract: Contract,
    keep_states: bool,
    *,
    chunk: int,
    save: bool | None,
) -> Unrolled:
    require_stages("fused", cell)
    fresh = None if contract.resets is None else reset_state(cell, params, state)
    K = chunk_size(xs.shape[0], chunk)
    if save is None:
        save = saving_pays(params)
    full = run_fused(cell, params, xs, state, fresh, contract, keep_states, chunk=K, save=save)
    return full._replace(info=Info("fused", plan=f"chunk={K}, save={save}"))


def saving_pays(params: Params) -> bool:
    """Returns whether keeping the gates is expected to be faster than computing them again."""
    return sum(leaf.size for leaf in jax.tree.leaves(params)) >= SAVE_FROM


def run_fused(
    cell: Cell,
    params: Params,
    xs: Array,
    state: State,
    fresh: State,
    contract: Contract,
    keep_states: bool,
    *,
    chunk: int,
    save: bool,
) -> Unrolled:
    """Unrolls a cell in stages; `fresh` is what replaces the state at a reset.

    Raises:
      TypeError: as `read_traits` does.
    """
    if xs.shape[0] == 0:
        return scan.run(cell, params, xs, state, contract, keep_states)
    state_leaves = jax.tree.leaves(state)
    fresh_leaves = state_leaves if fresh is None else jax.tree.leaves(fresh)
    fixed = tuple(a is b for a, b in zip(state_leaves, fresh_leaves, strict=True))
    varying = (xs, state, params, contract.valid, contract.resets)
    # What goes into the custom derivative varies alike, so that every cotangent in it does too; it
    # is the cast out here that sums over the devices what belongs to replicated parameters.
    params, xs, state, fresh = (vary_like(a, *varying) for a in (params, xs, state, fresh))
    num_axes = xs.ndim - 1 - cell.x_ndim
    batch_shape = xs.shape[1 : 1 + num_axes]
    valid, resets = merge_batch((contract.valid, contract.resets), 1, num_axes)
    xs = merge_batch(xs, 1, num_axes)
    state, fresh = merge_batch((state, fresh), 0, num_axes)
    xs = filled(valid, xs)
    x_t = jax.ShapeDtypeStruct(xs.shape[1:], xs.dtype)
    traits = read_traits(cell, params, state, x_t, fixed)
    plan = Plan(cell.stages, traits, chunk, save, contract.reverse, keep_states)
    state, constants = part(state, traits.constant)
    if fresh is not None:
        fresh, _ = part(fresh, traits.constant)
    inputs = Inputs(params, xs, state, constants, fresh, valid, resets)
    final_state, ys, states = _with_gradient(plan, inputs)
    if keep_states:
        states = join(states, jax.tree.map(lambda a: _repeat(a, xs.shape[0]), constants))
        states = split_batch(states, 1, batch_shape)
    return Unrolled(
        final_state=split_batch(join(final_state, constants), 0, batch_shape),
        ys=split_batch(zero_unless(valid, ys), 1, batch_shape),
        states=states,
        info=Info("fused"),
    )


def _repeat(a: Array, num_steps: int) -> Array:
    return jnp.broadcast_to(a, (num_steps, *a.shape))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _with_gradient(plan: Plan, inputs: Inputs) -> tuple[State, Any, State]:
    final_state, ys, kept = _forward(plan, inputs, plan.keep_states, save=False)
    return final_state, ys, kept.states


def _forward_rule(plan: Plan, inputs: Inputs) -> tuple[Any, tuple[Inputs, Kept]]:
    final_state, ys, kept = _forward(plan, inputs, True, save=plan.save)
    states = kept.states if plan.keep_states else None
    return (final_state, ys, states), (inputs, kept)


def _backward_rule(plan: Plan, saved: tuple[Inputs, Kept], cotangents: Any) -> tuple[Inputs]:
    inputs, kept = saved
    floats = jax.tree.map(lambda d: None if d.dtype == jax.dtypes.float0 else d, cotangents)
    return (backward(plan, inputs, kept, Cotangents(*floats)),)


_with_gradient.defvjp(_forward_rule, _backward_rule)


def _forward(
    plan: Plan, inputs: Inputs, keep_states: bool, *, save: bool
) -> tuple[State, Any, Kept]:
    """Returns (final_state, ys, what is kept); ys is not zeroed in the padding."""
    params, xs, state, constants, fresh, valid, resets = inputs
    aliases = plan.traits.alias if keep_states else (None,) * len(plan.traits.alias)
    structure: list[Any] = []

    def body(state: State, inputs_t: Any) -> tuple[State, Any]:
        x_t, valid_t, reset_t = inputs_t
        mid: Any = join(select(reset_t, fresh, state), constants)
        gates = []
        for project, update in plan.stages:
            gates.append(project(params, mid, x_t))
            mid = update(params, mid, gates[-1])
        new, y_t = mid
        left, _ = part(new, plan.traits.constant)
        left = left if valid_t is None else select(valid_t, left, state)
        y_leaves, y_structure = jax.tree.flatten(y_t)
        structure.append(y_structure)
        # An output that is a leaf of the state is not written twice.
        own = [leaf for leaf, alias in zip(y_leaves, aliases, strict=True) if alias is None]
        return left, (own, left if keep_states else None, gates if save else None)

    final_state, (own, states, gates) = lax.scan(
        body, state, (xs, valid, resets), reverse=plan.reverse
    )
    rest = iter(own)
    kept_leaves = jax.tree.leaves(states, is_leaf=lambda a: a is None)
    ys = [next(rest) if alias is None else kept_leaves[alias] for alias in aliases]
    return final_state, structure[0].unflatten(ys), Kept(states, gates)
