"""Autocorrelation of series and residuals, with tests, jitted and batched.

Everywhere time is one axis, `axis` (the last one by default), and all other axes are a batch of
series that have nothing to do with each other. What is not there is NaN (`missing`), false in
`mask`, or behind `lengths`. Names, defaults and values are those of statsmodels; each docstring
says where they differ.

Concrete values (NumPy arrays, and JAX arrays outside a transformation) are computed in
float64, whatever `jax_enable_x64` says, and returned in the dtype of the input; float64 comes back
as float32 where x64 is off. Inside `jax.jit`, `grad` or `vmap` the precision is that of the input.
The first call with a shape compiles, the next ones do not.

Mistakes raise ValueError. What only the values can tell (a constant series, say) raises where they
are at hand; inside a transformation the statistic of that series is NaN.
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
