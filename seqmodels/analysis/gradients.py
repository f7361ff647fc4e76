"""Gradients through time: norms by state and step, rate of decay, and clipping.

The gradient of a loss at step t with respect to the state at step s is a product of t - s step
Jacobians. It vanishes or explodes with the distance. Hochreiter 1991; Pascanu, Mikolov, Bengio 2013
(arXiv 1211.5063).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.analysis.nudges import Inputs, make_contract, state_gradients
from seqmodels.types import Array, Cell, Params, State


class Decay(NamedTuple):
    """The line of least squares log norm = log scale + distance * log rate.

    Attributes:
      rate: factor of a step, below 1 for gradients that vanish.
      scale: the norm at distance 0 by the fit.
      r_squared: share of the variance of log norm that the line explains, 1 for an exact decay.
    """

    rate: Array
    scale: Array
    r_squared: Array


class Clipping(NamedTuple):
    """Effect of clipping by the global norm.

    Attributes:
      factor: the factor of each gradient, of the shape of the norms; NaN for a norm that is not
        finite.
      share: share of the gradients that are clipped, among those of finite norm, scalar.
      mean_factor: mean of the factors of finite norms, scalar.
    """

    factor: Array
    share: Array
    mean_factor: Array


def state_gradient_norms(
    cell: Cell,
    params: Params,
    xs: Array,
    score: Callable[[Array], Array],
    *,
    state: State | None = None,
    lengths: Any = None,
    mask: Any = None,
    resets: Any = None,
    reverse: bool = False,
) -> Array:
    """Returns the norm of d score / d s for the state s that enters each step.

    See `leaf_gradient_norms`, which has one norm for each leaf of the state and for each cell of a
    stack; here all of them count together.

    Args:
      cell: see `leaf_gradient_norms`, and so are all further arguments.
      params: its parameters.
      xs: inputs (T, *batch, D).
      score: `score(ys) -> scalar`.
      state: the first state, or None.
      lengths: int (*batch).
      mask: bool (T, *batch).
      resets: bool (T, *batch).
      reverse: whether time runs from the last step to the first.

    Returns:
      Norms (T, *batch), at least float32.

    Raises:
      ValueError: see `leaf_gradient_norms`.

    Examples:
      >>> cell, xs = sm.rnn(3, 4), jnp.ones((5, 2, 3))
      >>> params = cell.init(jax.random.key(0))
      >>> state_gradient_norms(cell, params, xs, lambda ys: jnp.sum(ys[-1])).shape
      (5, 2)
    """
    xs, contract = make_contract(
        cell, xs, lengths=lengths, mask=mask, resets=resets, reverse=reverse
    )
    gradients, _ = state_gradients(cell, Inputs(params, xs, state, contract), score)
    flat = [leaf for of_cell in gradients for leaf in of_cell]
    return _norms(flat) if flat else jnp.zeros(xs.shape[: xs.ndim - cell.x_ndim])


def leaf_gradient_norms(
    cell: Cell,
    params: Params,
    xs: Array,
    score: Callable[[Array], Array],
    *,
    state: State | None = None,
    lengths: Any = None,
    mask: Any = None,
    resets: Any = None,
    reverse: bool = False,
) -> Any:
    """Returns for each leaf of the state the norm of d score / d s, s the state entering each step.

    So entry t belongs to h_tm1 and c_tm1, after a reset if there is one at t. The gradient through
    all later steps and layers counts. It is exactly zero where no later output that the score
    reads depends on the state, such as before a reset. The real and the imaginary part of a complex
    state count as two numbers. Inputs and states of low precision are computed in float32.

    A call outside of jit compiles once for a cell and its shapes; make the cell once and pass the
    same object to every call.

    Args:
      cell: a cell, a stack, a bidirectional pair or a cell with a residual connection.
      params: its parameters.
      xs: inputs (T, *batch, D), floating or integers.
      score: `score(ys) -> scalar`, a sum over the batch of one score a sequence; ys (T, *batch, H).
      state: the first state, leaves (*batch, ...); None for the cell's own initial state.
      lengths: int (*batch), see `sm.unroll`, and so are the next three.
      mask: bool (T, *batch).
      resets: bool (T, *batch).
      reverse: whether time runs from the last step to the first.

    Returns:
      Norms (T, *batch) by the name of the leaf, such as {"h": ..., "c": ...}, at least float32. For
      a stack a tuple of such dicts, and for a bidirectional pair a `Bidirectional` of two.

    Raises:
      ValueError: if an argument has a wrong shape, or the score is not one real number.

    Examples:
      >>> cell, xs = sm.lstm(3, 4), jnp.ones((5, 2, 3))
      >>> params = cell.init(jax.random.key(0))
      >>> norms = leaf_gradient_norms(cell, params, xs, lambda ys: jnp.sum(ys[-1]))
      >>> {name: norm.shape for name, norm in norms.items()}
      {'h': (5, 2), 'c': (5, 2)}
    """
    xs, contract = make_contract(
        cell, xs, lengths=lengths, mask=mask, resets=resets, reverse=reverse
    )
    gradients, layout = state_gradients(cell, Inputs(params, xs, state, contract), score)
    norms = [[_norms([leaf]) for leaf in of_cell] for of_cell in gradients]

    def named(number: int) -> dict[str, Array]:
        return dict(zip(layout.names[number], norms[number], strict=True))

    return jax.tree.map(named, layout.numbers)


def fit_decay(norms: Any, distances: Any = None, *, valid: Any = None) -> Decay:
    """Returns the decay of gradient norms per step, by a line through their logarithms.

    Args:
      norms: (T, *batch); zeros and norms that are not finite are left out.
      distances: (T,), the distance of each norm; None: T - 1, ..., 1, 0, for a score at the last
        step.
      valid: bool (T, *batch) of the norms that count; None: all.

    Returns:
      `Decay`, each (*batch), at least float32; NaN where fewer than two norms count.

    Raises:
      ValueError: if norms have no axis of steps, or other arguments have another shape.

    Examples:
      >>> [round(float(value), 3) for value in fit_decay(3 * 0.5 ** jnp.arange(8.0, 0, -1))]
      [0.5, 1.5, 1.0]
    """
    norms = jnp.asarray(norms)
    norms = norms.astype(jnp.promote_types(norms.dtype, jnp.float32))
    if norms.ndim < 1:
        raise ValueError(f"norms: got {norms}, expected (T, *batch)")
    if distances is None:
        distances = jnp.arange(len(norms) - 1, -1, -1)
    x = jnp.asarray(distances, norms.dtype)
    if x.shape != norms.shape[:1]:
        raise ValueError(f"distances: got shape {x.shape}, expected {norms.shape[:1]}")
    x = x.reshape((-1,) + (1,) * (norms.ndim - 1))
    counts = jnp.isfinite(norms) & (norms > 0)
    if valid is not None:
        valid = jnp.asarray(valid, bool)
        if valid.shape != norms.shape:
            raise ValueError(f"valid: got shape {valid.shape}, expected {norms.shape}")
        counts &= valid
    y = jnp.log(jnp.where(counts, norms, 1))
    number = jnp.sum(counts, axis=0)

    def mean(values: Array) -> Array:
        return jnp.sum(jnp.where(counts, values, 0), axis=0) / number

    x_mean, y_mean = mean(x), mean(y)
    xx, xy = mean((x - x_mean[None]) ** 2), mean((x - x_mean[None]) * (y - y_mean[None]))
    yy = mean((y - y_mean[None]) ** 2)
    slope = xy / xx
    explained = jnp.where(yy > 0, xy * slope / jnp.where(yy > 0, yy, 1), 1.0)
    return Decay(jnp.exp(slope), jnp.exp(y_mean - slope * x_mean), explained + 0 * slope)


def clipping(norms: Any, clip_norm: float) -> Clipping:
    """Returns the effect of clipping at the global norm `clip_norm` on gradients of these norms.

    Args:
      norms: norms before clipping, of any shape, such as `StepMetrics.grad_norm`. A norm that is
        not finite does not count, as in the records of a training.
      clip_norm: the limit; inf: never.

    Raises:
      ValueError: if `clip_norm` is a number that is not positive.

    Examples:
      >>> clipping(jnp.array([0.5, 2.0, 4.0, 1.0]), 1.0).factor.tolist()
      [1.0, 0.5, 0.25, 1.0]
    """
    if isinstance(clip_norm, int | float) and not clip_norm > 0:
        raise ValueError(f"clip_norm: got {clip_norm}, expected a positive number")
    norms = jnp.asarray(norms)
    clipped = norms > clip_norm
    factor = jnp.where(clipped, clip_norm / jnp.where(clipped, norms, 1), 1)
    factor = jnp.where(jnp.isfinite(norms), factor, jnp.nan)
    shares = jnp.where(jnp.isfinite(norms), clipped, jnp.nan)
    return Clipping(factor, jnp.nanmean(shares), jnp.nanmean(factor))


@jax.jit
def _norms(gradients: list[Array]) -> Array:
    flat = jnp.concatenate(gradients, axis=-1)
    # Divided by the largest first: a square leaves the range of float32 long before its root.
    largest = jnp.max(jnp.abs(flat), axis=-1, keepdims=True, initial=0)
    safe = jnp.where(largest > 0, largest, 1)
    return largest[..., 0] * jnp.linalg.norm(flat / safe, axis=-1)
