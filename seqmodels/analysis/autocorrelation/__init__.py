"""Autocorrelation of series and residuals, with tests, jitted and batched.

Time is one axis, `axis` (by default the last one), and all other axes are a batch of independent
series. Missing values are NaN (`missing`), false in `mask`, or after `lengths`. Names, defaults and
values are those of statsmodels; each docstring lists the differences.

Concrete values (NumPy arrays, and JAX arrays outside a transformation) are computed in float64,
independent of `jax_enable_x64`. The result has the dtype of the input, but without x64 float64 is
returned as float32. Inside `jax.jit`, `grad` or `vmap` the precision is that of the input. Only the
first call with a shape compiles.

Invalid arguments raise ValueError. Invalid values, such as a constant series, raise it if they are
concrete; inside a transformation the statistic of that series is NaN.
"""

from seqmodels.analysis.autocorrelation.categorical import Association, lagged_association
from seqmodels.analysis.autocorrelation.correlogram import Correlogram, acf, ccf
from seqmodels.analysis.autocorrelation.partial import pacf
from seqmodels.analysis.autocorrelation.residual_tests import (
    Portmanteau,
    box_pierce,
    durbin_watson,
    ljung_box,
)
from seqmodels.analysis.autocorrelation.seasonality import SeasonalPeriod, seasonal_period

__all__ = [
    "Association",
    "Correlogram",
    "Portmanteau",
    "SeasonalPeriod",
    "acf",
    "box_pierce",
    "ccf",
    "durbin_watson",
    "lagged_association",
    "ljung_box",
    "pacf",
    "seasonal_period",
]
