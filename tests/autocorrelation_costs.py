"""Time of autocorrelations, compared with a loop of statsmodels, and on one long series.

    python tests/autocorrelation_costs.py

Medians of interleaved rounds, float32, compilation excluded; run it on a machine that does nothing
else.
"""

import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from statsmodels.tsa import stattools

from seqmodels.analysis import autocorrelation as ac

B, N, LAGS = 1_000, 1_000, 30
LONG, LONG_LAGS = 1_000_000, 60
ROUNDS = 7


def medians(calls):
    """Returns the median time of each call in ms, after one that is not counted."""
    times = {name: [] for name in calls}
    for n in range(ROUNDS + 1):
        for name, call in calls.items():
            begun = time.perf_counter()
            jax.block_until_ready(call())
            if n:
                times[name].append(time.perf_counter() - begun)
    return {name: 1e3 * statistics.median(each) for name, each in times.items()}


def compared(x, nlags, title):
    """Prints how long each way takes."""
    on_device = jnp.asarray(x)
    traced = jax.jit(lambda x: ac.acf(x, nlags=nlags))
    direct = jax.jit(lambda x: ac.acf(x, nlags=nlags, fft=False))
    loop = "statsmodels, fft=True"
    found = medians(
        {
            loop: lambda: [stattools.acf(row, nlags=nlags, fft=True) for row in x],
            "acf": lambda: ac.acf(x, nlags=nlags),
            "acf, fft=False": lambda: ac.acf(x, nlags=nlags, fft=False),
            "acf inside jit": lambda: traced(on_device),
            "acf inside jit, fft=False": lambda: direct(on_device),
        }
    )
    print(title)
    for name, milliseconds in found.items():
        print(f"  {name:28} {milliseconds:8.1f} ms  {found[loop] / milliseconds:5.1f}x")


def main():
    """Prints both tables."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(B, N)).astype(np.float32)
    compared(x, LAGS, f"{B} series of {N} values, {LAGS} lags")
    compared(
        rng.normal(size=(1, LONG)).astype(np.float32), LONG_LAGS, f"{LONG} values, {LONG_LAGS} lags"
    )


if __name__ == "__main__":
    main()
