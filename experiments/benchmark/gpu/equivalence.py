"""Checks of a driver against scan in float32: values, gradients, final state."""

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import seqmodels as sm
from experiments.benchmark import ours
from experiments.benchmark.cases import Shape
from seqmodels.types import Array, Cell, Driver

# Of the norm of a difference over the norm of the reference, the largest of all arrays. Factors of
# TF32 have 10 bits of mantissa and those of bfloat16 have 7. On a CPU, at 130 steps, float32 is off
# by at most 6e-7 and bfloat16 by 4e-3.
TOLERANCES = {"float32": 1e-4, "tf32": 1e-2, "bfloat16": 2e-2}


def differences(cell_name: str, method: str, precision: str, shape: Shape) -> dict[str, float]:
    """Returns the relative errors of a driver on padded rows, one of them of length 0.

    The padding holds NaN. Rows are reset at random, but for cudnn, which has no resets.

    Args:
      cell_name: the cell name of the catalog.
      method: a driver.
      precision: the precision of the driver; the reference is scan in float32.
      shape: T, B, D, H.

    Returns:
      The relative errors by the names values, gradients (of parameters and inputs) and final_state.
      Each is the norm of the difference / the norm of the reference, the largest over the arrays;
      inf if it is not finite.
    """
    random = np.random.default_rng(0)
    T, B = shape[:2]
    lengths = np.concatenate([[0, T, 1], random.integers(1, T + 1, B)])[:B].astype(np.int32)
    xs = random.standard_normal(shape[:3], np.float32)
    xs[np.arange(T)[:, None] >= lengths] = np.nan
    contract: dict[str, Any] = {"lengths": jnp.asarray(lengths)}
    if method != "cudnn":
        contract["resets"] = jnp.asarray(random.random((T, B)) < 0.05)
    cell, params = ours.make(cell_name, shape.D, shape.H)
    params = jax.tree.map(jnp.asarray, params)
    with _products("float32"):
        expected = jax.jit(_results(cell, "scan", contract))(params, xs)
    low = ours.make(cell_name, shape.D, shape.H, precision)[0]
    driver = ours.driver(method, precision=precision)
    with _products(precision):
        got = jax.jit(_results(low, driver, contract))(params, xs)
    return {name: _error(got[name], expected[name]) for name in expected}


def _results(cell: Cell, method: str | Driver, contract: dict[str, Any]) -> Any:
    def loss(params: Any, xs: Array) -> tuple[Array, Any]:
        final_state, ys = sm.unroll(cell, params, xs, method=method, **contract)
        # The final state has a cotangent too.
        squares = [jnp.sum(jnp.abs(leaf) ** 2) for leaf in jax.tree.leaves((ys, final_state))]
        total = jnp.sum(jnp.stack([square.astype(jnp.float32) for square in squares]))
        return total, (ys, final_state)

    def results(params: Any, xs: Array) -> dict[str, Any]:
        gradients, (ys, final_state) = jax.grad(loss, (0, 1), has_aux=True)(params, xs)
        return {"values": ys, "gradients": gradients, "final_state": final_state}

    return results


def _products(precision: str) -> contextlib.AbstractContextManager[Any]:
    names = {"float32": "float32", "tf32": "tensorfloat32"}
    return jax.default_matmul_precision(names[precision]) if precision in names else _default()


def _default() -> contextlib.AbstractContextManager[Any]:
    return contextlib.nullcontext()


def _error(got: Any, expected: Any) -> float:
    """Returns the largest relative error of the arrays of a tree; inf for what is not finite."""
    errors = [0.0]
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        a, b = (np.asarray(x, complex if np.iscomplexobj(x) else float) for x in (a, b))
        norm = float(np.linalg.norm(b.ravel()))
        error = float(np.linalg.norm((a - b).ravel())) / (norm or 1.0)
        errors.append(error if np.isfinite(error) else np.inf)
    return max(errors)
