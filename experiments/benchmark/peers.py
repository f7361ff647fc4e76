"""The JAX peers of the benchmark, each run as its documentation says, jitted, on one device.

Nothing here is imported before a worker asks for one framework, so that the others need not be
installed.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from experiments.benchmark.cases import PEERS, Case, inputs
from seqmodels.types import Array

Built = tuple[Callable[..., Any], tuple[Any, ...]]


def build(case: Case) -> Built:
    """Returns the peer's jitted function and its arguments.

    "train" gives (mean of squares of all outputs, gradient of all parameters), "forward" gives ys.
    """
    builder = {"linen": _linen, "nnx": _nnx, "haiku": _haiku, "equinox": _equinox}
    return builder[case.worker.framework](case, jnp.asarray(inputs(case.shape)))


def _jitted(apply: Callable[[Any, Array], Any], mode: str) -> Callable[..., Any]:
    if mode == "forward":
        return jax.jit(apply)
    return jax.jit(jax.value_and_grad(lambda params, xs: jnp.mean(jnp.square(apply(params, xs)))))


def _linen(case: Case, xs: Array) -> Built:
    from flax import linen

    cell = getattr(linen, PEERS["linen"][case.cell])(features=case.shape.H)
    model = linen.RNN(cell, time_major=True)
    params = model.init(jax.random.key(0), xs[:1])
    return _jitted(model.apply, case.mode), (params, xs)


def _nnx(case: Case, xs: Array) -> Built:
    from flax import nnx

    cell = getattr(nnx, PEERS["nnx"][case.cell])(case.shape.D, case.shape.H, rngs=nnx.Rngs(0))
    model = nnx.RNN(cell, time_major=True)

    def forward(model: Any, xs: Array) -> Array:
        return model(xs)

    def train(model: Any, xs: Array) -> Any:
        return nnx.value_and_grad(lambda model: jnp.mean(jnp.square(model(xs))))(model)

    return nnx.jit(train if case.mode == "train" else forward), (model, xs)


def _haiku(case: Case, xs: Array) -> Built:
    import haiku as hk

    def unroll(xs: Array) -> Array:
        core = getattr(hk, PEERS["haiku"][case.cell])(case.shape.H)
        return hk.dynamic_unroll(core, xs, core.initial_state(case.shape.B))[0]

    model = hk.without_apply_rng(hk.transform(unroll))
    params = model.init(jax.random.key(0), xs[:1])
    return _jitted(model.apply, case.mode), (params, xs)


def _equinox(case: Case, xs: Array) -> Built:
    import equinox as eqx

    make = getattr(eqx.nn, PEERS["equinox"][case.cell])
    cell = make(case.shape.D, case.shape.H, key=jax.random.key(0))

    def forward(cell: Any, xs: Array) -> Array:
        zeros = jnp.zeros((xs.shape[1], cell.hidden_size))

        def step(state: Any, x_t: Array) -> tuple[Any, Array]:
            state = jax.vmap(cell)(x_t, state)
            return state, state[0] if case.cell == "lstm" else state

        return jax.lax.scan(step, (zeros, zeros) if case.cell == "lstm" else zeros, xs)[1]

    def loss(cell: Any, xs: Array) -> Array:
        return jnp.mean(jnp.square(forward(cell, xs)))

    function = eqx.filter_value_and_grad(loss) if case.mode == "train" else forward
    return eqx.filter_jit(function), (cell, xs)
