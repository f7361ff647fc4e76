"""The sequence contract: masks of valid steps and resets, and the checks of arguments."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqmodels.cells.stages import new_state
from seqmodels.types import Array, Cell, Contract, Params, State


def tree_where(mask: Array | None, if_true: Any, if_false: Any, *, batch_last: bool = False) -> Any:
    """Returns `if_true` where the mask is true, else `if_false`; None means false everywhere.

    The mask's axes are the leading axes of every leaf, or the last ones (`batch_last`). It selects
    and does not multiply, so a NaN that is not selected has no effect.
    """
    if mask is None:
        return if_false

    def pick(a: Array, b: Array) -> Array:
        ones = (1,) * (b.ndim - mask.ndim)
        shape = (*ones, *mask.shape) if batch_last else (*mask.shape, *ones)
        return jnp.where(mask.reshape(shape), a, b)

    return jax.tree.map(pick, if_true, if_false)


def zero_unless(mask: Array | None, tree: Any, *, batch_last: bool = False) -> Any:
    """Returns `tree` where the mask is true, zero elsewhere; None means true everywhere."""
    if mask is None:
        return tree
    return tree_where(mask, tree, jax.tree.map(jnp.zeros_like, tree), batch_last=batch_last)


def hold_last_outputs(contract: Contract, ys: Any) -> Any:
    """Returns outputs in which every masked step repeats the last valid output before it.

    "Before" is meant in the order of processing. The output stays zero in the padding, and at
    masked steps without a valid step before them, or without one since the last reset.

    Args:
      contract: the contract of the call.
      ys: outputs (T, *batch, ...), zero at steps that are not valid.
    """
    if not contract.hold_outputs or contract.valid is None or contract.valid.shape[0] == 0:
        return ys

    def in_order(a: Array) -> Array:
        return jnp.flip(a, 0) if contract.reverse else a

    def last(mask: Array) -> Array:
        """Returns int (T, *batch), the last step up to t where the mask is true, or -1."""
        return jax.lax.cummax(jnp.where(mask, t, -1), axis=0)

    num_steps, num_axes = contract.valid.shape[0], contract.valid.ndim
    t = jnp.arange(num_steps, dtype=jnp.int32).reshape((-1,) + (1,) * (num_axes - 1))
    valid = in_order(contract.valid)
    source = last(valid)
    if contract.resets is not None:
        source = jnp.where(source < last(in_order(contract.resets)), -1, source)
    held = ~valid & (source >= 0)
    padding = valid_steps(contract.lengths, num_steps)
    if padding is not None:
        held = held & in_order(padding)

    def repeat(leaf: Array) -> Array:
        leaf = in_order(leaf)
        index = jnp.maximum(source, 0).reshape(source.shape + (1,) * (leaf.ndim - num_axes))
        return in_order(tree_where(held, jnp.take_along_axis(leaf, index, axis=0), leaf))

    return jax.tree.map(repeat, ys)


def fill_padding(valid: Array | None, xs: Array) -> Array:
    """Returns `xs` with ones where no step is valid.

    The step runs there too, and its result is dropped. Zeros would fail: a norm, a logarithm, a
    root or a quotient has no derivative there, and 0 * NaN would reach the parameters.
    """
    return xs if valid is None else tree_where(valid, xs, jnp.ones_like(xs))


def valid_steps(lengths: Array | None, num_steps: int) -> Array | None:
    """Returns bool (T, *batch), true at the steps t < lengths."""
    if lengths is None:
        return None
    return jnp.arange(num_steps).reshape((-1,) + (1,) * lengths.ndim) < lengths[None]


def check_xs(cell: Cell, xs: Any) -> Array:
    """Returns `xs` as an array (T, *batch, D); ValueError if it has too few axes."""
    try:
        xs = jnp.asarray(xs)
    except (TypeError, ValueError):
        raise ValueError(f"xs: got a {type(xs).__name__}, expected an array") from None
    if xs.ndim < 1 + cell.x_ndim:
        features = ", ".join(["D", "D2", "D3"][: cell.x_ndim])
        raise ValueError(f"xs: got shape {xs.shape}, expected (T, *batch, {features})")
    return xs


def check_lengths(lengths: Any, num_steps: int, batch_shape: tuple[int, ...]) -> Array:
    """Returns `lengths` as an integer array of `batch_shape`; ValueError if it does not fit."""
    if not isinstance(lengths, jax.Array):
        lengths = np.asarray(lengths)
    if lengths.shape == batch_shape and lengths.size == 0:
        lengths = lengths.astype(np.int32)  # an empty list has no integer dtype
    if lengths.shape != batch_shape or not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise ValueError(
            f"lengths: got {lengths.dtype}{list(lengths.shape)}, "
            f"expected integers of shape {list(batch_shape)}"
        )
    if not isinstance(lengths, jax.core.Tracer):
        values = np.asarray(lengths)
        wrong = values[(values < 0) | (values > num_steps)]
        if wrong.size:
            raise ValueError(f"lengths: got {wrong[0]}, expected 0 <= length <= T = {num_steps}")
    return jnp.asarray(lengths)


def check_steps(name: str, steps: Any, shape: tuple[int, ...]) -> Array:
    """Returns `steps` as a bool array of `shape`, (T, *batch); ValueError if it does not fit."""
    steps = jnp.asarray(steps)
    if steps.shape != shape or steps.dtype != jnp.bool_:
        raise ValueError(
            f"{name}: got {steps.dtype}{list(steps.shape)}, expected bool{list(shape)}"
        )
    return steps


def check_key(key: Any) -> Array:
    """Returns `key`; ValueError unless it is one typed PRNG key."""
    if not isinstance(key, jax.Array) or not _is_key(key) or key.shape != ():
        raise ValueError(
            f"key: got {_describe(jnp.asarray(key))}, expected one key of jax.random.key"
        )
    return key


def _is_key(array: Any) -> bool:
    return jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


def check_state(cell: Cell, params: Params, state: State, batch_shape: Sequence[int]) -> State:
    """Returns `state`; ValueError if it does not match the cell.

    A state drawn with a key may differ in structure from one drawn without (dropout). Both match.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    without_key, with_key = (
        jax.eval_shape(lambda p, k: new_state(cell, p, batch_shape, k), params, k)
        for k in (None, key)
    )
    structure: Any = jax.tree.structure(state)
    for expected in (without_key, with_key):
        if structure == jax.tree.structure(expected):
            break
    else:
        raise ValueError(f"state: got {_describe(state)}, expected {_describe(without_key)}")
    given_leaves = jax.tree_util.tree_leaves_with_path(state)
    for (path, given), want in zip(given_leaves, jax.tree.leaves(expected), strict=True):
        both_keys = _is_key(given) and _is_key(want)  # of any implementation
        if given.shape != want.shape or (given.dtype != want.dtype and not both_keys):
            name = jax.tree_util.keystr(path)
            raise ValueError(f"state{name}: got {_describe(given)}, expected {_describe(want)}")
    return state


def check_step(cell: Cell, params: Params, state: State, x_t: Any) -> None:
    """Raises ValueError unless a step returns a state of the same shapes and dtypes."""
    batch_shape = x_t.shape[: len(x_t.shape) - cell.x_ndim]
    _check_leading_axes("state", state, batch_shape)
    given = jax.eval_shape(cell.step, params, state, x_t)
    if not isinstance(given, tuple) or len(given) != 2:
        raise ValueError(f"step: got {_describe(given)}, expected (state, y_t)")
    if _describe(given[0]) != _describe(state):
        raise ValueError(f"step: got the state {_describe(given[0])}, expected {_describe(state)}")
    _check_leading_axes("y_t", given[1], batch_shape)


def _check_leading_axes(name: str, tree: Any, batch_shape: tuple[int, ...]) -> None:
    for leaf in jax.tree.leaves(tree):
        if leaf.shape[: len(batch_shape)] != batch_shape:
            raise ValueError(
                f"{name}: got a leaf {_describe(leaf)}, expected leading axes {list(batch_shape)} "
                "as in xs"
            )


class _Text(str):
    __repr__ = str.__str__


def _describe(tree: Any) -> str:
    return str(jax.tree.map(lambda a: _Text(f"{a.dtype}{list(a.shape)}"), tree))
