"""Summary of a correlogram in words: memory, cycle, trend, or nothing significant."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from seqmodels.arrays import as_floats

SLOW = 0.5  # an autocorrelation that is still this large ten lags later fades slowly
SLOW_LAGS = 10
OVERDONE = -0.4  # at lag 1, after differences; differences of white noise have -1/2
MOST_NAMED = 6


class Verdict(NamedTuple):
    """Significant features of a correlogram.

    Attributes:
      kind: "none", "trend" (fades slowly), "cycle" (has a period), "memory", or "untested" if the
        test has no p value.
      positive_to: the number of first lags that are all positive and significant; 0 for none.
      negative_at: the lowest lag among the first significant negative ones; 0 for none.
      period: the period of the cycle, in steps; 0 for none.
      partial: lags with a significant partial autocorrelation.
      words: the summary in one or two sentences.
    """

    kind: str
    positive_to: int
    negative_at: int
    period: int
    partial: tuple[int, ...]
    words: str


def verdict(
    values: np.ndarray,
    partial: np.ndarray,
    count: int,
    pvalue: float,
    *,
    period: int = 0,
    calendar: int = 1,
    differenced: bool = False,
    seasonally: bool = False,
    alpha: float = 0.05,
    duration: Callable[[float], str] = "{} steps".format,
) -> Verdict:
    """Returns the summary of the correlogram of a series.

    Single lags are named only if the Ljung-Box test rejects. A lag is significant if its
    autocorrelation exceeds z times Bartlett's deviation sqrt((1 + 2 sum_{j<k} r_j^2) / n), a
    partial autocorrelation if it exceeds z / sqrt(n). Here z is the two-sided quantile of level
    alpha / K (Bonferroni): for noise, at most a share alpha of all series gets any lag named. A
    correlogram that does not die out shows that the series has no fixed mean; its differences may
    have one. Box, Jenkins 1970, "Time Series Analysis", section 6.2.1. Differences of noise have
    -1/2 at lag 1: then the series was differenced once too often.

    Args:
      values: (K,), autocorrelations of lags 1 to K.
      partial: (M,), partial autocorrelations of lags 1 to M.
      count: n, the number of values.
      pvalue: p value of the Ljung-Box test of all K lags.
      period: the period of `seasonal_period`, 0 for none.
      calendar: steps of the calendar's cycle, 12 for months; 1 for none.
      differenced: whether the values are differences.
      seasonally: whether they are differences to the season before. Then no cycle is reported,
        because such differences cause autocorrelation around that lag.
      alpha: level.
      duration: returns a number of steps in words.

    Raises:
      ValueError: if there is no lag.

    Examples:
      >>> found = verdict(np.array([0.9, 0.8, 0.7]), np.array([0.9, 0.0, 0.0]), 100, pvalue=1e-9)
      >>> found.kind, found.positive_to
      ('memory', 3)
    """
    if not len(values):
        raise ValueError("values: got no lags, expected at least one")
    values = np.nan_to_num(as_floats("values", values).astype(np.float64))
    if np.isnan(pvalue):
        words = (
            f"Not tested: the Ljung-Box test has no p value for {len(values)} lags, because too "
            "few values are a lag apart."
        )
        return Verdict("untested", 0, 0, 0, (), words)
    if not pvalue <= alpha:
        words = (
            f"No autocorrelation: the Ljung-Box test has p = {pvalue:.2g} for {len(values)} lags. "
            "No linear dependence on earlier values is significant."
        )
        return Verdict("none", 0, 0, 0, (), words)
    z = -float(special.ndtri(alpha / len(values) / 2))
    squares = np.concatenate([[0.0], np.cumsum(values[:-1] ** 2)])
    limits = z * np.sqrt((1 + 2 * squares) / count)
    positive_to = _run(values > limits)
    low = np.flatnonzero(values < -limits)
    negative_at = 0
    if len(low):
        run = low[0] + np.arange(_run(values[low[0] :] < 0))
        negative_at = int(run[np.argmin(values[run])]) + 1
    stands = np.abs(np.nan_to_num(as_floats("partial", partial))) > z / np.sqrt(count)
    lags = tuple(int(lag) + 1 for lag in np.flatnonzero(stands))
    if seasonally:
        period = 0
    slow = len(values) >= SLOW_LAGS and values[SLOW_LAGS - 1] >= SLOW
    slow = slow and bool((values[:SLOW_LAGS] > z / np.sqrt(count)).all())

    said = []
    if positive_to:
        said.append(
            "positive at all lags"
            if positive_to == len(values)
            else f"positive up to lag {positive_to}"
        )
    if negative_at:
        said.append(f"negative {'at' if negative_at == 1 else 'around'} lag {negative_at}")
    if period:
        strength = f" (r = {values[period - 1]:.2f})" if period <= len(values) else ""
        length = f"a season of {duration(period)}"
        if period != calendar:
            length = f"a cycle of about {duration(_top(values, period))}"
        around = values[max(period - 2, 0) : period + 1]
        at = "at" if period > len(values) or values[period - 1] == around.max() else "around"
        said.append(f"peak {at} lag {period}{strength}: {length}")
    if seasonally and calendar in low + 1 and calendar > 1:
        said.append(f"negative at lag {calendar}, an effect of the differences")
    if not said:
        said.append("weak: no single lag is significant")
    sentences = [", ".join(said)]
    if slow:
        sentences.append(
            "it fades slowly, like that of a trend or a random walk: look at the differences"
        )
    elif period == calendar > 1:
        sentences.append("seasonal differences show what the season hides")
    if differenced and values[0] < OVERDONE:
        sentences.append("lag 1 is as negative as after one difference too many")
    if lags and not slow:
        sentences.append(
            f"partial autocorrelation at lag{'s' if len(lags) > 1 else ''} {_listed(lags)}: an "
            f"autoregression of {'them' if len(lags) > 1 else 'it'} is a model to begin with"
        )
    words = " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)
    kind = "trend" if slow else "cycle" if period else "memory"
    return Verdict(kind, positive_to, negative_at, period, lags, words)


def label_words(
    name: str, lags: Sequence[int], values: np.ndarray, pvalues: np.ndarray, alpha: float = 0.05
) -> str:
    """Returns a sentence that summarizes associations by lag.

    A lag stands out if p is up to alpha / L, of L lags (Bonferroni).

    Args:
      name: the series at earlier steps, such as "the meal before".
      lags: (L,).
      values: (L,), Cramer's V.
      pvalues: (L,).
      alpha: level.

    Raises:
      ValueError: if there is no lag.

    Examples:
      >>> label_words("the meal before", [1, 2], np.array([0.6, 0.1]), np.array([0.001, 0.5]))
      'the meal before: association at lag 1, strongest at lag 1 (V = 0.60, p = 0.001).'
    """
    if not len(lags):
        raise ValueError("lags: got none, expected at least one")
    values, pvalues = as_floats("values", values), as_floats("pvalues", pvalues)
    if not np.isfinite(pvalues).any():
        return f"{name}: not tested, because no p value could be computed."
    stands = pvalues <= alpha / len(lags)
    best = int(np.nanargmax(values))
    if not stands.any():
        least = float(np.nanmin(pvalues))
        return f"{name}: no association (V up to {values[best]:.2f}, p from {least:.2g})."
    significant = tuple(int(lag) for lag, shown in zip(lags, stands, strict=True) if shown)
    best = int(np.argmax(np.where(stands, values, -1)))
    plural = "s" if len(significant) > 1 else ""
    return (
        f"{name}: association at lag{plural} {_listed(significant)}, strongest at lag {lags[best]} "
        f"(V = {values[best]:.2f}, p = {pvalues[best]:.2g})."
    )


def _run(shown: np.ndarray) -> int:
    """Returns the number of true values before the first false one."""
    return int(np.argmin(shown)) if not shown.all() else len(shown)


def _top(values: np.ndarray, lag: int) -> float:
    """Returns the maximum of the parabola through a peak and its neighbors, to 0.1."""
    if not 1 < lag < len(values):
        return lag
    left, peak, right = values[lag - 2 : lag + 1]
    bend = left - 2 * peak + right
    top = lag + (0.5 * (left - right) / bend if bend < 0 else 0.0)
    return round(top, 1) if abs(top - round(top)) > 0.05 else round(top)


def _listed(lags: Sequence[int]) -> str:
    """Returns text such as "1 to 4, 9": runs of three or more by their ends, the first few."""
    pieces, start = [], 0
    for end in range(1, len(lags) + 1):
        if end < len(lags) and lags[end] == lags[end - 1] + 1:
            continue
        run = lags[start:end]
        pieces += [f"{run[0]} to {run[-1]}"] if len(run) > 2 else [str(lag) for lag in run]
        start = end
    more = ", ..." if len(pieces) > MOST_NAMED else ""
    return ", ".join(pieces[:MOST_NAMED]) + more
