"""Modules marked `optimized` run with XLA's optimizations, as users do."""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import serialize_executable

pytestmark = pytest.mark.optimized


def test_they_are_on(switch):
    def program_size():
        compiled = jax.jit(lambda x: jnp.sin(x) * 2 + 1).lower(jnp.ones(8)).compile()
        return len(serialize_executable.serialize(compiled)[0])

    here = program_size()
    switch(False)
    assert program_size() != here
