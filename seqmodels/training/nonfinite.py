"""Error messages for non-finite losses and gradients: location, history, advice."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from seqmodels.training.steps import StepMetrics

LAST_NORMS = 5


class NonFiniteError(ArithmeticError):
    """A loss or gradient is NaN or infinite; the message is one line."""


def first_non_finite(metrics: StepMetrics) -> tuple[int, ...] | None:
    """Returns the index of the first step, and seed, whose loss or gradient is not finite.

    Args:
      metrics: NumPy arrays, finite (K,) or (K, S).

    Returns:
      (step,) or (step, seed), counted from the first of these steps; None if all are finite.
    """
    bad = np.argwhere(~metrics.finite)
    return tuple(map(int, bad[0])) if len(bad) else None


def describe_non_finite(
    metrics: StepMetrics,
    bad: tuple[int, ...],
    names: Sequence[str],
    *,
    step: int,
    before: Sequence[float] = (),
    data: str | None = None,
) -> str:
    """Returns one line: the step, the parameters concerned, the norms that led there, and advice.

    Args:
      metrics: NumPy arrays with a leading axis of steps.
      bad: the result of `first_non_finite`.
      names: the names of the leaves of the parameters.
      step: number of the first of these steps, counted from 1.
      before: gradient norms of the steps before these, the latest last.
      data: the non-finite entry of the batch, such as "xs[3, 0, 1] is nan"; None if all are finite.

    Returns:
      The line.
    """
    at, seed = bad[0], bad[1:]
    norms = [*before, *metrics.grad_norm[: at + 1][(slice(None), *seed)].tolist()]
    broken = [
        name
        for name, norm in zip(names, metrics.leaf_norms[at][seed], strict=True)
        if not np.isfinite(norm)
    ]
    shown = ", ".join(broken[:3]) + (f" and {len(broken) - 3} more" if len(broken) > 3 else "")
    where = f" of training {seed[0] + 1} of {metrics.finite.shape[1]}" if seed else ""
    return (
        f"step {step + at}{where}: loss {metrics.loss[bad]:.3g}, gradient not finite in "
        f"{shown or 'no leaf'}; gradient norms of the last steps: "
        f"{', '.join(f'{norm:.3g}' for norm in norms[-LAST_NORMS:])}; {_advice(norms[:-1], data)}"
    )


def _advice(norms: Sequence[float], data: str | None) -> str:
    if data is not None:
        return f"the batch is not finite: {data}; correct the data"
    grown = len(norms) > 1 and norms[-1] > 10 * np.median(norms)
    if grown:
        return "the gradient grew before: clip it to a smaller norm, or lower the learning rate"
    return "lower the learning rate, or leave such updates out"


def find_non_finite(tree: Any) -> str | None:
    """Returns where a pytree first holds a NaN or an infinity, for an error message.

    Args:
      tree: a pytree of arrays or numbers; leaves that are not floating or complex are ignored.

    Returns:
      A text such as `xs[3, 7, 0] is nan` for the field `xs` of a NamedTuple, or
      `batch['x'][2] is inf` for a dictionary. None if all numbers are finite.
    """
    for path, leaf in jax.tree.leaves_with_path(tree):
        if not jax.dtypes.issubdtype(getattr(leaf, "dtype", type(leaf)), np.inexact):
            continue
        array = np.asarray(leaf)
        finite = np.isfinite(array)
        if finite.all():
            continue
        # The first in the order of memory; argmin of booleans stops at the first False.
        index = np.unravel_index(np.argmin(finite), array.shape)
        name = jax.tree_util.keystr(path)
        name = name[1:] if name.startswith(".") else f"batch{name}"
        where = ", ".join(str(int(number)) for number in index)
        return f"{name}{f'[{where}]' if where else ''} is {array[index]}"
    return None
