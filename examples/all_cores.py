"""A training step of an LSTM on one CPU core and on all: two lines make the difference.

    python examples/all_cores.py

prints milliseconds a step, without the two lines and with them, medians of interleaved rounds.
`--shape=T,B,D,H` is the shape: time, batch, inputs, hidden units.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp

import seqmodels as sm

ROUNDS = 7


def main() -> None:
    """Measures both and prints them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="512,32,64,128", metavar="T,B,D,H")
    T, B, D, H = map(int, parser.parse_args().shape.split(","))

    sm.use_cpu_cores()  # the first line, before the first JAX operation

    cell = sm.lstm(D, H)
    params = cell.init(jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (T, B, D))

    def loss(params: sm.cells.LSTMParams, xs: jax.Array) -> jax.Array:
        return jnp.mean(sm.unroll(cell, params, xs)[1] ** 2)

    gradient = jax.value_and_grad(loss)
    spread = sm.data_parallel(gradient, batch_axis=1)  # the second line

    steps = {"one core": jax.jit(gradient), "all cores": jax.jit(spread)}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        jax.block_until_ready(step(params, xs))  # compiles
    for _ in range(ROUNDS):
        for name, step in steps.items():
            start = time.perf_counter()
            jax.block_until_ready(step(params, xs))
            seconds[name].append(time.perf_counter() - start)
    one, every = (statistics.median(values) for values in seconds.values())
    print(f"LSTM, training step at (T,B,D,H) = ({T},{B},{D},{H}), {jax.local_device_count()} cores")
    print(f"without the two lines {1e3 * one:.1f} ms, with them {1e3 * every:.1f}: ", end="")
    print(f"{one / every:.2f} times as fast")


if __name__ == "__main__":
    main()
