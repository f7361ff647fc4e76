"""Devices as one mesh: the same loss and gradients on any number of them."""

import contract_cases as cases
import jax
import jax.numpy as jnp
import pytest

import seqmodels as sm
from seqmodels.training.parallel.mesh import (
    data_parallel,
    largest_divisor,
    make_mesh,
    place,
    use_devices,
)


def test_devices():
    # The four devices of the tests have started already, so use_devices can only count them.
    assert use_devices(4) == 4
    assert use_devices("3") == 3
    assert use_devices("auto") == 4
    with pytest.raises(ValueError, match="devices: got 5, expected at most the 4 there are"):
        use_devices(5)
    assert [largest_divisor(6, n) for n in (1, 2, 4, 9)] == [1, 2, 3, 6]


@pytest.mark.parametrize("wrong", ["0", "-1", "many", "2.5", ""])
def test_devices_that_are_no_number(wrong):
    with pytest.raises(ValueError, match=r"devices: got .*, expected auto or a positive number"):
        use_devices(wrong)


@pytest.mark.parametrize(
    ("method", "num_steps", "numbers"),
    [
        ("scan", 7, [2]),
        (sm.fused(chunk=4), 7, [1, 2, 4]),
        (sm.fused(chunk=4), 8, [2]),
        (sm.chunked(segment=4), 7, [2]),
        (sm.newton(), 7, [2]),
    ],
)
def test_any_number_of_devices_gives_the_same(method, num_steps, numbers):
    """Loss and every gradient, with lengths, resets and a learned state."""
    cell = sm.lstm(cases.D, cases.H, learn_initial_state=True)
    params, xs = cases.params_of(cell), cases.inputs((4,), num_steps)
    resets = jnp.zeros((num_steps, 4), bool).at[3].set(True)
    lengths = jnp.array([num_steps, 0, 3, 5])

    def one(params, xs, lengths, resets):
        run = {"lengths": lengths, "resets": resets, "method": method}
        return jnp.mean(sm.unroll(cell, params, xs, **run)[1] ** 2)

    want = jax.jit(jax.value_and_grad(one))(params, xs, lengths, resets)
    for devices in numbers:
        mesh = make_mesh(devices, "batch")
        step = jax.jit(data_parallel(one, mesh, batch_axes=(1, 0, 1)))
        arguments = place(xs, mesh, 1), place(lengths, mesh, 0), place(resets, mesh, 1)
        got = step(place(params, mesh, None), *arguments)
        cases.assert_close(got, want, 1e-6)


def test_what_the_devices_cannot_share_is_named():
    step = data_parallel(lambda p, xs: jnp.mean(p * xs), make_mesh(4, "batch"), batch_axes=(1,))
    with pytest.raises(ValueError, match="batch: got 6 rows, expected a multiple of the 4 devices"):
        step(jnp.ones(()), jnp.ones((3, 6)))
    with pytest.raises(ValueError, match="batch_axes: got 1, expected one for each of the 2 arg"):
        step(jnp.ones(()), jnp.ones((3, 4)), jnp.ones(4))
