"""Series that the tests of autocorrelation share."""

import warnings

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of pandas and scipy on the way
    from statsmodels import datasets


def shipped():
    """Returns statsmodels' own series by name, float64; co2 has gaps."""
    macro = datasets.macrodata.load_pandas().data
    return {
        "sunspots": datasets.sunspots.load_pandas().data["SUNACTIVITY"].to_numpy(float),
        "co2": datasets.co2.load_pandas().data["co2"].to_numpy(float),
        "elnino": datasets.elnino.load_pandas().data.iloc[:, 1:].to_numpy(float).ravel(),
        "realgdp": macro["realgdp"].to_numpy(float),
        "unemp": macro["unemp"].to_numpy(float),
    }


SERIES = shipped()
WHOLE = ["sunspots", "elnino", "realgdp"]


def autoregressive(coefficient, shape, seed=0):
    """Returns AR(1) series, time last."""
    noise = np.random.default_rng(seed).normal(size=shape)
    x = np.zeros(shape)
    for t in range(shape[-1]):
        x[..., t] = coefficient * x[..., t - 1] * (t > 0) + noise[..., t]
    return x
