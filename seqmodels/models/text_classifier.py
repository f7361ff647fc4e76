"""Text classifier (many to one): word features, cell, pooling over time, linear readout."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.drivers.unroll import unroll
from seqmodels.models.layers import dense, dense_init
from seqmodels.models.layers import dropout as apply_dropout
from seqmodels.types import Array, Cell, Driver, Params


class TextClassifierParams(NamedTuple):
    """embedding: (V, D). cell: the cell's, () for none. w_out: (P, C) for P pooled. b_out: (C,)."""

    embedding: Array
    cell: Params
    w_out: Array
    b_out: Array


class TextClassifier(NamedTuple):
    """A model as a pair of pure functions.

    Attributes:
      init: `init(key) -> TextClassifierParams`.
      embed: `embed(params, features) -> xs (T, B, D)`, what the cell reads.
      apply: `apply(params, features, lengths, *, key=None, method="auto") -> outputs (B, C)`.
        features int (T, B, K) are the K features of every word, 0 for none. lengths int (B,) are
        the words of each text. key switches dropout on.
    """

    init: Callable[[Array], TextClassifierParams]
    embed: Callable[[TextClassifierParams, Array], Array]
    apply: Callable[..., Array]


def text_classifier(
    cell: Cell | None,
    *,
    num_features: int,
    embedding_size: int,
    hidden_size: int,
    output_size: int,
    dropout: float = 0.5,
    word_dropout: float = 0.3,
    embedding_dropout: float = 0.5,
    embedding_scale: float = 0.3,
    pool_words: bool = False,
    vectors: Array | None = None,
    dtype: Any = None,
) -> TextClassifier:
    """Returns the model: mean of the features' embeddings, cell, mean and maximum over time.

    x_t = mean_k embedding[features_tk] over the existing features, y = cell(x), outputs = [mean_t
    y_t, max_t y_t] w_out + b_out over the steps of the text. Bojanowski et al. 2017, "Enriching
    Word Vectors with Subword Information" (arXiv 1607.04606), with a mean in place of the sum.
    Howard, Ruder 2018 (arXiv 1801.06146). A text without words is pooled to zeros. Padding has no
    effect.

    With `pool_words` the words are pooled together with the outputs: [y_t, x_t] replaces y_t. Lai
    et al. 2015, "Recurrent Convolutional Neural Networks for Text Classification", AAAI. Without a
    cell only the words are pooled: a bag of words, which ignores their order.

    Args:
      cell: reads D features; None for a bag of words.
      num_features: V, feature 0 standing for none.
      embedding_size: D.
      hidden_size: size H of the cell's outputs, 0 without a cell.
      output_size: C.
      dropout: probability with which a pooled value is dropped in training.
      word_dropout: probability with which a word is treated as one without features.
      embedding_dropout: probability with which one of the D numbers is dropped, for all words of a
        text alike.
      embedding_scale: standard deviation of a fresh embedding.
      pool_words: whether the words are pooled too; always without a cell.
      vectors: (W, D) with W <= V, of about unit variance. Times `embedding_scale` they are the
        initial embeddings of the first W features; rows of zeros, and all other features, start at
        random.
      dtype: dtype of the operands of the readout; None for their common dtype, see `sm.matmul`.

    Returns:
      A `TextClassifier`.

    Raises:
      ValueError: if a probability is not in [0, 1), or if a size is given without a cell.

    Examples:
      >>> model = text_classifier(
      ...     sm.gru(3, 4), num_features=10, embedding_size=3, hidden_size=4, output_size=2
      ... )
      >>> features = jnp.ones((5, 2, 1), jnp.int32)  # (T, B, K)
      >>> model.apply(model.init(jax.random.key(0)), features, jnp.array([5, 3])).shape
      (2, 2)
    """
    if cell is None and hidden_size:
        raise ValueError(f"text_classifier: hidden_size: got {hidden_size}, expected 0: no cell")
    pooled_size = 2 * (hidden_size + (embedding_size if pool_words or cell is None else 0))
    for name, rate in (
        ("dropout", dropout),
        ("word_dropout", word_dropout),
        ("embedding_dropout", embedding_dropout),
    ):
        if not 0 <= rate < 1:
            raise ValueError(f"text_classifier: {name}: got {rate}, expected 0 <= {name} < 1")

    def init(key: Array) -> TextClassifierParams:
        key_embedding, key_cell, key_out = jax.random.split(key, 3)
        embedding = jax.random.normal(key_embedding, (num_features, embedding_size))
        if vectors is not None:
            is_given = jnp.any(vectors != 0, axis=1, keepdims=True)
            start = jnp.where(is_given, vectors, embedding[: len(vectors)])
            embedding = embedding.at[: len(vectors)].set(start)
        w_out, b_out = dense_init(key_out, pooled_size, output_size)
        return TextClassifierParams(
            embedding=embedding_scale * embedding,
            cell=() if cell is None else cell.init(key_cell),
            w_out=w_out,
            b_out=b_out,
        )

    def embed(params: TextClassifierParams, features: Array) -> Array:
        return _embed(params.embedding, features)

    def apply(
        params: TextClassifierParams,
        features: Array,
        lengths: Array,
        *,
        key: Array | None = None,
        method: str | Driver = "auto",
    ) -> Array:
        xs = embed(params, features)
        pooled_key = None
        if key is not None:
            key_word, key_number, pooled_key = jax.random.split(key, 3)
            kept = jax.random.bernoulli(key_word, 1 - word_dropout, xs.shape[:2])
            xs = jnp.where(kept[..., None], xs, 0)
            xs = apply_dropout(key_number, xs, embedding_dropout, (1, *xs.shape[1:]))
        sequences = [xs] if pool_words or cell is None else []
        if cell is not None:
            ys = unroll(cell, params.cell, xs, lengths=lengths, method=method)[1]
            # Pooled in the parameters' dtype, even if the cell's outputs are bfloat16.
            sequences.insert(0, ys.astype(params.w_out.dtype))
        pooled = jnp.concatenate([pool(ys, lengths) for ys in sequences], axis=-1)
        pooled = apply_dropout(pooled_key, pooled, dropout, pooled.shape)
        return dense((params.w_out, params.b_out), pooled, dtype=dtype)

    return TextClassifier(init, embed, apply)


def pool(ys: Array, lengths: Array) -> Array:
    """Returns the mean and the maximum over the steps of each sequence, zeros for length 0.

    Args:
      ys: (T, B, H).
      lengths: int (B,).

    Returns:
      (B, 2H).

    Examples:
      >>> pool(jnp.ones((5, 2, 4)), jnp.array([5, 0])).shape
      (2, 8)
    """
    steps = jnp.arange(ys.shape[0])
    valid = (steps[:, None] < lengths[None, :])[..., None]
    total = jnp.sum(jnp.where(valid, ys, 0), axis=0)
    mean = total / jnp.maximum(lengths, 1)[:, None].astype(ys.dtype)
    largest = jnp.max(jnp.where(valid, ys, -jnp.inf), axis=0, initial=-jnp.inf)
    largest = jnp.where(lengths[:, None] > 0, largest, 0).astype(ys.dtype)
    return jnp.concatenate([mean, largest], axis=-1)


def _embed(embedding: Array, features: Array) -> Array:
    """Returns the mean embedding (T, B, D) of features (T, B, K), of those that are not 0."""
    is_feature = (features > 0)[..., None]
    total = jnp.sum(jnp.where(is_feature, embedding[features], 0), axis=2)
    return total / jnp.maximum(jnp.sum(is_feature, axis=2), 1).astype(embedding.dtype)
