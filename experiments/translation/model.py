"""Models of the translation study: construction, training, saving and restoring."""

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.common.jobs import Training
from experiments.translation.config import PROGRAM
from experiments.translation.data import Batch, Data, Tokenizers, training_batches
from experiments.translation.metrics import scores, scores_by_part
from experiments.translation.translate import Translation, make_translate
from seqmodels import model_files
from seqmodels.data import subwords
from seqmodels.data.phrase_splits import Splits
from seqmodels.model_files import SavedModel
from seqmodels.models.translator import Translator, translator
from seqmodels.training.optimizers import OptimizerSettings
from seqmodels.training.settings import FitSettings
from seqmodels.training.steps import Loss
from seqmodels.types import Array, Params


class ModelConfig(NamedTuple):
    """Everything needed to rebuild a model and to translate with it."""

    attention: str
    source_size: int
    target_size: int
    hidden_size: int
    embedding_size: int
    dropout: float
    max_tokens: int
    beam: int = 1
    length_penalty: float = 0.0
    precision: str = "float32"


class TrainedTranslator(NamedTuple):
    """A trained model: configuration, model, parameters and tokenizers."""

    config: ModelConfig
    model: Translator
    params: Params
    tokenizers: Tokenizers


def build(config: ModelConfig) -> Translator:
    """Returns the model of a configuration."""
    return translator(
        config.source_size,
        config.target_size,
        attention=config.attention,
        hidden_size=config.hidden_size,
        embedding_size=config.embedding_size,
        dropout=config.dropout,
        dtype=config.precision,
    )


def make_loss(model: Translator, smoothing: float, sampling: bool) -> Callable[..., Loss]:
    """Returns the loss: cross-entropy with label smoothing, a mean over the target's tokens.

    The smoothed target is (1 - smoothing) * one-hot + smoothing / V (Szegedy et al. 2016, arXiv
    1512.00567); the metric `nll` is the cross-entropy without.

    Args:
      model: the translator.
      smoothing: in [0, 1).
      sampling: whether there is scheduled sampling.

    Returns:
      `loss(params, batch, key, carry) -> Loss`.
    """

    def loss(params: Params, batch: Batch, key: Array, carry: Any) -> Loss:
        pairs = batch.pairs
        key_encode, key_apply, key_predicted = jax.random.split(key, 3)
        encoded = model.encode(params, pairs.sources, pairs.source_lengths, key_encode)
        inputs = shifted(pairs.targets)
        predicted = None
        if sampling:
            predicted = jax.random.uniform(key_predicted, inputs.shape) < batch.predicted[None]
        logits, _ = model.apply(params, encoded, inputs, key_apply, predicted)
        total = jax.nn.logsumexp(logits, axis=-1)
        right = jnp.take_along_axis(logits, pairs.targets[..., None], axis=-1)[..., 0]
        nll = total - right
        losses = (1 - smoothing) * nll + smoothing * (total - jnp.mean(logits, axis=-1))
        valid = jnp.arange(len(inputs))[:, None] < pairs.target_lengths[None]
        count = jnp.sum(valid).astype(losses.dtype)
        return Loss(jnp.sum(losses * valid), count, {"nll": jnp.sum(nll * valid)}, carry)

    return loss


def shifted(targets: Array) -> Array:
    """Returns the inputs of the decoder that writes `targets` (T, B): BOS, and all but the last."""
    first = jnp.full((1, *targets.shape[1:]), subwords.BOS, targets.dtype)
    return jnp.concatenate([first, targets[:-1]])


def training(
    config: ModelConfig,
    data: Data,
    *,
    batch: int,
    label_smoothing: float,
    scheduled_sampling: float,
    optimizer: OptimizerSettings,
    fit: FitSettings,
) -> Training:
    """Returns the training of one model.

    Args:
      config: the model.
      data: the result of `data.encode`.
      batch: pairs a step over all processes.
      label_smoothing: probability that is spread over all tokens.
      scheduled_sampling: share of inputs that the decoder predicts itself, at the end.
      optimizer: settings of the optimizer.
      fit: settings of the training loop.
    """
    splits, tokenizers = data.splits, data.tokenizers
    model = build(config)
    greedy = make_translate(model, tokenizers, config.max_tokens)

    def evaluate(params: Any) -> dict[str, float]:
        found = greedy(params, [pair.source for pair in splits.validation])
        figures = scores([translations[0].text for translations in found], splits.validation)
        return {f"validation_{metric}": value for metric, value in figures.items()}

    def test(seed: int, params: Any) -> dict[str, Any]:
        return measure(TrainedTranslator(config, model, params, tokenizers), splits)

    def save(folder: pathlib.Path, seed: int, params: Any) -> None:
        about = config._asdict() | {"seed": seed}
        model_files.save(folder, PROGRAM, about, params, tokenizers.texts())

    return Training(
        name=config.attention,
        init=model.init,
        loss=make_loss(model, label_smoothing, scheduled_sampling > 0),
        batches=functools.partial(
            training_batches,
            data,
            batch=batch,
            scheduled_sampling=scheduled_sampling,
            steps=fit.steps,
        ),
        evaluate=evaluate,
        test=test,
        save=save,
        optimizer=optimizer,
        # Batches differ in shape, so that each step is a dispatch of its own.
        fit=fit._replace(best="validation_bleu", best_mode="max", steps_per_dispatch=1),
    )


def translations(trained: TrainedTranslator, texts: Sequence[str]) -> list[list[Translation]]:
    """Returns the translations of each text by the beam search of a model, the best first."""
    config = trained.config
    translate = make_translate(
        trained.model,
        trained.tokenizers,
        config.max_tokens,
        width=config.beam,
        length_penalty=config.length_penalty,
    )
    return translate(trained.params, texts)


def measure(trained: TrainedTranslator, splits: Splits) -> dict[str, float]:
    """Returns the figures of a model on the test splits; see `metrics.scores_by_part`."""
    return scores_by_part(
        splits, lambda texts: [found[0].text for found in translations(trained, texts)]
    )


def restore(saved: SavedModel) -> TrainedTranslator:
    """Returns a saved model; ValueError in one line if its files do not match."""
    try:
        config = ModelConfig(**{name: saved.config[name] for name in ModelConfig._fields})
        texts = [saved.texts[f"{name}.json"] for name in Tokenizers._fields]
    except (TypeError, KeyError):
        raise ValueError(f"model: {saved.folder} was saved by another version") from None
    model = build(config)
    params = model_files.restore(saved, model.init)
    tokenizers = Tokenizers(*(subwords.from_text(text) for text in texts))
    return TrainedTranslator(config, model, params, tokenizers)
