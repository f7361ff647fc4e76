"""One line for each mistake in an argument of the analysis."""

import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm
from seqmodels.analysis import (
    Trace,
    fit_decay,
    leaf_gradient_norms,
    lyapunov_exponents,
    mean_interval,
    memory,
    memory_horizon,
    saturation,
    spectral_radius,
    token_table,
)
from seqmodels.analysis.activations import derivatives, profile

ONE = Trace({}, {}, {}, None, {}, jnp.ones((3, 2), bool))


def exponents(**settings):
    params = {"w_x": jnp.ones((1, 2)), "w_h": jnp.eye(2), "b": jnp.zeros(2)}
    cell = sm.Cell(
        lambda key: params, lambda params, shape: jnp.zeros((*shape, 2)), lambda p, s, x: (s, s)
    )
    return lyapunov_exponents(cell, params, jnp.zeros((3, 1)), **settings)


def norms(score):
    cell = sm.Cell(
        lambda key: (), lambda params, shape: jnp.zeros((*shape, 2)), lambda p, s, x: (s, s)
    )
    return leaf_gradient_norms(cell, (), jnp.zeros((3, 1)), score)


MISTAKES = {
    "exponents 0": (
        lambda: exponents(num_exponents=0),
        "num_exponents: got 0, expected an integer, 1 to 2",
    ),
    "exponents 1.5": (
        lambda: exponents(num_exponents=1.5),
        "num_exponents: got 1.5, expected an integer, 1 to 2",
    ),
    "warmup 1.5": (
        lambda: exponents(warmup=1.5),
        "warmup: got 1.5, expected an integer, 0 or more",
    ),
    "no score": (lambda: norms(lambda ys: None), "score: got NoneType, expected one real number"),
    "scores": (lambda: norms(lambda ys: ys[-1]), "score: got float32[2], expected one real number"),
    "matrix": (
        lambda: spectral_radius(jnp.ones((2, 3))),
        "matrix: got shape (2, 3), expected (..., n, n), n > 0",
    ),
    "squarings": (
        lambda: spectral_radius(jnp.eye(2), squarings=0),
        "spectral_radius: squarings: got 0, expected a positive integer",
    ),
    "a norm": (lambda: fit_decay(3.0), "norms: got 3.0, expected (T, *batch)"),
    "distances": (
        lambda: fit_decay([1.0, 2.0], [1, 2, 3]),
        "distances: got shape (3,), expected (2,)",
    ),
    "valid": (
        lambda: fit_decay([1.0, 2.0], valid=[True]),
        "valid: got shape (1,), expected (2,)",
    ),
    "limits": (
        lambda: saturation(ONE, 0.9, 0.1),
        "low: got 0.9 with high 0.1, expected low < high",
    ),
    "trace of a stack": (
        lambda: memory((ONE, ONE)),
        "trace: got a tuple, expected a Trace; of a stack or a pair, one of its entries",
    ),
    "vocabulary": (
        lambda: token_table(ONE, jnp.zeros((3, 2), int), -1),
        "token_table: num_tokens: got -1, expected a positive integer",
    ),
    "descending": (
        lambda: memory_horizon([100, 10], [1.0, 1.0], 0.5),
        "distances: got [100, 10], expected ascending ones",
    ),
    "fewer accuracies": (
        lambda: memory_horizon([10, 100], [0.6], 0.5),
        "accuracies: got 1, expected 2",
    ),
    "two axes": (
        lambda: mean_interval([[1.0, 2.0], [3.0, 4.0]]),  # type: ignore[list-item]
        "values: got shape (2, 2), expected one axis",
    ),
    "confidence": (
        lambda: mean_interval([1.0, 2.0], 95),
        "confidence: got 95, expected a number between 0 and 1",
    ),
    "integers": (
        lambda: derivatives(jnp.tanh, jnp.arange(3)),
        "x: got int32, expected a floating dtype",
    ),
    "reach": (lambda: profile(jnp.tanh, reach=0), "reach: got 0, expected a positive number"),
    "share": (lambda: profile(jnp.tanh, share=2), "share: got 2, expected 0 < share <= 1"),
    "steps": (lambda: profile(jnp.tanh, steps=-1), "steps: got -1, expected at least 0"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_one_line_for_each_mistake(name):
    mistake, line = MISTAKES[name]
    with pytest.raises((TypeError, ValueError)) as error:
        mistake()
    assert str(error.value) == line


def test_low_precision_is_computed_in_float32():
    """bfloat16 has 8 bits: a distance of 257 is not among its numbers."""
    norms = (0.98 ** jnp.arange(300.0, 0, -1)).astype(jnp.bfloat16)
    assert float(fit_decay(norms).rate) == pytest.approx(0.98, rel=1e-3)
    matrix = np.array([[0.9, 0.5], [-0.5, 0.9]])
    found = spectral_radius(jnp.asarray(matrix, jnp.bfloat16))
    rounded = np.asarray(jnp.asarray(matrix, jnp.bfloat16), np.float64)
    assert found == pytest.approx(np.abs(np.linalg.eigvals(rounded)).max(), rel=1e-5)
