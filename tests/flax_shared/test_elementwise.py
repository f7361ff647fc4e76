import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqmodels.flax_shared.elementwise import is_elementwise

SCALE = 0.3


def scaled(x, scale=SCALE):
    return scale * x


def closure(value):
    return lambda x: value * x


@pytest.mark.parametrize(
    "function",
    [
        jnp.tanh,
        nn.hard_sigmoid,
        nn.relu6,
        nn.gelu,
        nn.selu,
        jax.nn.mish,
        functools.partial(nn.leaky_relu, negative_slope=0.2),
        functools.partial(scaled, scale=2),
        scaled,
        closure(2.0),
        jax.jit(lambda x: jnp.clip(x, -1, 1)),
        jax.checkpoint(jnp.sin),
    ],
)
def test_functions_of_single_entries(function):
    assert is_elementwise(function)
    assert is_elementwise(function, jnp.bfloat16)


class Slope:
    def __call__(self, x):
        return 2 * x

    def method(self, x):
        return 2 * x


@pytest.mark.parametrize(
    "function",
    [
        nn.softmax,
        nn.standardize,
        lambda x: x - x.mean(0),
        lambda x: jnp.cumsum(x, 0),
        lambda x: x[::-1],
        lambda x: x.T,
        lambda x: x.sum(),
        lambda x: x * jnp.arange(3.0),
        lambda x: (x, x),
        lambda x: jax.lax.fori_loop(0, 2, lambda _, y: y[::-1], x),
        lambda x: jnp.dot(x, jnp.eye(3)),
        jax.jit(lambda x: jnp.roll(x, 1, 0)),
        functools.partial(scaled, scale=np.ones(3)),
        nn.PReLU(),
        Slope(),
        Slope().method,
        np.tanh,
        3,
    ],
)
def test_anything_else(function):
    assert not is_elementwise(function)


def test_a_function_of_outer_arrays():
    assert not is_elementwise(closure(jnp.float32(2)))
    answers = []

    @jax.jit
    def outer(value):
        answers.append(is_elementwise(closure(value)))
        return value

    outer(1.0)
    assert answers == [False]


def test_effects():
    def printing(x):
        jax.debug.print("x")
        return x

    assert not is_elementwise(printing)
