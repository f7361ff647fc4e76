"""Figures of predicted probabilities, and the baselines of the image classification."""

import importlib.util
from typing import Any

import numpy as np

from seqmodels.datasets.digit_images import Images

INVERSE_PENALTIES = (0.01, 0.1, 1.0)  # C of the logistic regression, chosen in validation


def check_baselines() -> None:
    """Raises ModuleNotFoundError if what the baselines need is not installed."""
    if importlib.util.find_spec("sklearn") is None:
        raise ModuleNotFoundError("the baselines need scikit-learn: pip install 'seqmodels[data]'")


def scores(found: np.ndarray, images: Images) -> dict[str, float]:
    """Returns accuracy and mean negative log likelihood.

    Args:
      found: (N, C) probabilities.
      images: images with labels (N,).
    """
    # In float64 the smallest float32 has a logarithm, but 0 has not.
    true = np.maximum(found[np.arange(len(found)), images.labels].astype(np.float64), 1e-38)
    return {
        "accuracy": float(np.mean(found.argmax(axis=-1) == images.labels)),
        "loss": float(-np.mean(np.log(true))),
    }


def baselines(splits: dict[str, Images]) -> list[dict[str, Any]]:
    """Returns the records of the nearest image and of logistic regression.

    Args:
      splits: "train", "validation" and "test".
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    flat = {name: one.images.reshape(len(one.labels), -1) for name, one in splits.items()}

    def accuracy(fitted: Any, split: str) -> float:
        return float(np.mean(fitted.predict(flat[split]) == splits[split].labels))

    nearest = KNeighborsClassifier(1)
    regressions = [LogisticRegression(C=penalty, max_iter=2000) for penalty in INVERSE_PENALTIES]
    for model in (nearest, *regressions):
        model.fit(flat["train"], splits["train"].labels)
    chosen = max(regressions, key=lambda model: accuracy(model, "validation"))
    return [
        {"model": name, "test_accuracy": accuracy(model, "test")}
        for name, model in {"nearest image": nearest, "logistic regression": chosen}.items()
    ]
