"""The JAX peers of the benchmark, each run as its documentation says, jitted, on one device.

And the models of Flax with the RNN of this library, also on several devices.

Nothing here is imported before a worker asks for one framework, so that the others need not be
installed.
"""

import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import seqmodels as sm
from experiments.benchmark.cases import PEERS, WRAPPERS, Case, inputs
from seqmodels.training.parallel.mesh import largest_divisor, make_mesh, place
from seqmodels.types import Array

Built = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def build(case: Case) -> Built:
    """Returns the peer's jitted function, its arguments, and what is to be said of it.

    "train" gives (mean of squares of all outputs, gradient of all parameters), "forward" gives ys.
    Our wrappers run on as many devices as divide the batch.
    """
    builder = {"linen": _linen, "nnx": _nnx, "haiku": _haiku, "equinox": _equinox}
    framework = WRAPPERS.get(case.worker.framework, case.worker.framework)
    return builder[framework](case, jnp.asarray(inputs(case.shape)))


def _jitted(apply: Callable[[Any, Array], Any], case: Case, params: Any, xs: Array) -> Built:
    if case.mode == "forward":
        return jax.jit(apply), (params, xs), {}

    def loss(params: Any, xs: Array) -> Array:
        return jnp.mean(jnp.square(apply(params, xs)))

    used = largest_divisor(case.shape.B, case.worker.number)
    if used == 1:
        return jax.jit(jax.value_and_grad(loss)), (params, xs), {}
    mesh = make_mesh(used, "batch")
    arguments = place(params, mesh, None), place(inputs(case.shape), mesh, 1)
    step = sm.data_parallel(jax.value_and_grad(loss), batch_axis=1, devices=list(mesh.devices.flat))
    return step, arguments, {"devices": used}


def _rnn(case: Case) -> Any:
    """Returns the class RNN of Flax, or ours in its place."""
    framework = case.worker.framework
    return importlib.import_module(framework if framework in WRAPPERS else f"flax.{framework}").RNN


def _linen(case: Case, xs: Array) -> Built:
    from flax import linen

    cell = getattr(linen, PEERS["linen"][case.cell])(features=case.shape.H)
    model = _rnn(case)(cell, time_major=True)
    params = model.init(jax.random.key(0), xs[:1])
    return _jitted(model.apply, case, params, xs)


def _nnx(case: Case, xs: Array) -> Built:
    from flax import nnx

    cell = getattr(nnx, PEERS["nnx"][case.cell])(case.shape.D, case.shape.H, rngs=nnx.Rngs(0))
    model = _rnn(case)(cell, time_major=True)

    def forward(model: Any, xs: Array) -> Array:
        return model(xs)

    def train(model: Any, xs: Array) -> Any:
        return nnx.value_and_grad(lambda model: jnp.mean(jnp.square(model(xs))))(model)

    if largest_divisor(case.shape.B, case.worker.number) == 1:
        return nnx.jit(train if case.mode == "train" else forward), (model, xs), {}
    graph, params, *others = nnx.split(model, nnx.Param, ...)
    return _jitted(
        lambda params, xs: nnx.merge(graph, params, *others, copy=True)(xs), case, params, xs
    )


def _haiku(case: Case, xs: Array) -> Built:
    import haiku as hk

    def unroll(xs: Array) -> Array:
        core = getattr(hk, PEERS["haiku"][case.cell])(case.shape.H)
        return hk.dynamic_unroll(core, xs, core.initial_state(case.shape.B))[0]

    model = hk.without_apply_rng(hk.transform(unroll))
    params = model.init(jax.random.key(0), xs[:1])
    return _jitted(model.apply, case, params, xs)


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
    return eqx.filter_jit(function), (cell, xs), {}
