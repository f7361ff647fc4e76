"""Association of a series of labels with earlier labels of itself or of another series."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from seqmodels.analysis.autocorrelation.inputs import (
    as_array,
    checked_lengths,
    checked_mask,
    float64_context,
    is_traced,
    own_mask,
    whole_number,
)
from seqmodels.types import Array

MEASURES = ("cramers_v", "mutual_information")


class Association(NamedTuple):
    """Association by lag, with p values of a permutation test.

    Attributes:
      lags: int (L,).
      statistic: (*batch, L).
      pvalue: (*batch, L), for each lag separately.
    """

    lags: np.ndarray
    statistic: Array
    pvalue: Array


def lagged_association(
    key: Array,
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    nlags: int = 10,
    measure: str = "cramers_v",
    permutations: int = 999,
    num_categories: int | None = None,
    mask: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    axis: int = -1,
) -> Association:
    """Measures the association of labels k steps apart, for each lag k.

    Among the N pairs (x_{t+k}, y_t) let O_ij be the number of those with labels i, j, and E_ij =
    O_i. O_.j / N. Then V = sqrt(sum (O - E)^2 / E / (N (min(R, C) - 1))), with R and C the number
    of labels that occur on either side. V is 0 without association and 1 if one label determines
    the other. Cramer 1946, "Mathematical Methods of Statistics", chapter 21. Mutual information is
    sum O / N log(O / E), in nats. Shannon 1948, "A mathematical theory of communication".

    Neither is 0 for finitely many independent labels, so the p value comes from a permutation test.
    It is (1 + number of shuffled series with at least this value) / (1 + permutations). Phipson,
    Smyth 2010, "Permutation p-values should never be zero". x is shuffled in time, and so is y if
    it is x. The null hypothesis is that the order of x is random. If both x and y are
    autocorrelated, associations between them are found more often than p states.

    Args:
      key: PRNG key of the shuffles; every series of the batch gets another one.
      x: integer or bool labels (..., n), time along `axis`; negative or masked for missing labels.
      y: the earlier labels, of the shape of x; None: x itself.
      nlags: the largest lag. Lags start at 1 for x itself, at 0 for y.
      measure: "cramers_v" or "mutual_information".
      permutations: their number; 0: no test, p values are 1.
      num_categories: C, all labels are below it; None: determined from the values, which must then
        be concrete. Each number compiles another program.
      mask: as in `acf`, for both.
      lengths: as in `acf`, for both.
      axis: the axis of time.

    Returns:
      An `Association` of float32 (float64 under x64). Inside a transformation some lags are NaN:
      those without pairs, and those whose pairs have one label only on one side, as in a constant
      series.

    Raises:
      ValueError: if labels are not integers or not below num_categories, or if shapes, n or nlags
        do not fit. Also if a lag is undefined for a series of concrete values.

    Examples:
      >>> labels = np.tile([0, 1, 2], 10)  # each label determines the next one
      >>> found = lagged_association(jax.random.key(0), labels, nlags=2, permutations=99)
      >>> found.lags, found.statistic.shape, float(found.statistic[0])
      (array([1, 2]), (2,), 1.0)
    """
    if measure not in MEASURES:
        raise ValueError(f"measure: got {measure!r}, expected one of {', '.join(MEASURES)}")
    labels = {"x": x} if y is None else {"x": x, "y": y}
    arrays = [_labels(name, given, num_categories) for name, given in labels.items()]
    shape = arrays[0].shape
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"axis: got {axis}, expected one of the axes of x {list(shape)}")
    axis = axis % len(shape)
    n = shape[axis]
    if n < 2 or 0 in shape:
        raise ValueError(f"x: got {list(shape)}, expected at least 2 labels along axis {axis}")
    if arrays[-1].shape != shape:
        raise ValueError(f"y: got {list(arrays[-1].shape)}, expected the shape of x {list(shape)}")
    nlags = whole_number("nlags", nlags, 0 if y is not None else 1, n - 1, f", for {n} labels")
    permutations = whole_number("permutations", permutations, 0, 10**9)
    mask = checked_mask(mask, shape)
    lengths = checked_lengths(lengths, n, shape[:axis] + shape[axis + 1 :])
    if num_categories is None:
        num_categories = 1 + max(int(np.max(array)) for array in arrays)
    call = functools.partial(
        _over_series, key, arrays[0], None if y is None else arrays[1], mask, lengths, axis=axis,
        nlags=nlags, measure=measure, permutations=permutations,
        num_categories=max(num_categories, 1), dtype=jnp.zeros((), float).dtype,
    )  # fmt: skip
    lags = np.arange(0 if y is not None else 1, nlags + 1)
    if is_traced(key, *arrays, mask, lengths):
        return Association(lags, *call())
    with jax.ensure_compile_time_eval(), float64_context():
        statistic, pvalue = call()
    if np.any(wrong := np.isnan(statistic)):
        *index, lag = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f"x: got at lag {lags[lag]}{f' of series {index}' if index else ''} fewer than two "
            "labels on one side, expected labels that vary (or fewer lags)"
        )
    return Association(lags, statistic, pvalue)


def _labels(name: str, given: Any, num_categories: int | None) -> Any:
    array = as_array(given)
    if not (jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == bool):
        raise ValueError(
            f"{name}: got {array.dtype}, expected integer labels "
            "(np.unique(labels, return_inverse=True)[1] gives them)"
        )
    if not array.ndim:
        raise ValueError(f"{name}: got a number, expected a series (at least one axis)")
    if is_traced(array):
        if num_categories is None:
            raise ValueError("num_categories: got None, expected a number inside a transformation")
    elif num_categories is not None and array.size and np.max(array) >= num_categories:
        raise ValueError(
            f"{name}: got label {np.max(array)}, expected labels below {num_categories}"
        )
    masked = own_mask(given, None)
    if masked is not None:
        array = np.where(masked, array.astype(np.int64), -1)
    # Wide enough for the number of a pair of labels; int32 suffices for any table in memory.
    return array.astype(jnp.int32)


@functools.partial(
    jax.jit,
    static_argnames=("axis", "nlags", "measure", "permutations", "num_categories", "dtype"),
)
def _over_series(
    key: Array,
    x: Array,
    y: Array | None,
    mask: Array | None,
    lengths: Array | None,
    *,
    axis: int,
    nlags: int,
    measure: str,
    permutations: int,
    num_categories: int,
    dtype: Any,
) -> tuple[Array, Array]:
    x, y, mask = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, axis, -1), (x, y, mask))
    *batch_shape, n = x.shape
    size = math.prod(batch_shape)

    def one(
        key: Array, x: Array, y: Array | None, mask: Array | None, length: Array | None
    ) -> tuple[Array, Array]:
        there = jnp.ones(n, bool) if mask is None else mask
        if length is not None:
            there &= jnp.arange(n) < length
        lags = range(0 if y is not None else 1, nlags + 1)
        measured = functools.partial(
            _measured, lags=lags, measure=measure, num_categories=num_categories
        )
        in_x = there & (x >= 0)
        in_y = in_x if y is None else there & (y >= 0)
        found = measured(x, in_x, x if y is None else y, in_y)
        places = jnp.argsort(~in_x, stable=True)

        def shuffled(key: Array) -> Array:
            # Both lists begin with the valid places, one in order and one at random.
            ranks = jnp.where(in_x, jax.random.uniform(key, (n,), jnp.float32), 2)
            moved = x.at[places].set(x[jnp.argsort(ranks)])
            return measured(moved, in_x, moved if y is None else y, in_y)

        def count(so_far: Array, key: Array) -> tuple[Array, None]:
            # Values that differ only in the last digits are ties.
            return so_far + (shuffled(key) >= found * (1 - 1e-5)), None

        start = jnp.zeros(found.shape, jnp.int32)
        as_good, _ = jax.lax.scan(count, start, jax.random.split(key, permutations))
        pvalue = jnp.where(jnp.isnan(found), jnp.nan, (1 + as_good) / (1 + permutations))
        return found.astype(dtype), pvalue.astype(dtype)

    flat = jax.tree.map(
        lambda leaf: leaf.reshape((size, *leaf.shape[len(batch_shape) :])), (x, y, mask, lengths)
    )
    results = jax.vmap(one)(jax.random.split(key, size), *flat)
    statistic, pvalue = (leaf.reshape((*batch_shape, *leaf.shape[1:])) for leaf in results)
    return statistic, pvalue


def _measured(
    x: Array, in_x: Array, y: Array, in_y: Array, *, lags: range, measure: str,
    num_categories: int
) -> Array:  # fmt: skip
    """Returns the association of x with y a given number of steps earlier."""
    n = x.shape[0]
    back = jnp.array(lags)[:, None]
    now = jnp.arange(n)[None]
    before = jnp.maximum(now - back, 0)
    both = in_x[None] & in_y[before] & (now >= back)
    cells = jnp.where(both, x[None] * num_categories + y[before], num_categories**2)
    tables = jax.vmap(lambda row: jnp.bincount(row, length=num_categories**2 + 1))(cells)
    tables = tables[:, :-1].reshape(-1, num_categories, num_categories).astype(float)
    return jax.vmap(_cramers_v if measure == "cramers_v" else _mutual_information)(tables)


def _expected(table: Array) -> tuple[Array, Array, Array]:
    """Returns (counts of pairs, counts expected under independence, min(R, C) - 1)."""
    rows, columns = jnp.sum(table, axis=1), jnp.sum(table, axis=0)
    pairs = jnp.sum(rows)
    expected = rows[:, None] * columns[None] / jnp.maximum(pairs, 1)
    return pairs, expected, jnp.minimum(jnp.sum(rows > 0), jnp.sum(columns > 0)) - 1


def _cramers_v(table: Array) -> Array:
    pairs, expected, freedom = _expected(table)
    parts = jnp.where(expected > 0, (table - expected) ** 2 / jnp.maximum(expected, 1e-9), 0)
    squared = jnp.sum(parts) / jnp.maximum(pairs * freedom, 1)
    return jnp.where(freedom > 0, jnp.sqrt(squared), jnp.nan)


def _mutual_information(table: Array) -> Array:
    pairs, expected, freedom = _expected(table)
    ratio = jnp.where(table > 0, table, 1) / jnp.where(table > 0, expected, 1)
    nats = jnp.sum(table * jnp.log(ratio)) / jnp.maximum(pairs, 1)
    return jnp.where(freedom > 0, jnp.maximum(nats, 0), jnp.nan)
