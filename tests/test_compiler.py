"""XLA compiles matrix-vector products that are reduced over each row to the right values.

The first program is that of github.com/jax-ml/jax/issues/39103: jaxlib 0.10.2 computes it wrongly
on CPUs, silently and with or without XLA's optimizations, above 32,768 rows in float32 and 16,384
in float64. The oracle is NumPy in float64.

jaxlib 0.10.0 and 0.10.1 are right but for one kind of program: a float32 product with a 2x3 or 3x3
matrix that is summed or maximized with nothing between the product and the reduction. Those cases
are expected to fail there, strictly; `REMEDY` cures them.
"""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm

pytestmark = pytest.mark.optimized

ROWS = {"float32": 40_000, "float64": 20_000}
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
REDUCED_PRODUCTS_FAIL = jax.__version_info__ < (0, 11)
REMEDY = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
T = 3


@contextlib.contextmanager
def precision(dtype):
    with jax.enable_x64(dtype == "float64"):
        yield


def relative_error(got, expected):
    assert got.shape == expected.shape
    return np.max(np.abs(np.asarray(got, np.float64) - expected)) / np.max(np.abs(expected))


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def over_rows(f):
    return lambda matrix, x: jax.vmap(lambda row: f(matrix, row))(x)


def linear_scan_of(increment):
    """The running sum of an increment of each row, over T steps that scale it: (T, rows)."""

    def run(matrix, x):
        def step(s, scale):
            s = s + increment(matrix, scale * x)
            return s, s

        return jax.lax.scan(step, jnp.zeros(x.shape[0], x.dtype), 1 + jnp.arange(T, dtype=x.dtype))

    return lambda matrix, x: run(matrix, x)[1]


def gradient_of_mean(f):
    return jax.grad(lambda matrix, x: jnp.mean(f(matrix, x)))


def energy(matrix, row):
    return jnp.sum((matrix @ row) ** 2)


def np_energy(matrix, x):
    return np.sum((x @ matrix.T) ** 2, -1)


# Each name: the program, its oracle.
PROGRAMS = {
    "energy": (over_rows(energy), np_energy),
    "energy summed": (
        lambda matrix, x: jnp.sum(over_rows(energy)(matrix, x)),
        lambda matrix, x: np.sum(np_energy(matrix, x)),
    ),
    "energy in a scan": (
        linear_scan_of(over_rows(energy)),
        lambda matrix, x: np.cumsum([np_energy(matrix, k * x) for k in (1, 2, 3)], 0),
    ),
    "energy's gradient": (
        gradient_of_mean(over_rows(energy)),
        lambda matrix, x: 2 * matrix @ (x.T @ x) / len(x),
    ),
    "quadratic form": (
        over_rows(lambda matrix, row: row @ (matrix @ row)),
        lambda matrix, x: np.sum(x * (x @ matrix.T), -1),
    ),
    "outer product": (
        over_rows(lambda matrix, row: jnp.sum(jnp.outer(matrix @ row, row) ** 2)),
        lambda matrix, x: np_energy(matrix, x) * np.sum(x**2, -1),
    ),
    "tanh": (
        over_rows(lambda matrix, row: jnp.sum(jnp.tanh(matrix @ row))),
        lambda matrix, x: np.sum(np.tanh(x @ matrix.T), -1),
    ),
    "product alone": (over_rows(jnp.matmul), lambda matrix, x: x @ matrix.T),
    "batched product": (
        lambda matrix, x: jnp.sum((x @ matrix.T) ** 2, -1),
        np_energy,
    ),
}
# Nothing between the product and the reduction.
REDUCED_PRODUCTS = {
    "sum": (
        over_rows(lambda matrix, row: jnp.sum(matrix @ row)),
        lambda matrix, x: np.sum(x @ matrix.T, -1),
    ),
    "maximum": (
        over_rows(lambda matrix, row: jnp.max(matrix @ row)),
        lambda matrix, x: np.max(x @ matrix.T, -1),
    ),
}


def check(programs, name, dtype, **jit_settings):
    program, oracle = programs[name]
    matrix, x = draw(0, 3, 3), draw(1, ROWS[dtype], 3)
    with precision(dtype):
        got = jax.jit(program, **jit_settings)(jnp.asarray(matrix, dtype), jnp.asarray(x, dtype))
        assert got.dtype == dtype
        assert relative_error(got, oracle(matrix, x)) < TOLERANCE[dtype]


every_dtype = pytest.mark.parametrize("dtype", ROWS)


@every_dtype
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name, dtype):
    check(PROGRAMS, name, dtype)


@pytest.mark.parametrize("name", REDUCED_PRODUCTS)
@pytest.mark.parametrize(
    "dtype",
    [
        pytest.param(
            "float32",
            marks=pytest.mark.xfail(
                REDUCED_PRODUCTS_FAIL, reason="jaxlib 0.10 fuses them wrongly", strict=True
            ),
        ),
        "float64",
    ],
)
def test_reduced_products(name, dtype):
    check(REDUCED_PRODUCTS, name, dtype)


@pytest.mark.skipif(not REDUCED_PRODUCTS_FAIL, reason="not needed by this JAX")
@pytest.mark.parametrize("name", REDUCED_PRODUCTS)
def test_remedy_for_reduced_products(name):
    check(REDUCED_PRODUCTS, name, "float32", compiler_options=REMEDY)


def initial_state(params, batch_shape):
    return jnp.zeros(batch_shape, params["matrix"].dtype)


def rows_energy(params, x):
    """`energy` of each vector on the last axis, whatever the leading axes."""
    energies = jax.vmap(lambda row: energy(params["matrix"], row))(x.reshape(-1, x.shape[-1]))
    return energies.reshape(x.shape[:-1])


def bare_cell():
    """A cell of a user's own: leaky sum of energies."""

    def step(params, state, x_t):
        state = params["decay"] * state + rows_energy(params, x_t)
        return state, state

    return sm.Cell(init=lambda key: {}, initial_state=initial_state, step=step)


def staged_cell():
    """The same recurrence, in stages."""

    def update(params, state, energies):
        state = params["decay"] * state + energies
        return state, state

    stage = (lambda params, state, x_t: rows_energy(params, x_t), update)
    return sm.make_cell(lambda key: {}, initial_state, stage)


@every_dtype
@pytest.mark.parametrize("make", [bare_cell, staged_cell])
def test_users_own_cell(make, dtype):
    """Values and the gradient of the parameters, of `sm.unroll` at a batch above the threshold."""
    matrix, xs, decay = draw(0, 3, 3), draw(1, T, ROWS[dtype], 3), 0.5

    expected, state = [], np.zeros(ROWS[dtype])
    moments = np.zeros((3, 3))  # d final.mean() / d matrix, unrolled by hand
    for t in range(T):
        state = decay * state + np_energy(matrix, xs[t])
        expected.append(state)
        moments = decay * moments + 2 * matrix @ (xs[t].T @ xs[t]) / ROWS[dtype]

    with precision(dtype):
        cell = make()
        params = {"matrix": jnp.asarray(matrix, dtype), "decay": jnp.asarray(decay, dtype)}
        xs = jnp.asarray(xs, dtype)

        def unroll(params):
            return sm.unroll(cell, params, xs)

        gradients = jax.jit(jax.grad(lambda params: jnp.mean(unroll(params)[0])))(params)
        assert relative_error(jax.jit(unroll)(params)[1], np.stack(expected)) < TOLERANCE[dtype]
        assert relative_error(gradients["matrix"], moments) < TOLERANCE[dtype]
