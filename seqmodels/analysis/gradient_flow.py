"""Gradient norms of a score with respect to the states of earlier steps."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqmodels.cells.stages import new_state
from seqmodels.drivers.contract import check_xs
from seqmodels.pytrees import is_float, match_varying_axes
from seqmodels.types import Array, Cell, Params, State


def state_gradient_norms(
    cell: Cell, params: Params, xs: Array, score: Callable[[Array], Array]
) -> Array:
    """Returns the norm of d score / d s for the state s that enters each step.

    A product of Jacobians, one a step: it vanishes or explodes with the distance to where the score
    is read. Hochreiter 1991; Pascanu, Mikolov, Bengio 2013 (arXiv 1211.5063). The real and the
    imaginary part of a complex state count as two numbers. Inputs and states of low precision are
    computed in float32.

    A call outside of jit compiles once for a cell and its shapes; make the cell once and pass the
    same object to every call.

    Args:
      cell: a cell that can take one step.
      params: its parameters.
      xs: inputs (T, *batch, D), floating or integers.
      score: `score(ys) -> scalar`, a sum over the batch of one score a sequence; ys (T, *batch, H).

    Returns:
      Norms (T, *batch), at least float32: over all real and complex leaves of the state together.

    Raises:
      ValueError: if xs has too few axes, or the score is not one real number.

    Examples:
      >>> import seqmodels as sm
      >>> cell, xs = sm.lru(3, 4), jnp.ones((5, 2, 3))
      >>> params = cell.init(jax.random.key(0))
      >>> state_gradient_norms(cell, params, xs, lambda ys: jnp.sum(ys[-1])).shape
      (5, 2)
    """
    xs = _widen(check_xs(cell, xs))
    batch_shape = xs.shape[1 : xs.ndim - cell.x_ndim]
    state = _widen(new_state(cell, params, batch_shape, None))
    state = match_varying_axes(state, params, xs, state)
    # In shard_map the gradient of what is the same on every device is summed over the devices.
    nudges = match_varying_axes(_nudges(state, len(xs), len(batch_shape)), params, xs)
    run = _outputs_of(cell)
    ys, pull_back = jax.vjp(lambda nudges: run(params, xs, state, nudges), nudges)
    value, pull_score = jax.vjp(score, ys)
    if jnp.shape(value) or not jnp.issubdtype(jnp.result_type(value), jnp.floating):
        got = f"{jnp.result_type(value)}{list(jnp.shape(value))}"
        raise ValueError(f"score: got {got}, expected one real number")
    (gradients,) = pull_back(*pull_score(jnp.ones_like(value)))
    if not gradients:
        return jnp.zeros((len(xs), *batch_shape))
    return _norms(gradients)


def _widen(tree: Any) -> Any:
    """Returns floating leaves in at least float32."""

    def widen(leaf: Array) -> Array:
        if not is_float(leaf):
            return leaf
        return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))

    return jax.tree.map(widen, tree)


def _nudges(state: State, num_steps: int, num_axes: int) -> list[Array]:
    """Returns zeros (T, *batch, n), one array for the n real numbers of each leaf of the state."""
    zeros = []
    for leaf in filter(is_float, jax.tree.leaves(state)):
        size = math.prod(leaf.shape[num_axes:]) * (2 if jnp.iscomplexobj(leaf) else 1)
        zeros.append(jnp.zeros((num_steps, *leaf.shape[:num_axes], size), leaf.real.dtype))
    return zeros


def _nudged(state: State, nudges: list[Array]) -> State:
    """Returns the state plus the nudges of one step."""
    parts = iter(nudges)

    def move(leaf: Array) -> Array:
        if not is_float(leaf):
            return leaf
        part = next(parts)
        if jnp.iscomplexobj(leaf):
            part = jax.lax.complex(*jnp.split(part, 2, axis=-1))
        return leaf + part.reshape(leaf.shape)

    return jax.tree.map(move, state)


@functools.lru_cache(maxsize=16)
def _outputs_of(cell: Cell) -> Callable[..., Any]:
    """Returns `run(params, xs, state, nudges) -> ys`, compiled, ys in at least float32.

    The nudges are zero and enter with the state, so one backward pass gives the gradient with
    respect to the state of every step.
    """

    @jax.jit
    def run(params: Params, xs: Array, state: State, nudges: list[Array]) -> Any:
        def body(state: State, inputs: tuple[Array, list[Array]]) -> tuple[State, Any]:
            x_t, nudges_t = inputs
            new, y_t = cell.step(params, _nudged(state, nudges_t), x_t)
            return jax.tree.map(lambda a, b: a.astype(b.dtype), new, state), y_t

        return _widen(jax.lax.scan(body, state, (xs, nudges))[1])

    return run


@jax.jit
def _norms(gradients: list[Array]) -> Array:
    flat = jnp.concatenate(gradients, axis=-1)
    # Divided by the largest first: a square leaves the range of float32 long before its root.
    largest = jnp.max(jnp.abs(flat), axis=-1, keepdims=True, initial=0)
    safe = jnp.where(largest > 0, largest, 1)
    return largest[..., 0] * jnp.linalg.norm(flat / safe, axis=-1)
