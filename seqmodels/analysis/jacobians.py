"""Products of step Jacobians along a sequence: singular values and Lyapunov exponents.

The Jacobian of step t is d s_t / d s_tm1, over all floating-point numbers of the state; complex
ones count as two. No Jacobian is kept. A scan over time carries the product of all Jacobians so far
with a matrix, and each linearized step moves its columns forward.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.analysis.nudges import make_contract
from seqmodels.cells.stages import check_size, new_state
from seqmodels.drivers.contract import check_state, fill_padding, tree_where
from seqmodels.pytrees import is_float, match_varying_axes, widen
from seqmodels.types import Array, Cell, Contract, Params, State


class JacobianProduct(NamedTuple):
    """The matrix d s_T / d s_0 of each sequence, exp(log_scale) * matrix.

    Attributes:
      matrix: (*batch, n, n) of norm 1 (Frobenius), n the real numbers of the state.
      log_scale: (*batch), -inf for a product of zero.
    """

    matrix: Array
    log_scale: Array

    @property
    def log_singular_values(self) -> Array:
        """Logarithms (*batch, n), descending.

        Values below the largest by more than the precision of the matrix, 1e-7 in float32, are
        noise.
        """
        values = jnp.linalg.svd(self.matrix, compute_uv=False)
        return jnp.log(values) + self.log_scale[..., None]


def jacobian_product(
    cell: Cell,
    params: Params,
    xs: Array,
    state: State | None = None,
    *,
    lengths: Any = None,
    mask: Any = None,
) -> JacobianProduct:
    """Returns the product of the Jacobians of all steps, d s_T / d s_0.

    It maps a small change of the first state to the change of the last one. Its largest singular
    value bounds the growth of a gradient from the last step to the first.

    Args:
      cell: a cell that can take one step, such as a stack.
      params: its parameters.
      xs: inputs (T, *batch, D).
      state: the first state, leaves (*batch, ...); None for the cell's own.
      lengths: int (*batch); the product ends at the last valid step.
      mask: bool (T, *batch); a masked step counts as the identity.

    Raises:
      ValueError: if an argument has a wrong shape.
      TypeError: if the cell cannot take one step.

    Examples:
      >>> cell = sm.rnn(1, 3, w_h_init=sm.initializers.identity(0.5))
      >>> product = jacobian_product(cell, cell.init(jax.random.key(0)), jnp.zeros((10, 1)))
      >>> bool(jnp.allclose(product.log_singular_values, 10 * jnp.log(0.5), atol=1e-4))
      True
    """
    arrays, flat = _prepare(cell, params, xs, state, lengths=lengths, mask=mask)
    size = flat.shape[-1]
    columns = jnp.broadcast_to(jnp.eye(size, dtype=flat.dtype), (*flat.shape[:-1], size, size))
    return _compiled(cell, _multiply)(arrays, columns, 0)


def lyapunov_exponents(
    cell: Cell,
    params: Params,
    xs: Array,
    state: State | None = None,
    *,
    lengths: Any = None,
    mask: Any = None,
    num_exponents: int | None = None,
    warmup: int = 0,
) -> Array:
    """Returns the Lyapunov exponents of each sequence by the QR method.

    Exponent k is the mean over the steps of log |r_kk|, where J_t Q_tm1 = Q_t R_t. The first one is
    the rate at which two close states separate, by a factor of exp(exponent) per step. It is
    negative for a network that forgets its state, and positive for a chaotic one. Its error falls
    as 1 / T; `warmup` leaves out the steps in which Q turns to the fastest directions. For a batch,
    take the mean of the result.

    Benettin, Galgani, Giorgilli, Strelcyn 1980, Meccanica 15; Engelken, Wolf, Abbott 2023,
    "Lyapunov spectra of chaotic recurrent neural networks" (arXiv 2006.02427).

    Args:
      cell: a cell that can take one step, such as a stack.
      params: its parameters.
      xs: inputs (T, *batch, D); zeros for the autonomous network.
      state: the first state, leaves (*batch, ...); None for the cell's own.
      lengths: int (*batch).
      mask: bool (T, *batch).
      num_exponents: the number of exponents, the largest first; None: all n. Fewer cost less.
      warmup: valid steps that do not count.

    Returns:
      Exponents (*batch, num_exponents), nearly descending; -inf for directions that a step drops,
      NaN for a sequence without steps that count.

    Raises:
      ValueError: if an argument has a wrong shape or range.
      TypeError: if the cell cannot take one step.

    Examples:
      >>> cell = sm.rnn(1, 3, w_h_init=sm.initializers.identity(0.5))
      >>> params = cell.init(jax.random.key(0))
      >>> exponents = lyapunov_exponents(cell, params, jnp.zeros((20, 2, 1)))
      >>> exponents.shape, bool(jnp.allclose(exponents, jnp.log(0.5), atol=1e-4))
      ((2, 3), True)
    """
    arrays, flat = _prepare(cell, params, xs, state, lengths=lengths, mask=mask)
    size = flat.shape[-1]
    count = size if num_exponents is None else num_exponents
    for name, number, low, high in (
        ("num_exponents", count, 1, size),
        ("warmup", warmup, 0, math.inf),
    ):
        is_number = hasattr(number, "__index__") and not isinstance(number, bool)
        if not is_number or not low <= number <= high:
            limit = "or more" if high == math.inf else f"to {high}"
            raise ValueError(f"{name}: got {number!r}, expected an integer, {low} {limit}")
    # Random directions, so that no symmetry of the cell favors one.
    draw = jax.random.normal(jax.random.key(0), (size, count), flat.dtype)
    columns = jnp.broadcast_to(jnp.linalg.qr(draw)[0], (*flat.shape[:-1], size, count))
    return _compiled(cell, _orthogonalize)(arrays, columns, warmup)


class _Arrays(NamedTuple):
    params: Params
    xs: Array
    state: State
    valid: Array | None


def _prepare(
    cell: Cell, params: Params, xs: Any, state: State | None, *, lengths: Any, mask: Any
) -> tuple[_Arrays, jax.ShapeDtypeStruct]:
    """Returns the arguments and the shape (*batch, n) of the state as real numbers."""
    contract: Contract
    xs, contract = make_contract(cell, xs, lengths=lengths, mask=mask)
    batch_shape = xs.shape[1 : xs.ndim - cell.x_ndim]
    if state is None:
        state = new_state(cell, params, batch_shape, None)
    else:
        state = check_state(cell, params, jax.tree.map(jnp.asarray, state), batch_shape)
    state = widen(state)
    state = match_varying_axes(state, params, xs, state)
    flat = jax.eval_shape(functools.partial(_flatten, num_axes=len(batch_shape)), state)
    return _Arrays(params, xs, state, contract.valid), flat


def _flatten(state: State, num_axes: int) -> Array:
    """Returns the real numbers of the state as (*batch, n)."""
    parts = []
    for leaf in filter(is_float, jax.tree.leaves(state)):
        # Not -1 for the size, which a batch of 0 leaves open.
        rows = leaf.reshape((*leaf.shape[:num_axes], math.prod(leaf.shape[num_axes:])))
        parts += [rows.real, rows.imag] if jnp.iscomplexobj(rows) else [rows]
    if not parts:
        raise ValueError("state: got a state without floating-point numbers")
    return jnp.concatenate(parts, axis=-1)


def _unflatten(flat: Array, like: State) -> State:
    """Returns a state of these real numbers, with the leaves of `like` that are not floating."""
    position = 0

    def take(leaf: Array, dtype: Any) -> Array:
        nonlocal position
        size = math.prod(leaf.shape[flat.ndim - 1 :])
        part = flat[..., position : position + size]
        position += size
        return part.reshape(leaf.shape).astype(dtype)

    def one(leaf: Array) -> Array:
        if not is_float(leaf):
            return leaf
        if jnp.iscomplexobj(leaf):
            real = leaf.real.dtype
            return jax.lax.complex(take(leaf, real), take(leaf, real))
        return take(leaf, leaf.dtype)

    return jax.tree.map(one, like)


Reduce = Callable[[Array], tuple[Array, Array]]


@functools.lru_cache(maxsize=16)
def _compiled(cell: Cell, finish: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the compiled function that moves columns (*batch, n, k) through all steps."""

    @jax.jit
    def run(arrays: _Arrays, columns: Array, warmup: Any) -> Any:
        return finish(functools.partial(_scan, cell, arrays), columns, warmup)

    return run


def _scan(
    cell: Cell, arrays: _Arrays, columns: Array, *, reduce: Reduce, first: Array, warmup: Any
) -> tuple[Array, Array, Array]:
    """Moves columns through all steps.

    Returns:
      (columns, sums of what `reduce` returns after the warm-up, number of valid steps).
    """
    num_axes = columns.ndim - 2

    def body(carry: Any, inputs: Any) -> tuple[Any, None]:
        state, columns, total, lost, taken = carry
        x_t, valid_t = inputs

        def step(flat: Array) -> tuple[Array, State]:
            new, _ = cell.step(arrays.params, _unflatten(flat, state), x_t)
            new = jax.tree.map(lambda a, b: a.astype(b.dtype), new, state)
            return _flatten(new, num_axes), new

        _, push, new = jax.linearize(step, _flatten(state, num_axes), has_aux=True)
        moved = jnp.moveaxis(jax.vmap(push)(jnp.moveaxis(columns, -1, 0)), 0, -1)
        moved, part = reduce(moved)
        counts = taken >= warmup if valid_t is None else valid_t & (taken >= warmup)
        counts = jnp.broadcast_to(counts, taken.shape)
        total, lost = tree_where(counts, _add(total, lost, part), (total, lost))
        taken = taken + (1 if valid_t is None else valid_t.astype(taken.dtype))
        if valid_t is not None:
            new, moved = tree_where(valid_t, (new, moved), (state, columns))
        return (new, moved, total, lost, taken), None

    taken = jnp.zeros(columns.shape[:-2], jnp.int32)
    carry = match_varying_axes((columns, first, jnp.zeros_like(first), taken), arrays)
    xs = fill_padding(arrays.valid, arrays.xs)
    (_, columns, total, _, taken), _ = jax.lax.scan(
        body, (arrays.state, *carry), (xs, arrays.valid)
    )
    return columns, total, taken


def _add(total: Array, lost: Array, part: Array) -> tuple[Array, Array]:
    """Returns total + part and its rounding error (Kahan summation).

    A plain sum of equal terms in float32 is off by up to half a unit in its last place per step.
    """
    part = part - lost
    new = total + part
    return new, jnp.where(jnp.isfinite(new), (new - total) - part, 0)


def _multiply(scan: Callable[..., Any], columns: Array, warmup: Any) -> Any:
    """Returns the `JacobianProduct`."""

    def normalize(moved: Array) -> tuple[Array, Array]:
        # The root of a sum of squares of numbers that may be tiny.
        largest = jnp.max(jnp.abs(moved), axis=(-2, -1), keepdims=True)
        scaled = moved / jnp.where(largest > 0, largest, 1)
        norm = jnp.sqrt(jnp.sum(scaled**2, axis=(-2, -1), keepdims=True))
        scaled = scaled / jnp.where(norm > 0, norm, 1)
        return scaled, (jnp.log(largest) + jnp.log(jnp.where(norm > 0, norm, 1)))[..., 0, 0]

    norm = jnp.sqrt(jnp.asarray(columns.shape[-1], columns.dtype))
    first = jnp.full(columns.shape[:-2], jnp.log(norm))
    matrix, log_scale, _ = scan(columns / norm, reduce=normalize, first=first, warmup=warmup)
    return JacobianProduct(matrix, log_scale)


def _orthogonalize(scan: Callable[..., Any], columns: Array, warmup: Any) -> Any:
    """Returns the Lyapunov exponents."""

    def factor(moved: Array) -> tuple[Array, Array]:
        q, r = jnp.linalg.qr(moved)
        return q, jnp.log(jnp.abs(jnp.diagonal(r, axis1=-2, axis2=-1)))

    first = jnp.zeros((*columns.shape[:-2], columns.shape[-1]), columns.dtype)
    _, total, taken = scan(columns, reduce=factor, first=first, warmup=warmup)
    counted = (taken - warmup)[..., None]
    return jnp.where(counted > 0, total / counted, jnp.nan)


def spectral_radius(matrix: Any, squarings: int = 20) -> Array:
    """Returns the largest absolute value of the eigenvalues, by repeated squaring.

    rho = lim |A^m|^(1/m) with m = 2^squarings (Gelfand 1941). Unlike a solver for eigenvalues of
    matrices that are not symmetric it runs on any device.

    Args:
      matrix: (..., n, n), computed in at least float32.
      squarings: products of two matrices, one or more; the error is about log(c) / 2^squarings,
        where c is the condition number of the eigenvectors.

    Returns:
      (...), 0 for a nilpotent matrix.

    Raises:
      ValueError: if the matrix is not square, or `squarings` is not a positive integer.

    Examples:
      >>> round(float(spectral_radius(jnp.array([[0.0, 2.0], [-2.0, 0.0]]))), 4)
      2.0
    """
    check_size("spectral_radius", squarings=squarings)
    matrix = jnp.asarray(matrix)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2] or not matrix.shape[-1]:
        raise ValueError(f"matrix: got shape {matrix.shape}, expected (..., n, n), n > 0")
    matrix = widen(matrix)

    def normalized(power: Array) -> tuple[Array, Array]:
        largest = jnp.max(jnp.abs(power), axis=(-2, -1))
        safe = jnp.where(largest > 0, largest, 1)
        return power / safe[..., None, None], jnp.log(largest)

    def body(number: Any, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        # A^m = exp(m * log_radius) * power with m = 2^number.
        power, log_radius = carry
        power, log_scale = normalized(power @ power)
        return power, log_radius + log_scale / 2.0 ** (number + 1)

    return jnp.exp(jax.lax.fori_loop(0, squarings, body, normalized(matrix))[1])
