"""The switch of XLA's optimizations in conftest takes effect, also on what was compiled before."""

import jax
import jax.numpy as jnp
from jax.experimental import serialize_executable


def program_size():
    """Of a small compiled program, of which the optimizations are a part."""
    compiled = jax.jit(lambda x: jnp.sin(x) * 2 + 1).lower(jnp.ones(8)).compile()
    return len(serialize_executable.serialize(compiled)[0])


def test_switching_takes_effect_on_the_next_call(switch):
    traces, sizes = [], {False: set(), True: set()}

    @jax.jit
    def f(x):
        traces.append(1)
        return jnp.sin(x) * 2 + 1

    for on, total in [(False, 1), (False, 1), (True, 2), (True, 2), (False, 3)]:
        switch(on)
        f(jnp.ones(8))
        assert len(traces) == total
        sizes[on].add(program_size())
    assert [len(sizes[on]) for on in sizes] == [1, 1]
    assert sizes[False] != sizes[True]


def test_they_are_off_by_default(switch):
    here = program_size()
    switch(True)
    assert program_size() != here
