"""Figures of predicted classes or ratings, and the baselines that are measured by them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.sentiment.data import Data
from seqmodels.analysis.classification import confusion_matrix, macro_f1
from seqmodels.texts import mark_class

STRENGTHS = (1.0, 3.0, 10.0, 30.0)  # C of the logistic regression, 1 / alpha of the ridge
NGRAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "words": ("TF-IDF, words 1-2", {"ngram_range": (1, 2)}),
    "characters": ("TF-IDF, characters 2-5", {"ngram_range": (2, 5), "analyzer": "char"}),
}


def scores(truth: np.ndarray, predicted: np.ndarray, classes: tuple[str, ...]) -> dict[str, float]:
    """Returns macro_f1 and accuracy of classes, or rmse and correlation of ratings.

    Args:
      truth: (N,).
      predicted: (N,).
      classes: names of the classes; none for ratings.
    """
    if classes:
        found = confusion_matrix(truth, predicted, len(classes))
        return {
            "macro_f1": float(macro_f1(found)),
            "accuracy": float(np.mean(truth == predicted)),
        }
    constant = np.ptp(truth) == 0 or np.ptp(predicted) == 0
    return {
        "rmse": float(np.sqrt(np.mean(np.square(truth - predicted)))),
        "correlation": 0.0 if constant else float(np.corrcoef(truth, predicted)[0, 1]),
    }


def baselines(data: Data, ngrams: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the records of the baselines, measured on the test split.

    The most frequent class (the mean rating), and TF-IDF of word 1-2-grams and character 2-5-grams
    with logistic regression (ridge regression). Strength of regularization and class weight are
    chosen on the validation split.

    Args:
      data: the texts.
      ngrams: some of `NGRAMS`.

    Raises:
      ModuleNotFoundError: if scikit-learn is not installed.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the baselines need scikit-learn: pip install 'seqmodels[data]'"
        ) from error
    truth = data.targets("train")
    constant = np.bincount(truth).argmax() if data.classes else truth.mean()
    records = [_record(data, "majority" if data.classes else "mean rating", constant)]
    for name, settings in (NGRAMS[kind] for kind in ngrams):
        if settings.get("analyzer", "word") == "word":
            # Words of two letters or more, each letter with its combining marks.
            settings = settings | {"token_pattern": rf"(?:\w[{mark_class()}]*){{2,}}"}
        vectorizer = TfidfVectorizer(sublinear_tf=True, **settings)
        xs = {
            split: (vectorizer.transform if number else vectorizer.fit_transform)(texts.texts)
            for number, (split, texts) in enumerate(data.splits.items())
        }
        tried = []
        for model, about in _candidates(data):
            model.fit(xs["train"], truth)
            validated = scores(
                data.targets("validation"), model.predict(xs["validation"]), data.classes
            )
            value = validated["macro_f1"] if data.classes else -validated["rmse"]
            tried.append((value, about, model.predict(xs["test"])))
        value, about, predicted = max(tried, key=lambda one: one[0])
        record = _record(data, name, predicted)
        records.append(record | {"chosen": about, "validation": abs(value)})
    return records


def _candidates(data: Data) -> list[tuple[Any, dict[str, Any]]]:
    from sklearn.linear_model import LogisticRegression, Ridge

    if not data.classes:
        return [(Ridge(alpha=1 / strength), {"alpha": 1 / strength}) for strength in STRENGTHS]
    counts = np.bincount(data.targets("train"))
    weights = (None,) if counts.min() > 0.9 * counts.max() else (None, "balanced")
    return [
        (
            LogisticRegression(C=strength, class_weight=weight, max_iter=1_000),
            {"C": strength, "class_weight": weight},
        )
        for weight in weights
        for strength in STRENGTHS
    ]


def _record(data: Data, name: str, predicted: Any) -> dict[str, Any]:
    truth = data.targets("test")
    answers = np.broadcast_to(predicted, truth.shape)
    found: dict[str, Any] = {"model": name, **scores(truth, answers, data.classes)}
    return found | {"predicted": answers.tolist()}
