"""Dropout of a given state: one rule for Linen and NNX."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import seqmodels as sm
from seqmodels.linen import wrap as linen_wrap
from seqmodels.nnx import wrap as nnx_wrap

B, T, D, H = 2, 5, 3, 16
CELL = sm.stack([sm.dropout(sm.gru(D, H), 0.5), sm.gru(H, H)])
KEY, OTHER = jax.random.key(1), jax.random.key(2)
XS = jax.random.normal(jax.random.key(0), (B, T, D))


def linen_call(xs, key, **more):
    module = linen_wrap(CELL)
    variables = module.init(jax.random.key(0), XS)
    rngs = {} if key is None else {"dropout": key}
    return module.apply(variables, xs, rngs=rngs, return_state=True, **more)


def nnx_call(xs, key, **more):
    module = nnx_wrap(CELL, rngs=nnx.Rngs(0))
    return module(xs, rngs=key, deterministic=key is None, return_state=True, **more)


CALLS = pytest.mark.parametrize("call", [linen_call, nnx_call])


@CALLS
def test_masks_of_a_given_state_are_used_again_where_the_call_has_dropout(call):
    whole = call(XS, KEY)[1]
    middle, first = call(XS[:, :2], KEY)
    final, rest = call(XS[:, 2:], OTHER, initial_state=middle)
    chex.assert_trees_all_close(jnp.concatenate([first, rest], 1), whole, atol=1e-6)
    chex.assert_trees_all_equal(final[0].noise, middle[0].noise)


@CALLS
def test_a_call_without_dropout_ignores_the_masks_of_a_given_state(call):
    middle, _ = call(XS[:, :2], KEY)
    bare = (middle[0]._replace(noise=None), *middle[1:])
    final, rest = call(XS[:, 2:], None, initial_state=middle)
    chex.assert_trees_all_equal(rest, call(XS[:, 2:], None, initial_state=bare)[1])
    assert final[0].noise is None
    assert not jnp.allclose(rest, call(XS[:, 2:], OTHER, initial_state=middle)[1])


@CALLS
def test_a_given_state_without_masks_gets_those_of_the_key(call):
    state, _ = call(XS, None)
    one, ys = call(XS, KEY, initial_state=state)
    _, other_ys = call(XS, OTHER, initial_state=state)
    assert one[0].noise is not None
    assert not jnp.allclose(ys, other_ys)
    chex.assert_trees_all_equal(call(XS, KEY, initial_state=state), (one, ys))


def test_linen_asks_for_the_stream_where_dropout_is_on():
    state, _ = linen_call(XS, KEY)
    with pytest.raises(nn.module.errors.InvalidRngError, match="dropout"):
        linen_call(XS, None, initial_state=state, deterministic=False)


@CALLS
def test_a_mask_of_another_rank_is_named(call):
    with pytest.raises(ValueError, match="mask"):
        call(XS, None, mask=jnp.ones(T, bool))
