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
from experiments.benchmark.arrays import inputs
from experiments.benchmark.cases import PEERS, STEP, WRAPPERS, Case
from experiments.benchmark.ours import Built, stepping
from seqmodels.training.parallel.mesh import largest_divisor, make_mesh, place
from seqmodels.types import Array


def build(case: Case) -> Built:
    """Returns the peer's jitted function, its arguments, and remarks on it.

    In bfloat16 Flax's cells get a dtype; Haiku and Equinox have none, so parameters, inputs and
    state are cast. Parameters and their gradients are float32. "train" gives (mean of squares of
    all outputs, gradient of all parameters), "forward" gives ys, "step" gives y_t. Our wrappers run
    on as many devices as divide the batch.
    """
    builder = {"linen": _linen, "nnx": _nnx, "haiku": _haiku, "equinox": _equinox}
    framework = WRAPPERS.get(case.worker.framework, case.worker.framework)
    if case.mode == STEP:
        return _linen_step(case)
    return builder[framework](case, jnp.asarray(inputs(case.shape)))


def _mean_square(ys: Array) -> Array:
    return jnp.mean(jnp.square(ys.astype(jnp.float32)))


def _dtype(case: Case) -> dict[str, Any]:
    """Returns the arguments of Flax's cells for the precision of a case."""
    return {"dtype": jnp.bfloat16} if case.precision == "bfloat16" else {}


def _cast(case: Case, tree: Any) -> Any:
    """Returns the arrays in the dtype of a case."""
    if case.precision != "bfloat16":
        return tree
    is_array = lambda leaf: isinstance(leaf, jax.Array)  # noqa: E731
    return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16) if is_array(leaf) else leaf, tree)


def _jitted(apply: Callable[[Any, Array], Any], case: Case, params: Any, xs: Array) -> Built:
    if case.mode == "forward":
        return jax.jit(apply), (params, xs), {}

    def loss(params: Any, xs: Array) -> Array:
        return _mean_square(apply(params, xs))

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

    cell = getattr(linen, PEERS["linen"][case.cell])(features=case.shape.H, **_dtype(case))
    model = _rnn(case)(cell, time_major=True)
    params = model.init(jax.random.key(0), xs[:1])
    return _jitted(model.apply, case, params, xs)


def _linen_step(case: Case) -> Built:
    """Returns one step of Flax's cell under jit, the state donated; it keeps its state."""
    from flax import linen

    cell = getattr(linen, PEERS["linen"][case.cell])(features=case.shape.H, **_dtype(case))
    x_t = inputs(case.shape)[0]
    carry = cell.initialize_carry(jax.random.key(0), x_t.shape)
    params = cell.init(jax.random.key(0), carry, x_t)
    # A copy of each leaf: an LSTM's two zeros are one array, which cannot be donated twice.
    carry = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), carry)
    jitted = jax.jit(cell.apply, donate_argnums=1)
    return stepping(lambda carry, x_t: jitted(params, carry, x_t), carry), (x_t,), {}


def _nnx(case: Case, xs: Array) -> Built:
    from flax import nnx

    make = getattr(nnx, PEERS["nnx"][case.cell])
    cell = make(case.shape.D, case.shape.H, rngs=nnx.Rngs(0), **_dtype(case))
    model = _rnn(case)(cell, time_major=True)

    def forward(model: Any, xs: Array) -> Array:
        return model(xs)

    def train(model: Any, xs: Array) -> Any:
        return nnx.value_and_grad(lambda model: _mean_square(model(xs)))(model)

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
        return hk.dynamic_unroll(core, xs, _cast(case, core.initial_state(case.shape.B)))[0]

    model = hk.without_apply_rng(hk.transform(unroll))
    params = model.init(jax.random.key(0), xs[:1])
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    return _jitted(lambda params, xs: model.apply(*_cast(case, (params, xs))), case, params, xs)


def _equinox(case: Case, xs: Array) -> Built:
    import equinox as eqx

    make = getattr(eqx.nn, PEERS["equinox"][case.cell])
    cell = make(case.shape.D, case.shape.H, key=jax.random.key(0))

    def forward(cell: Any, xs: Array) -> Array:
        cell, xs = _cast(case, (cell, xs))
        zeros = jnp.zeros((xs.shape[1], cell.hidden_size), xs.dtype)

        def step(state: Any, x_t: Array) -> tuple[Any, Array]:
            state = jax.vmap(cell)(x_t, state)
            return state, state[0] if case.cell == "lstm" else state

        return jax.lax.scan(step, (zeros, zeros) if case.cell == "lstm" else zeros, xs)[1]

    def loss(cell: Any, xs: Array) -> Array:
        return _mean_square(forward(cell, xs))

    function = eqx.filter_value_and_grad(loss) if case.mode == "train" else forward
    return eqx.filter_jit(function), (cell, xs), {}
