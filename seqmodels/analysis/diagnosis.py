"""Residual diagnostics (Ljung-Box)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seqmodels.analysis.autocorrelation import acf, ljung_box
from seqmodels.arrays import as_floats

PARTS = ("train", "test")


class Diagnosis(NamedTuple):
    """Residual diagnostics of one model.

    Attributes:
      sound: whether no test rejects; None if both parts have too few residuals for a test.
      p_values: for each part, "train" and "test", the p value of Ljung and Box by lag.
      missed: for each part the lags whose autocorrelation lies outside the interval of white noise,
        the largest first; empty if its tests do not reject.
    """

    sound: bool | None
    p_values: dict[str, dict[int, float]]
    missed: dict[str, tuple[int, ...]]

    @property
    def words(self) -> str:
        """The verdict in words: "sound", or "unsound: missed lag 9, 10 (test)"."""
        if self.sound is None:
            return "not tested: too few residuals"
        if self.sound:
            short = [part for part, found in self.p_values.items() if not found]
            return f"sound (too few residuals: {short[0]})" if short else "sound"
        found = [
            f"lag {', '.join(map(str, lags[:3]))} ({part})" if lags else f"no single lag ({part})"
            for part, lags in self.missed.items()
            if any(p <= self.alpha for p in self.p_values[part].values())
        ]
        return f"unsound: missed {'; '.join(found)}"

    @property
    def alpha(self) -> float:
        """The largest p value that rejects."""
        return ALPHA


ALPHA = 0.05


def diagnose(
    train: np.ndarray, test: np.ndarray, *, lags: Sequence[int] = (10, 20), model_df: int = 0
) -> Diagnosis:
    """Returns the diagnostics of the one-step residuals of a model.

    Sound means that the Ljung-Box test has p > 0.05 at every lag on both parts. On the training
    part the degrees of freedom are reduced by the number of fitted autoregressive parameters.

    Args:
      train: (N,) residuals of the training part; NaN for a gap.
      test: (M,) residuals of the test part.
      lags: lags of the tests; a part leaves out those for which it is too short.
      model_df: number of autoregressive parameters fitted to the training part. Lags up to it have
        no test there. If all lags are, `model_df` is added to them.

    Examples:
      >>> white = np.random.default_rng(0).normal(size=100)
      >>> diagnose(white, white).words
      'sound'
      >>> diagnose(white, np.sin(np.arange(100.0))).sound
      False
    """
    p_values: dict[str, dict[int, float]] = {}
    missed: dict[str, tuple[int, ...]] = {}
    for part, residuals, fitted in zip(PARTS, (train, test), (model_df, 0), strict=True):
        residuals = as_floats(part, residuals).astype(np.float64)
        count = int(np.isfinite(residuals).sum())
        beyond = [lag for lag in lags if lag > fitted] or [lag + fitted for lag in lags]
        usable = [lag for lag in beyond if lag < count // 2]
        p_values[part], missed[part] = {}, ()
        if not usable or np.nanmin(residuals) == np.nanmax(residuals):
            continue
        found = ljung_box(residuals, usable, model_df=fitted, missing="conservative")
        p_values[part] = {
            lag: float(p)
            for lag, p in zip(usable, np.asarray(found.pvalue), strict=True)
            if np.isfinite(p)
        }
        if min(p_values[part].values(), default=1.0) <= ALPHA:
            values = np.asarray(acf(residuals, nlags=max(usable), missing="conservative"))[1:]
            values = np.nan_to_num(values)  # a lag without a pair of residuals
            out = np.flatnonzero(np.abs(values) > 1.96 / np.sqrt(count))
            order = out[np.argsort(-np.abs(values[out]), kind="stable")]
            missed[part] = tuple(int(lag) + 1 for lag in order)
    all_p_values = [p for part in p_values.values() for p in part.values()]
    sound = bool(min(all_p_values) > ALPHA) if all_p_values else None
    return Diagnosis(sound, p_values, missed)
