"""The common many-to-one model: optional embedding, cell, linear readout."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from seqmodels.drivers.unroll import unroll
from seqmodels.models.layers import dense, dense_init
from seqmodels.types import Array, Cell, Driver, Params


class SequenceModelParams(NamedTuple):
    """embedding: (V, D) or None. cell: the cell's parameters. w_out: (H, C). b_out: (C,)."""

    embedding: Array | None
    cell: Params
    w_out: Array
    b_out: Array


class SequenceModel(NamedTuple):
    """A model as a pair of pure functions.

    Attributes:
      init: `init(key) -> SequenceModelParams`.
      embed: `embed(params, inputs) -> xs`: tokens (T, *batch) or features (T, *batch, D) to the
        cell's inputs (T, *batch, D).
      read: `read(params, ys) -> outputs`: the cell's outputs (..., H) to (..., C).
      apply: `apply(params, inputs, *, last=1, key=None, method="auto") -> outputs`, the outputs
        (last, *batch, C) of the last steps; key switches dropout on.
    """

    init: Callable[[Array], SequenceModelParams]
    embed: Callable[[SequenceModelParams, Array], Array]
    read: Callable[[SequenceModelParams, Array], Array]
    apply: Callable[..., Array]


def sequence_model(
    cell: Cell,
    *,
    hidden_size: int,
    output_size: int,
    vocabulary_size: int | None = None,
    embedding_size: int | None = None,
    embedding_scale: float = 0.1,
    dtype: Any = None,
) -> SequenceModel:
    """Returns the model embedding -> cell -> linear readout.

    Args:
      cell: the cell; it reads D features, or `embedding_size` where there is a vocabulary.
      hidden_size: size H of the cell's outputs.
      output_size: C.
      vocabulary_size: V; None where the inputs are features already.
      embedding_size: size of an embedded token; needed with a vocabulary.
      embedding_scale: standard deviation of a fresh embedding; large values saturate a tanh and
        lead to memorization instead of learning.
      dtype: dtype of the operands of the readout; None for their common dtype, see `sm.matmul`.

    Returns:
      A `SequenceModel`.

    Raises:
      ValueError: if only one of `vocabulary_size` and `embedding_size` is given.

    Examples:
      >>> model = sequence_model(
      ...     sm.gru(3, 4), hidden_size=4, output_size=2, vocabulary_size=10, embedding_size=3
      ... )
      >>> model.apply(model.init(jax.random.key(0)), jnp.zeros((5, 2), jnp.int32)).shape
      (1, 2, 2)
    """
    if (vocabulary_size is None) != (embedding_size is None):
        raise ValueError(
            f"sequence_model: got vocabulary_size {vocabulary_size} and embedding_size "
            f"{embedding_size}, expected both or neither"
        )

    def init(key: Array) -> SequenceModelParams:
        key_embedding, key_cell, key_out = jax.random.split(key, 3)
        embedding = None
        if vocabulary_size is not None and embedding_size is not None:
            embedding = jax.random.normal(key_embedding, (vocabulary_size, embedding_size))
            embedding = embedding_scale * embedding
        w_out, b_out = dense_init(key_out, hidden_size, output_size)
        return SequenceModelParams(embedding, cell.init(key_cell), w_out, b_out)

    def embed(params: SequenceModelParams, inputs: Array) -> Array:
        return inputs if params.embedding is None else params.embedding[inputs]

    def read(params: SequenceModelParams, ys: Array) -> Array:
        return dense((params.w_out, params.b_out), ys, dtype=dtype)

    def apply(
        params: SequenceModelParams,
        inputs: Array,
        *,
        last: int = 1,
        key: Array | None = None,
        method: str | Driver = "auto",
    ) -> Array:
        xs = embed(params, inputs)
        if not 1 <= last <= xs.shape[0]:
            raise ValueError(
                f"sequence_model: last: got {last}, expected 1 <= last <= T = {xs.shape[0]}"
            )
        _, ys = unroll(cell, params.cell, xs, key=key, method=method)
        return read(params, ys[xs.shape[0] - last :])

    return SequenceModel(init, embed, read, apply)


def parameter_count(params: Any) -> int:
    """Returns the number of parameters in a pytree.

    Examples:
      >>> parameter_count(sm.rnn(3, 4).init(jax.random.key(0)))  # 3 * 4 + 4 * 4 + 4
      32
    """
    return sum(leaf.size for leaf in jax.tree.leaves(params))
