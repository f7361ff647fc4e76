"""Models of the sentiment study: construction, training, saving and prediction."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer

import seqmodels as sm
from experiments.common.jobs import Training
from experiments.sentiment.baselines import scores
from experiments.sentiment.config import PROGRAM
from experiments.sentiment.data import Encoded
from seqmodels import model_files
from seqmodels.cells import catalog
from seqmodels.data import word_features
from seqmodels.data.word_features import WordFeatures
from seqmodels.model_files import SavedModel
from seqmodels.models.text_classifier import TextClassifier, text_classifier
from seqmodels.training.loop import Inspection
from seqmodels.training.losses import weighted_cross_entropy
from seqmodels.training.optimizers import OptimizerSettings
from seqmodels.training.settings import FitSettings
from seqmodels.training.steps import Loss
from seqmodels.training.stopping import Stopping
from seqmodels.training.watch import Reading

TOKENIZER = "tokenizer.json"
HEADS = {"classes": "validation_macro_f1", "rating": "validation_rmse"}


class ModelConfig(NamedTuple):
    """Everything needed to rebuild a model; `classes` is empty for a rating."""

    cell: str
    embedding: int
    hidden: int
    dropout: float
    word_dropout: float
    embedding_dropout: float
    buckets: int
    shortest_ngram: int
    longest_ngram: int
    max_words: int
    classes: tuple[str, ...]
    centre: float
    data: str
    pool_words: bool = False
    precision: str = "float32"


class Predictor(NamedTuple):
    """A trained model: config, model, features and parameters."""

    config: ModelConfig
    model: TextClassifier
    features: WordFeatures
    params: Any


def build_cell(config: ModelConfig) -> sm.Cell | None:
    """Returns the cell of a configuration; None for a bag of words."""
    sizes, dtype = (config.embedding, config.hidden), config.precision
    if config.cell == "bilstm":
        return sm.bidirectional(*(sm.lstm(*sizes, dtype=dtype) for _ in range(2)))
    return None if config.cell == "bag" else catalog.CELLS[config.cell](*sizes, dtype=dtype)


def build(
    config: ModelConfig, num_features: int, vectors: np.ndarray | None = None
) -> TextClassifier:
    """Returns the model of a configuration.

    Args:
      config: the model.
      num_features: size of the embedding's table.
      vectors: float32 (W, D), initial embeddings of words; None: at random.
    """
    return text_classifier(
        build_cell(config),
        num_features=num_features,
        embedding_size=config.embedding,
        hidden_size=config.hidden * {"bag": 0, "bilstm": 2}.get(config.cell, 1),
        output_size=max(len(config.classes), 1),
        dropout=config.dropout,
        word_dropout=config.word_dropout,
        embedding_dropout=config.embedding_dropout,
        pool_words=config.pool_words,
        vectors=None if vectors is None else jnp.asarray(vectors),
        dtype=config.precision,
    )


def training(
    config: ModelConfig,
    texts: Encoded,
    vectors: np.ndarray | None,
    *,
    batch: int,
    balance: float,
    optimizer: OptimizerSettings,
    fit: FitSettings,
    stopping: Stopping | None = None,
    watching: Callable[..., Inspection | None] = lambda cell, read, batch: None,
) -> Training:
    """Returns the training of one model.

    Args:
      config: the model.
      texts: the data, with the features of the training split.
      vectors: float32 (W, D), initial embeddings of words; None: at random.
      batch: texts a step.
      balance: the exponent of a class's weight, (N / (C N_c)) ** balance: 0 for none, 1 for equal
        shares of all classes.
      optimizer: settings of the optimizer.
      fit: settings of the training loop.
      stopping: a rule that ends the training early.
      watching: `watching(cell, read, batch)`, of `TrainingConfig`.
    """
    data = texts.data
    model = build(config, texts.features.num_features, vectors)
    apply = jax.jit(model.apply)
    counts = np.bincount(data.splits["train"].labels, minlength=max(len(config.classes), 1))
    class_weights = (counts.sum() / (len(counts) * np.maximum(counts, 1))) ** balance

    def loss(params: Any, batch: Any, key: jax.Array, carry: Any) -> Loss:
        outputs = model.apply(params, batch.xs, batch.lengths, key=key)
        if config.classes:
            weights = batch.weights * jnp.asarray(class_weights, jnp.float32)[batch.targets]
            total = weighted_cross_entropy(outputs, batch.targets, weights)
            return Loss(total, jnp.sum(weights), carry=carry)
        errors = jnp.square(outputs[:, 0] + config.centre - batch.targets)
        return Loss(jnp.sum(batch.weights * errors), jnp.sum(batch.weights), carry=carry)

    def outputs_of(params: Any, split: str) -> np.ndarray:
        batches = texts.evaluation_batches(split)
        outputs = np.zeros((len(data.splits[split].texts), max(len(config.classes), 1)))
        for number in range(batches.per_epoch):
            rows = batches.at(number)
            present = rows.weights > 0
            found = np.asarray(apply(params, rows.xs, rows.lengths))
            outputs[rows.targets[present]] = found[present]
        return outputs

    def answers(params: Any, split: str) -> np.ndarray:
        outputs = outputs_of(params, split)
        return outputs.argmax(axis=1) if config.classes else outputs[:, 0] + config.centre

    def evaluate(params: Any) -> dict[str, float]:
        found = scores(data.targets("validation"), answers(params, "validation"), config.classes)
        return {f"validation_{name}": value for name, value in found.items()}

    def test(seed: int, params: Any) -> dict[str, Any]:
        predicted = answers(params, "test")
        figures = scores(data.targets("test"), predicted, config.classes)
        return figures | {"predicted": predicted.tolist()}

    def read(params: Any, rows: Any) -> Reading:
        return Reading(params.cell, model.embed(params, rows.xs), lengths=rows.lengths)

    def save(folder: pathlib.Path, seed: int, params: Any) -> None:
        files = {TOKENIZER: texts.features.tokenizer.to_str()}
        model_files.save(folder, PROGRAM, config._asdict(), params, files)

    return Training(
        name=config.cell,
        init=model.init,
        loss=loss,
        batches=functools.partial(texts.training_batches, batch),
        evaluate=evaluate,
        test=test,
        save=save,
        optimizer=optimizer,
        fit=fit._replace(
            best=HEADS["classes" if config.classes else "rating"],
            best_mode="max" if config.classes else "min",
            # Batches differ in their length, so that a dispatch cannot hold several.
            steps_per_dispatch=1,
        ),
        stopping=stopping,
        watch=watching(
            build_cell(config), read, lambda: texts.evaluation_batches("validation").at(0)
        ),
    )


def restore(found: SavedModel) -> Predictor:
    """Returns a saved model; ValueError in one line if it cannot be built from its files."""
    try:
        config = ModelConfig(**found.config)._replace(classes=tuple(found.config["classes"]))
        tokenizer = Tokenizer.from_str(found.texts[TOKENIZER])
    except (TypeError, KeyError):
        raise ValueError(f"model: {found.folder} was saved by another version") from None
    sizes = (config.shortest_ngram, config.longest_ngram)
    features = WordFeatures(tokenizer, config.buckets, sizes)
    model = build(config, features.num_features)
    return Predictor(config, model, features, model_files.restore(found, model.init))


def answer(config: ModelConfig, outputs: jax.Array) -> jax.Array:
    """Returns probabilities (B, C) of the classes, or ratings (B, 1), of a model's outputs."""
    return jax.nn.softmax(outputs) if config.classes else outputs + config.centre


def predict(predictor: Predictor, rows: list[np.ndarray]) -> np.ndarray:
    """Returns the predictions for texts: probabilities (N, C), or ratings (N, 1).

    Args:
      predictor: the result of `restore`.
      rows: N texts of `word_features.encode`.
    """
    lengths = np.array([len(row) for row in rows], np.int32)
    xs = np.zeros((max(1, lengths.max()), len(rows), predictor.features.width), np.int32)
    for number, row in enumerate(rows):
        xs[: len(row), number] = row
    outputs = predictor.model.apply(predictor.params, xs, lengths)
    return np.asarray(answer(predictor.config, outputs))


def encode(predictor: Predictor, text: str) -> tuple[list[str], np.ndarray]:
    """Returns the words of a text and their features, before any are left out."""
    return word_features.words(predictor.features, text), word_features.encode(
        predictor.features, [text]
    )[0]
