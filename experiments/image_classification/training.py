"""How the image classifiers are trained and scored, and what they are compared with."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common.runner import Training
from experiments.image_classification.model import Config, build, probabilities, settings
from seqmodels import model_files
from seqmodels.analysis.classification import confusion_matrix
from seqmodels.data.batches import Batches, shuffled
from seqmodels.datasets import digit_images
from seqmodels.datasets.digit_images import NUM_CLASSES, Images
from seqmodels.training.losses import cross_entropy
from seqmodels.training.optimizers import OptimizerSettings
from seqmodels.training.settings import FitSettings
from seqmodels.training.steps import Loss
from seqmodels.types import Array, Params

PROGRAM = "image_classification"
INVERSE_PENALTIES = (0.01, 0.1, 1.0)  # of the logistic regression, chosen in validation


def training(
    config: Config,
    splits: dict[str, Images],
    *,
    batch: int,
    shift: int,
    optimizer: OptimizerSettings,
    fit: FitSettings,
) -> Training:
    """Returns how one model is trained; the best parameters are those of least validation loss.

    Args:
      config: the model.
      splits: "train", "validation" and "test".
      batch: images a step.
      shift: pixels by which training images are moved at most.
      optimizer: how parameters are updated.
      fit: how long.
    """
    classifier = build(config)

    def loss(params: Params, rows: Images, key: Array, carry: Any) -> Loss:
        key_shift, key_dropout = jax.random.split(key)
        images = digit_images.random_shift(key_shift, jnp.asarray(rows.images), shift)
        labels = jnp.asarray(rows.labels)
        logits = classifier.apply(params, images, key=key_dropout)
        right = jnp.sum(jnp.argmax(logits, axis=-1) == labels)
        total = cross_entropy(logits, labels) * len(labels)
        return Loss(total, len(labels), {"accuracy": right}, carry)

    def evaluate(params: Params) -> dict[str, float]:
        validation = splits["validation"]
        found = scores(probabilities(classifier, params, validation.images), validation)
        return {f"validation_{name}": value for name, value in found.items()}

    def finish(seed: int, params: Params, folder: pathlib.Path) -> dict[str, Any]:
        model_files.save(folder, PROGRAM, settings(config), params)
        test = splits["test"]
        found = probabilities(classifier, params, test.images)
        figures = {f"test_{name}": value for name, value in scores(found, test).items()}
        counts = confusion_matrix(test.labels, found.argmax(axis=-1), NUM_CLASSES)
        return {**figures, "confusion": counts.tolist()}

    def batches(seed: int) -> Batches:
        return shuffled(
            splits["train"],
            batch,
            seed=seed,
            process=jax.process_index(),
            num_processes=jax.process_count(),
        )

    return Training(
        name=config.name,
        init=classifier.init,
        loss=loss,
        batches=batches,
        evaluate=evaluate,
        finish=finish,
        optimizer=optimizer,
        fit=fit._replace(best="validation_loss"),
    )


def scores(found: np.ndarray, images: Images) -> dict[str, float]:
    """Returns accuracy and mean negative log likelihood.

    Args:
      found: (N, C) probabilities.
      images: with labels (N,).
    """
    # In float64 the smallest float32 has a logarithm, but 0 has not.
    true = np.maximum(found[np.arange(len(found)), images.labels].astype(np.float64), 1e-38)
    return {
        "accuracy": float(np.mean(found.argmax(axis=-1) == images.labels)),
        "loss": float(-np.mean(np.log(true))),
    }


def baselines(splits: dict[str, Images]) -> list[dict[str, Any]]:
    """Returns the records of what needs no network: the nearest image, and logistic regression."""
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
