"""The backend of a worker whose framework runs on JAX: ours and four of the peers."""

import importlib
import importlib.metadata
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments.benchmark import ours as benchmark_ours
from experiments.benchmark import peers as benchmark_peers
from experiments.benchmark.cases import STEP, WRAPPERS, Case
from seqmodels.training.parallel.mesh import use_devices

PACKAGES = {"linen": "flax", "nnx": "flax", "haiku": "dm-haiku", "equinox": "equinox"}
PACKAGES |= dict.fromkeys(WRAPPERS, "flax")
MODULES = {"linen": "flax.linen", "nnx": "flax.nnx", "haiku": "haiku", "equinox": "equinox"}
MODULES |= {name: name for name in WRAPPERS}
COMPILE_REPEATS = 3
wait = jax.block_until_ready


def start(framework: str, count: str) -> dict[str, Any]:
    """Imports the framework, starts JAX, and returns versions, devices and platform."""
    packages = ["jax", "jaxlib"]
    jax.config.update("jax_enable_compilation_cache", False)
    devices = 1
    divides = framework == "ours" or framework in WRAPPERS
    if divides and (count == "auto" or int(count) > 1):
        # JAX has one CPU device by default; more must be requested before it starts.
        devices = use_devices(count)
    if framework != "ours":
        importlib.import_module(MODULES[framework])
        packages.append(PACKAGES[framework])
    return {
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "devices": devices,
        "platform": jax.default_backend(),
        "kind": jax.devices()[0].device_kind,
    }


def build(case: Case, budget: str | None) -> benchmark_ours.Built:
    """Returns a jitted function, its arguments, and remarks on it."""
    if case.worker.framework == "ours":
        function, arguments, about = benchmark_ours.build(case, budget)
    else:
        function, arguments, about = benchmark_peers.build(case)
    precision = {"float32": "float32", "tf32": "tensorfloat32"}.get(case.precision)
    if precision is None or jax.default_backend() == "cpu":
        return function, arguments, about

    def call(*arguments: Any) -> Any:
        # JAX's own choice on a GPU is TF32. The context is part of what a jitted function is
        # compiled for, so it surrounds each call.
        with jax.default_matmul_precision(precision):
            return function(*arguments)

    return call, arguments, about


def verdict(case: Case, result: Any) -> tuple[float, float | None, tuple[int, ...]]:
    """Returns loss, norm of the gradient, and the shape of ys, () in training and of a step."""
    if case.mode == STEP:
        return float(np.mean(np.square(np.asarray(result, np.float64)))), None, ()
    if case.mode == "forward":
        ys = np.asarray(result)
        return float(np.mean(np.square(ys, dtype=np.float64))), None, ys.shape
    loss, gradients = result
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(gradients)]
    return float(loss), math.sqrt(sum(float(np.sum(leaf**2)) for leaf in leaves)), ()


def forget() -> None:
    """Drops what JAX has compiled."""
    jax.clear_caches()


def compile_seconds(case: Case, budget: str | None) -> list[float]:
    """Returns the seconds to trace, lower and compile a training step, several times."""
    cell, params = benchmark_ours.make(case.cell, case.shape.D, case.shape.H)
    function = jax.value_and_grad(
        benchmark_ours.loss_of(cell, benchmark_ours.driver(case.method, budget))
    )
    xs = jax.ShapeDtypeStruct(case.shape[:3], np.float32)
    jax.jit(lambda x: x + 1).lower(xs).compile()  # one-time costs of the first compilation
    seconds = []
    for _ in range(COMPILE_REPEATS):
        jax.clear_caches()
        begun = time.perf_counter()
        jax.jit(function).lower(params, xs).compile()
        seconds.append(time.perf_counter() - begun)
    return seconds


def compiled(function: Any, arguments: tuple[Any, ...]) -> tuple[Callable[..., Any], int | None]:
    """Compiles ahead of time; returns the call, and the bytes that the compiler says it takes."""
    call = function.lower(*arguments).compile()
    jax.block_until_ready(arguments)
    plan = call.memory_analysis()
    return call, plan.temp_size_in_bytes + plan.output_size_in_bytes if plan else None
