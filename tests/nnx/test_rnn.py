"""`seqmodels.nnx.RNN` against `flax.nnx.RNN`: values, carries, gradients, graph state."""

import flax_nnx_checks as checks
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from seqmodels.nnx import RNN

LENGTHS = jnp.array([[1, 5, 3], [4, 2, 5]])


def name(choice):
    return "-".join(
        [choice["cell"], f"batch{choice['num_axes']}", *[k for k, v in choice.items() if v is True]]
    )


def check_choice(choice):
    num_axes, time_major = choice["num_axes"], choice["time_major"]
    shape = checks.BATCHES[num_axes]
    xs = checks.new_inputs(shape)
    xs = jnp.moveaxis(xs, num_axes, 0) if time_major else xs
    lengths = [LENGTHS[0, 2], LENGTHS[0], LENGTHS][num_axes] if choice["lengths"] else None
    carry = None
    if choice["initial_carry"]:
        carry = jax.random.normal(jax.random.key(3), (*shape, checks.H))
        carry = (carry, carry[..., ::-1]) if "lstm" in choice["cell"] else carry
    options = {k: choice[k] for k in ("reverse", "keep_order", "return_carry")}

    def call(rnn, xs, carry):
        if type(rnn) is RNN:
            return rnn(
                xs, initial_carry=carry, seq_lengths=lengths, time_major=time_major, **options
            )
        return checks.flax_on_one_axis(rnn, xs, num_axes, carry, lengths, time_major, **options)

    rnns = [kind(checks.new_cell(choice["cell"])) for kind in (RNN, nnx.RNN)]
    with checks.counted_drivers() as calls:
        ours, flax = checks.values_and_gradients(call, *rnns, arrays=(xs, carry))
    assert len(calls) == 1
    checks.assert_close(ours, flax)


@pytest.mark.parametrize("choice", checks.pairwise(checks.OPTIONS), ids=name)
def test_options(choice):
    check_choice(choice)


@pytest.mark.slow
@pytest.mark.parametrize("choice", checks.every(checks.OPTIONS), ids=name)
def test_all_options(choice):
    check_choice(choice)


@pytest.mark.parametrize("cell", checks.CELLS)
def test_initial_graph_is_flax(cell):
    ours, flax = RNN(checks.new_cell(cell)), nnx.RNN(checks.new_cell(cell))
    checks.assert_same_state(ours, flax)
    assert isinstance(ours, nnx.RNN)
    assert type(ours).__name__ == "RNN"


@pytest.mark.parametrize(("cell", "keep_rngs"), [("lstm", False), ("gru", True)])
@pytest.mark.filterwarnings("ignore:keep_rngs argument is deprecated")
def test_streams_advance_as_in_flax(cell, keep_rngs):
    xs = checks.new_inputs()
    carry = checks.new_cell(cell).initialize_carry((3, checks.D), nnx.Rngs(0))

    def use(kind):
        made = checks.CELLS[cell](checks.D, checks.H, keep_rngs=keep_rngs, rngs=nnx.Rngs(0))
        rnn = kind(made, rngs=nnx.Rngs(4), broadcast_rngs="carry" if keep_rngs else None)
        caller, stream = nnx.Rngs(7, carry=8), nnx.RngStream(9, tag="carry")
        rnn(xs)
        rnn(xs, rngs=caller)
        rnn(xs, rngs=caller, initial_carry=carry)
        rnn(xs, rngs=stream)
        return nnx.List([rnn, caller, stream])

    checks.assert_same_state(use(RNN), use(nnx.RNN))


def test_carry_init_draws_what_flax_draws():
    options = {"carry_init": nnx.initializers.normal(1.0)}
    with pytest.warns(UserWarning, match="carry_init"):
        rnns = [kind(checks.new_cell(**options), return_carry=True) for kind in (RNN, nnx.RNN)]
    ours, flax = (rnn(checks.new_inputs(), rngs=nnx.Rngs(5)) for rnn in rnns)
    checks.assert_close(ours, flax)
