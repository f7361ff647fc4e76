"""Attention over a memory with one vector for each source step, and a cell that attends.

For queries q_t and a memory of values m_s, s = 1 ... S:

    a_ts = softmax_s(score(q_t, m_s)),    c_t = sum_s a_ts m_s

additive: score = v . tanh(q W_q + m W_m)   Bahdanau, Cho, Bengio 2015 (arXiv 1409.0473)
general:  score = q . (m W_m)               Luong, Pham, Manning 2015 (arXiv 1508.04025)

Weights of steps after the end of a source are exactly zero.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.cells.initializers import glorot_uniform
from seqmodels.cells.products import matmul
from seqmodels.cells.stages import check_size, lift, new_state
from seqmodels.models.layers import dense
from seqmodels.types import Array, Cell, Params, State


class Memory(NamedTuple):
    """Memory to attend to; the batch axis comes first, as in every carry of a decoder.

    values: (B, S, M). keys: (B, S, A), computed from the values once. mask: bool (B, S), true at
    valid source steps.
    """

    values: Array
    keys: Array
    mask: Array


class AttentionOutput(NamedTuple):
    """hidden: the query (..., B, H). context: (..., B, M). weights: (..., B, S)."""

    hidden: Array
    context: Array
    weights: Array


class AdditiveParams(NamedTuple):
    """w_query: (H, A). w_memory: (M, A). b: (A,). v: (A,)."""

    w_query: Array
    w_memory: Array
    b: Array
    v: Array


class GeneralParams(NamedTuple):
    """w_memory: (M, H)."""

    w_memory: Array


class Attention(NamedTuple):
    """An attention as a tuple of pure functions.

    Attributes:
      init: `init(key) -> params`.
      remember: `remember(params, values, lengths) -> Memory`, of values (S, B, M), time first as a
        cell leaves them, and int lengths (B,).
      attend: `attend(params, memory, queries) -> AttentionOutput`, of queries (B, H) or
        (T, B, H). The context of a memory of length 0 is zero.
    """

    init: Callable[[Array], Params]
    remember: Callable[[Params, Array, Array], Memory]
    attend: Callable[[Params, Memory, Array], AttentionOutput]


def additive_attention(
    query_size: int, memory_size: int, attention_size: int, *, dtype: Any = None
) -> Attention:
    """Returns the additive attention of Bahdanau.

    Args:
      query_size: H.
      memory_size: M.
      attention_size: A.
      dtype: dtype of the operands of matrix products, see `sm.matmul`; None for their common dtype.

    Returns:
      An `Attention`.

    Raises:
      ValueError: if a size is not a positive integer.

    Examples:
      >>> attention = additive_attention(query_size=4, memory_size=3, attention_size=5)
      >>> params = attention.init(jax.random.key(0))
      >>> memory = attention.remember(params, jnp.ones((6, 2, 3)), jnp.array([6, 2]))  # (S, B, M)
      >>> found = attention.attend(params, memory, jnp.ones((2, 4)))
      >>> found.context.shape, found.weights.shape, found.weights[1].tolist()
      ((2, 3), (2, 6), [0.5, 0.5, 0.0, 0.0, 0.0, 0.0])
    """
    check_size(
        "additive", query_size=query_size, memory_size=memory_size, attention_size=attention_size
    )

    def init(key: Array) -> AdditiveParams:
        key_query, key_memory, key_v = jax.random.split(key, 3)
        return AdditiveParams(
            w_query=glorot_uniform(key_query, (query_size, attention_size)),
            w_memory=glorot_uniform(key_memory, (memory_size, attention_size)),
            b=jnp.zeros(attention_size),
            v=glorot_uniform(key_v, (attention_size, 1))[:, 0],
        )

    def remember(params: AdditiveParams, values: Array, lengths: Array) -> Memory:
        return _memory(values, dense((params.w_memory, params.b), values, dtype=dtype), lengths)

    def attend(params: AdditiveParams, memory: Memory, queries: Array) -> AttentionOutput:
        projected = matmul(queries, params.w_query, dtype=dtype)[..., None, :]
        hidden = jnp.tanh(projected + lift(memory.keys, projected))
        return _attended(memory, queries, hidden @ params.v)

    return Attention(init, remember, attend)


def general_attention(query_size: int, memory_size: int, *, dtype: Any = None) -> Attention:
    """Returns the general (bilinear) attention of Luong.

    Args:
      query_size: H.
      memory_size: M.
      dtype: dtype of the operands of matrix products, see `sm.matmul`; None for their common dtype.

    Returns:
      An `Attention`.

    Raises:
      ValueError: if a size is not a positive integer.

    Examples:
      >>> attention = general_attention(query_size=4, memory_size=3)
      >>> params = attention.init(jax.random.key(0))
      >>> memory = attention.remember(params, jnp.ones((6, 2, 3)), jnp.array([6, 2]))  # (S, B, M)
      >>> attention.attend(params, memory, jnp.ones((7, 2, 4))).weights.shape
      (7, 2, 6)
    """
    check_size("general", query_size=query_size, memory_size=memory_size)

    def init(key: Array) -> GeneralParams:
        return GeneralParams(glorot_uniform(key, (memory_size, query_size)))

    def remember(params: GeneralParams, values: Array, lengths: Array) -> Memory:
        return _memory(values, matmul(values, params.w_memory, dtype=dtype), lengths)

    def attend(params: GeneralParams, memory: Memory, queries: Array) -> AttentionOutput:
        del params
        return _attended(memory, queries, jnp.einsum("...bh,bsh->...bs", queries, memory.keys))

    return Attention(init, remember, attend)


def _memory(values: Array, keys: Array, lengths: Array) -> Memory:
    mask = jnp.arange(len(values))[None] < jnp.asarray(lengths)[:, None]
    return Memory(jnp.swapaxes(values, 0, 1), jnp.swapaxes(keys, 0, 1), mask)


def _attended(memory: Memory, queries: Array, scores: Array) -> AttentionOutput:
    mask = lift(memory.mask, scores)
    # The least number and not -inf, of which a source without any step would make NaN.
    scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    weights = jnp.where(mask, jax.nn.softmax(scores, axis=-1), 0)
    context = jnp.einsum("...bs,bsm->...bm", weights, memory.values)
    return AttentionOutput(queries, context, weights)


class AttentionCellParams(NamedTuple):
    """Parameters of an attention cell.

    cell: parameters of the cell inside. attention: parameters of the attention. memory: the
    `Memory` of the current batch, None in fresh parameters; it is constant over time.
    """

    cell: Params
    attention: Params
    memory: Any


def attention_cell(cell: Cell, attention: Attention, hidden: Callable[[State], Array]) -> Cell:
    """Returns the cell that attends before each step and reads the context with its input.

        c_t = attend(memory, s_tm1),    s_t = step(s_tm1, [x_t, c_t])

    Bahdanau, Cho, Bengio 2015 (arXiv 1409.0473). Set the memory in its
    `AttentionCellParams` before unrolling: `params._replace(memory=attention.remember(...))`.

    Args:
      cell: the cell inside; it reads D + M features.
      attention: an `Attention`.
      hidden: `hidden(state) -> (*batch, H)`, the query in a state of the cell inside.

    Returns:
      A `Cell` with the states of `cell`. Its output is `AttentionOutput`: the new hidden state, and
      the context and weights that it was computed with.

    Examples:
      >>> attention = general_attention(query_size=4, memory_size=3)
      >>> cell = attention_cell(sm.gru(5 + 3, 4), attention, lambda state: state.h)
      >>> params = cell.init(jax.random.key(0))
      >>> memory = attention.remember(params.attention, jnp.ones((6, 2, 3)), jnp.array([6, 2]))
      >>> state, out = sm.unroll(cell, params._replace(memory=memory), jnp.ones((7, 2, 5)))
      >>> out.hidden.shape, out.context.shape, out.weights.shape
      ((7, 2, 4), (7, 2, 3), (7, 2, 6))
    """

    def init(key: Array) -> AttentionCellParams:
        key_cell, key_attention = jax.random.split(key)
        return AttentionCellParams(cell.init(key_cell), attention.init(key_attention), None)

    def initial_state(
        params: AttentionCellParams, batch_shape: Sequence[int] = (), key: Array | None = None
    ) -> State:
        return new_state(cell, params.cell, batch_shape, key)

    def step(params: AttentionCellParams, state: State, x_t: Array) -> tuple[State, Any]:
        attended = attention.attend(params.attention, params.memory, hidden(state))
        x_t = jnp.concatenate([x_t, attended.context], axis=-1)
        state, _ = cell.step(params.cell, state, x_t)
        return state, attended._replace(hidden=hidden(state))

    return Cell(init, initial_state, step)
