"""Scores of predicted classes, and a paired bootstrap interval of their difference."""

from collections.abc import Sequence

import numpy as np

from seqmodels.arrays import as_labels


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns how often each class (row) was predicted as each class (column).

    Args:
      truth: int (N,), of any integer dtype, in [0, C).
      predicted: int (N,), in [0, C).
      num_classes: C.

    Returns:
      int64 (C, C).

    Raises:
      ValueError: if labels are not integers, are masked or lie outside [0, C), or if the shapes
        differ.

    Examples:
      >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), num_classes=2)
      array([[1, 1],
             [0, 1]])
    """
    pairs = _pairs(truth, predicted, num_classes)
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Returns the mean over the classes of F1 = 2 hits / (2 hits + misses + false alarms).

    A class that neither occurs nor is predicted counts as 0.

    Args:
      confusion: (..., C, C), from `confusion_matrix`.

    Returns:
      float64 (...).

    Raises:
      ValueError: if there are no classes.

    Examples:
      >>> round(float(macro_f1(np.array([[1, 1], [0, 1]]))), 3)
      0.667
    """
    confusion = np.asarray(confusion, np.float64)
    if confusion.ndim < 2 or not confusion.shape[-1]:
        raise ValueError(f"confusion: got {list(confusion.shape)}, expected (..., C, C), C > 0")
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    both = confusion.sum(-1) + confusion.sum(-2)
    return np.mean(2 * hits / np.maximum(both, 1), axis=-1)


def paired_bootstrap(
    truth: np.ndarray,
    predicted: Sequence[np.ndarray],
    baseline: np.ndarray,
    num_classes: int,
    *,
    draws: int = 2_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Returns the difference in macro-F1 of a model to a baseline, with a percentile interval.

    Each draw takes N test items and S seeds with replacement, the same items for both. The model's
    macro-F1 is the mean over the seeds drawn. Efron, Tibshirani 1993, "An Introduction to the
    Bootstrap"; Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation".

    Args:
      truth: int (N,).
      predicted: for each of S seeds int (N,).
      baseline: int (N,).
      num_classes: C.
      draws: the number of draws.
      confidence: the confidence level.
      seed: the seed of the draws.

    Returns:
      (difference, low, high).

    Raises:
      ValueError: as `confusion_matrix`, and if there are no items or no seeds.

    Examples:
      >>> truth, baseline = np.array([0, 1] * 20), np.zeros(40, int)
      >>> difference, low, high = paired_bootstrap(truth, [truth], baseline, 2, draws=100)
      >>> round(difference, 3)
      0.667
    """
    if not len(truth) or not len(predicted):
        raise ValueError(
            f"truth: got {len(truth)} items and {len(predicted)} seeds, expected at least one"
        )
    rng = np.random.default_rng(seed)
    # A draw gives each item a count; then a confusion matrix is a weighted count.
    pairs = np.stack([_pairs(truth, each, num_classes) for each in (*predicted, baseline)])
    whole = macro_f1(_counts(pairs, np.ones((1, len(truth)), np.int64), num_classes))[:, 0]
    items = rng.multinomial(len(truth), np.full(len(truth), 1 / len(truth)), size=draws)
    drawn = macro_f1(_counts(pairs, items, num_classes))
    seeds = rng.integers(0, len(predicted), (draws, len(predicted)))
    mean = np.mean(drawn[seeds.T, np.arange(draws)], axis=0)
    low, high = np.quantile(mean - drawn[-1], [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(np.mean(whole[:-1]) - whole[-1]), float(low), float(high)


def _pairs(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the number of the cell of the confusion matrix of each item, int64 (N,)."""
    rows = as_labels("truth", truth, num_classes)
    columns = as_labels("predicted", predicted, num_classes)
    if rows.ndim != 1 or rows.shape != columns.shape:
        raise ValueError(
            f"predicted: got {list(columns.shape)} for {list(rows.shape)} of truth, expected one "
            "label for each item"
        )
    return rows * num_classes + columns


def _counts(pairs: np.ndarray, items: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns confusion matrices (sources, draws, C, C) of items with the given counts."""
    cells = np.stack([pairs == cell for cell in range(num_classes**2)], axis=-1)
    counts = np.einsum("dn,snc->sdc", items.astype(np.float64), cells.astype(np.float64))
    return counts.reshape(*counts.shape[:2], num_classes, num_classes)
