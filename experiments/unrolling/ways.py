"""Four ways to run a cell through time: compile time, run time and memory of a gradient."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import seqmodels as sm

DRIVERS = ("scan", "fused", "associative")


class Cost(NamedTuple):
    """compile_s: seconds. run_ms: milliseconds, median. megabytes: kept for the backward pass."""

    compile_s: float
    run_ms: float
    megabytes: float


def ways_of(cell: sm.Cell) -> tuple[str, str, str, str]:
    """Returns the four ways: two loops, `scan`, and the fastest driver that serves the cell.

    For a linear recurrence, which has no stages, that driver is `associative`.
    """
    fastest = "fused" if cell.stages else "associative"
    return "Python loop", "unrolled in one program", "scan", fastest


def outputs(cell: sm.Cell, way: str) -> Callable[[Any, jax.Array], jax.Array]:
    """Returns the function (params, xs (T, B, D)) -> ys (T, B, H) of one way.

    Args:
      cell: the cell.
      way: one of `ways_of(cell)`.
    """
    if way in DRIVERS:
        return lambda params, xs: sm.unroll(cell, params, xs, method=way)[1]
    step = jax.jit(cell.step) if way == "Python loop" else cell.step

    def loop(params: Any, xs: jax.Array) -> jax.Array:
        state, ys = cell.initial_state(params, xs.shape[1:-1]), []
        for x_t in xs:
            state, y_t = step(params, state, x_t)
            ys.append(y_t)
        return jnp.stack(ys)

    return loop


def measure(
    cell: sm.Cell, xs: jax.Array, ways: tuple[str, ...], rounds: int
) -> Iterator[tuple[str, Cost]]:
    """Yields the cost of every way; the rounds of the ways are interleaved.

    Args:
      cell: the cell.
      xs: (T, B, D).
      ways: some of `ways_of(cell)`.
      rounds: timed calls of each way.

    The memory of a compiled program is its temporary arrays. The memory of the Python loop is the
    arrays that its backward pass keeps.
    """
    params = jax.jit(cell.init)(jax.random.key(0))
    run: dict[str, Callable[[], Any]] = {}
    first: dict[str, float] = {}
    memory: dict[str, float] = {}
    for way in ways:
        function = outputs(cell, way)

        def loss(params: Any, xs: jax.Array, function: Any = function) -> jax.Array:
            return jnp.mean(jnp.square(function(params, xs)))

        start = time.perf_counter()
        if way == "Python loop":
            gradient = jax.value_and_grad(loss)
            run[way] = lambda gradient=gradient: gradient(params, xs)  # type: ignore[misc]
            jax.block_until_ready(run[way]())
            kept = jax.tree.leaves(jax.vjp(loss, params, xs)[1])
            memory[way] = sum(leaf.nbytes for leaf in kept if hasattr(leaf, "nbytes"))
        else:
            compiled = jax.jit(jax.value_and_grad(loss)).lower(params, xs).compile()
            run[way] = lambda compiled=compiled: compiled(params, xs)  # type: ignore[misc]
            analysis = compiled.memory_analysis()
            memory[way] = math.nan if analysis is None else analysis.temp_size_in_bytes
        first[way] = time.perf_counter() - start
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds + 1):  # the first one warms up
        for way in ways:
            start = time.perf_counter()
            jax.block_until_ready(run[way]())
            times[way].append(time.perf_counter() - start)
    for way in ways:
        yield way, Cost(first[way], 1e3 * float(np.median(times[way][1:])), memory[way] / 1e6)
