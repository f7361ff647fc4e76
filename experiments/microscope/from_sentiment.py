"""Models of a run of sentiment: recurrent classifiers of texts."""

import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common import saved_models
from experiments.common.errors import UserError
from experiments.long_context.texts import Text
from experiments.microscope.models import LABELS, Anatomy, Collection, Model
from experiments.microscope.page import Sentence, WordNgrams
from experiments.sentiment import model as sentiment
from experiments.sentiment.model import Predictor
from seqmodels.data import word_features
from seqmodels.models import text_classifier
from seqmodels.models.layers import dense

PROGRAM = "sentiment"
SENTENCES = (
    "I did not like the beginning at all, but then it became the best film of the year.",
    "What a wonderful day, thank you so much!",
    "The flight was late again and nobody answered the phone.",
)


def load(folder: str | os.PathLike[str], results: dict[str, Any]) -> Collection:
    """Returns the models of a finished run, of every cell the seed best in validation.

    Args:
      folder: the folder of the run, or of one of its models.
      results: results.json of the run.

    Raises:
      UserError: for a run that cannot be shown.
      ValueError or OSError: for a model that cannot be read.
    """
    found = [
        (one, sentiment.restore(one.saved))
        for one in saved_models.best_of_each(PROGRAM, folder)
        if one.name in LABELS
    ]
    if not found:
        raise UserError("model_dir: got a run without a recurrent model, expected one with a cell")
    first = found[0][1]
    models = tuple(
        Model(
            name=LABELS[one.name],
            cell=one.name,
            anatomy=_anatomy(predictor),
            params=predictor.params,
            distance=None,
            seed=one.seed,
            accuracy=one.record.get("accuracy"),
        )
        for one, predictor in found
    )
    features, config = first.features, first.config
    tokenizer = features.tokenizer
    return Collection(
        run=found[0][0].saved.folder.parents[1],
        results=results,
        title=f"Sentiment: {config.data}",
        task=config.data,
        tokens=WordNgrams(
            tuple(
                tokenizer.id_to_token(number) or "" for number in range(tokenizer.get_vocab_size())
            ),
            features.buckets,
            features.sizes,
            features.width,
        ),
        classes=config.classes,
        centre=config.centre,
        models=models,
        sentences=tuple(map(Sentence, SENTENCES)),
        encode=functools.partial(_encode, first),
        max_words=config.max_words,
    )


def _anatomy(predictor: Predictor) -> Anatomy:
    """Returns the functions of a classifier, whose outputs are pooled over the words."""
    pool_words = predictor.config.pool_words

    def read(params: Any, xs: Any, ys: Any, lengths: Any) -> jax.Array:
        ys = ys.astype(params.w_out.dtype)
        sequences = [ys, xs] if pool_words else [ys]
        pooled = [text_classifier.pool(sequence, lengths) for sequence in sequences]
        together = jnp.concatenate(pooled, axis=-1)
        return dense((params.w_out, params.b_out), together, dtype=predictor.config.precision)

    cell = sentiment.build_cell(predictor.config)
    assert cell is not None  # a bag of words has no label
    return Anatomy(cell, predictor.model.embed, read)


def _encode(predictor: Predictor, text: str) -> Text:
    words, rows = sentiment.encode(predictor, text)
    if not words:
        raise ValueError(f"text: got {text!r:.40}, expected a text with a word in it")
    unread = [
        word for word, row in zip(words, rows, strict=True) if row[0] == word_features.UNKNOWN
    ]
    return Text(words, np.asarray(rows)[:, None], unread)
