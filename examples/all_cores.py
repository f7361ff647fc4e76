"""Training steps of an LSTM on one CPU core and on all: two lines make the difference.

    python examples/all_cores.py

prints milliseconds a step without the two lines and with them, medians of interleaved rounds, and
the losses of both. `--shape=T,B,D,H`: time, batch, inputs, hidden units.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

import seqmodels as sm

ROUNDS = 15


def main() -> None:
    """Trains both ways, a step in turn, and prints the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="512,32,64,128", metavar="T,B,D,H")
    T, B, D, H = map(int, parser.parse_args().shape.split(","))

    sm.use_cpu_cores()  # the first line, before the first JAX operation

    cell = sm.lstm(D, H)

    def loss(params, xs):
        return jnp.mean((sm.unroll(cell, params, xs)[1] - 0.5) ** 2)

    one_core = jax.value_and_grad(loss)
    all_cores = sm.data_parallel(one_core, batch_axis=1)  # the second line

    def step_with(gradient):
        def step(params, xs):
            value, slopes = gradient(params, xs)
            return jax.tree.map(lambda p, g: p - g, params, slopes), value

        return jax.jit(step)

    steps = [step_with(one_core), step_with(all_cores)]
    params = [cell.init(jax.random.key(0))] * 2
    seconds: list[list[float]] = [[], []]
    values = [jnp.inf, jnp.inf]
    random = np.random.default_rng(0)
    for number in range(1 + ROUNDS):  # the first compiles
        xs = random.standard_normal((T, B, D), np.float32)
        for n, step in enumerate(steps):
            start = time.perf_counter()
            params[n], values[n] = jax.block_until_ready(step(params[n], xs))
            if number:
                seconds[n].append(time.perf_counter() - start)
    one, every = (1e3 * statistics.median(times) for times in seconds)
    print(
        f"LSTM, training step at (T,B,D,H) = ({T},{B},{D},{H}), {jax.local_device_count()} cores:"
    )
    print(f"{one:.1f} ms without the two lines, {every:.1f} ms with them, {one / every:.2f} times")
    print(f"loss after {1 + ROUNDS} steps: {values[0]:.6f} and {values[1]:.6f}")


if __name__ == "__main__":
    main()
