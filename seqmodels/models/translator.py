"""Encoder-decoder model of sequence pairs, with attention or without.

    m_1 ... m_S = BiLSTM(E_s[source]),        s_0 = tanh([last states] W_bridge + b)
    h_t = LSTM(E_t[y_tm1], h_tm1),            v_t = tanh([h_t, c_t] W_v + b)
    p(y_t | y_1 ... y_tm1, source) = softmax(v_t E_t^T + b)

Without attention there is no context c_t, and the decoder sees the source only through s_0
(Sutskever, Vinyals, Le 2014, arXiv 1409.3215). With "luong" the query is h_t, after the LSTM, so
all steps are one product (Luong, Pham, Manning 2015, arXiv 1508.04025, without input feeding). With
"bahdanau" the query is h_tm1, and the LSTM reads c_t together with the word (Bahdanau, Cho, Bengio
2015, arXiv 1409.0473). The target's embedding is also its output matrix (Press, Wolf 2017, arXiv
1608.05859).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.cells.lstm import LSTMState, lstm
from seqmodels.cells.stages import check_size, lift
from seqmodels.combinators.bidirectional import bidirectional
from seqmodels.drivers.unroll import unroll
from seqmodels.models.attention import (
    Attention,
    AttentionCellParams,
    AttentionOutput,
    Memory,
    additive_attention,
    attention_cell,
    general_attention,
)
from seqmodels.models.layers import dense, dense_init
from seqmodels.models.layers import dropout as apply_dropout
from seqmodels.types import Array, Cell, Params, State

ATTENTIONS = ("none", "luong", "bahdanau")
EMBEDDING_SCALE = 0.1


class TranslatorParams(NamedTuple):
    """Parameters of a `Translator`.

    source: embedding (V_s, E). target: embedding (V_t, E). encoder, decoder: cells' parameters.
    attention: its parameters, or (). w_bridge: (H, 2H). b_bridge: (2H,). w_vector: (H, E), with
    attention (2H, E). b_vector: (E,). b_out: (V_t,).
    """

    source: Array
    target: Array
    encoder: Params
    decoder: Params
    attention: Params
    w_bridge: Array
    b_bridge: Array
    w_vector: Array
    b_vector: Array
    b_out: Array


class Carry(NamedTuple):
    """State of a decoder between words; the batch axis comes first in every leaf.

    state: state of the decoder's LSTM. memory: memory of the source, () without attention.
    """

    state: LSTMState
    memory: Memory | tuple[()]


class Translator(NamedTuple):
    """A model as a tuple of pure functions.

    Attributes:
      init: `init(key) -> TranslatorParams`.
      encode: `encode(params, sources, lengths, key=None) -> Carry`, of tokens (S, B) and int
        lengths (B,); tokens after an end change nothing. With a key there is dropout.
      apply: `apply(params, carry, inputs, key=None, use_predicted=None) -> (logits, weights)`.
        inputs (T, B) are the words before each target word. logits are (T, B, V_t). weights are
        those of the attention (T, B, S), or None without attention. Where the bool (T, B)
        `use_predicted` is true, the decoder reads its own most probable word instead of the one in
        `inputs`. This is scheduled sampling (Bengio, Vinyals, Jaitly, Shazeer 2015, arXiv
        1506.03099). No gradient goes through the choice.
      decode_step: `decode_step(params, carry, token) -> (carry, log_probs)`, of (B,) to (B, V_t).
    """

    init: Callable[[Array], TranslatorParams]
    encode: Callable[..., Carry]
    apply: Callable[..., tuple[Array, Array | None]]
    decode_step: Callable[[TranslatorParams, Carry, Array], tuple[Carry, Array]]


def translator(
    source_size: int,
    target_size: int,
    *,
    attention: str = "luong",
    hidden_size: int = 192,
    embedding_size: int = 128,
    dropout: float = 0.0,
    dtype: Any = None,
) -> Translator:
    """Returns the encoder and decoder.

    Args:
      source_size: V_s, words of the source.
      target_size: V_t, words of the target.
      attention: "none", "luong" or "bahdanau".
      hidden_size: H, even: units of the decoder; each direction of the encoder has H / 2.
      embedding_size: E.
      dropout: share of the features that is dropped from embedded words, the memory and v_t.
      dtype: dtype of the operands of matrix products, see `sm.matmul`; None for their common dtype.

    Returns:
      A `Translator`.

    Raises:
      ValueError: if the attention is unknown, or a size or rate is out of range.

    Examples:
      >>> model = translator(7, 9, hidden_size=4, embedding_size=3)
      >>> params = model.init(jax.random.key(0))
      >>> carry = model.encode(params, jnp.ones((6, 2), jnp.int32), jnp.array([6, 4]))  # (S, B)
      >>> logits, weights = model.apply(params, carry, jnp.ones((5, 2), jnp.int32))  # (T, B)
      >>> logits.shape, weights.shape
      ((5, 2, 9), (5, 2, 6))
    """
    E, H = embedding_size, hidden_size
    check_size(
        "translator",
        source_size=source_size,
        target_size=target_size,
        hidden_size=hidden_size,
        embedding_size=embedding_size,
    )
    if attention not in ATTENTIONS:
        names = ", ".join(ATTENTIONS)
        raise ValueError(f"attention: got {attention!r}, expected one of {names}")
    if H % 2:
        raise ValueError(f"hidden_size: got {H}, expected an even number")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout: got {dropout}, expected 0 <= dropout < 1")
    encoder = bidirectional(*(lstm(E, H // 2, dtype=dtype) for _ in range(2)))
    look, decoder = _decoder(attention, E, H, dtype)

    def init(key: Array) -> TranslatorParams:
        keys = jax.random.split(key, 7)
        w_bridge, b_bridge = dense_init(keys[5], H, 2 * H)
        w_vector, b_vector = dense_init(keys[6], 2 * H if look else H, E)
        return TranslatorParams(
            source=EMBEDDING_SCALE * jax.random.normal(keys[0], (source_size, E)),
            target=EMBEDDING_SCALE * jax.random.normal(keys[1], (target_size, E)),
            encoder=encoder.init(keys[2]),
            decoder=lstm(E if attention != "bahdanau" else E + H, H).init(keys[3]),
            attention=look.init(keys[4]) if look else (),
            w_bridge=w_bridge,
            b_bridge=b_bridge,
            w_vector=w_vector,
            b_vector=b_vector,
            b_out=jnp.zeros(target_size),
        )

    def encode(
        params: TranslatorParams, sources: Array, lengths: Array, key: Array | None = None
    ) -> Carry:
        keys = _split(key, 2)
        xs = apply_dropout(keys[0], params.source[sources], dropout)
        final, ys = unroll(encoder, params.encoder, xs, lengths=lengths)
        last = jnp.concatenate([final.forward.h, final.backward.h], axis=-1)
        bridge = jnp.tanh(dense((params.w_bridge, params.b_bridge), last, dtype=dtype))
        h, c = jnp.split(bridge, 2, axis=-1)
        if look is None:
            return Carry(LSTMState(h, c), ())
        ys = apply_dropout(keys[1], ys.astype(params.source.dtype), dropout)
        return Carry(LSTMState(h, c), look.remember(params.attention, ys, lengths))

    def run_params(params: TranslatorParams, memory: Any) -> Params:
        if attention != "bahdanau":
            return params.decoder
        return AttentionCellParams(params.decoder, params.attention, memory)

    def vectors(
        params: TranslatorParams, memory: Any, ys: Any, key: Array | None = None
    ) -> tuple[Array, Array | None]:
        """Returns v_t and the weights, of the hidden states, or of what was attended to already."""
        if look is None:
            features, weights = ys, None
        else:
            if not isinstance(ys, AttentionOutput):
                ys = look.attend(params.attention, memory, ys)
            features = jnp.concatenate([ys.hidden, ys.context], axis=-1)
            weights = ys.weights
        vector = jnp.tanh(dense((params.w_vector, params.b_vector), features, dtype=dtype))
        return apply_dropout(key, vector, dropout), weights

    def read(params: TranslatorParams, vectors: Array) -> Array:
        return dense((params.target.T, params.b_out), vectors, dtype=dtype)

    def apply(
        params: TranslatorParams,
        carry: Carry,
        inputs: Array,
        key: Array | None = None,
        use_predicted: Array | None = None,
    ) -> tuple[Array, Array | None]:
        keys = _split(key, 2)
        if use_predicted is not None:
            inputs = mix_predicted(params, carry, inputs, use_predicted)
        xs = apply_dropout(keys[0], params.target[inputs], dropout)
        _, ys = unroll(decoder, run_params(params, carry.memory), xs, carry.state)
        found, weights = vectors(params, carry.memory, ys, keys[1])
        return read(params, found), weights

    def feed_initial(given: Any, batch_shape: Sequence[int] = ()) -> State:
        return given[1].state, jnp.zeros(tuple(batch_shape), jnp.int32)

    def feed(given: Any, state: State, x_t: Array) -> tuple[State, Array]:
        """Takes a step that reads its own last word where x_t = (word, whether to) says so."""
        (params, carry), (inner, last) = given, state
        word = jnp.where(x_t[..., 1] > 0, last, x_t[..., 0])
        carry, log_probs = decode_step(params, Carry(inner, carry.memory), word)
        return (carry.state, jnp.argmax(log_probs, axis=-1).astype(jnp.int32)), word

    feeding = Cell(init, feed_initial, feed)

    def mix_predicted(
        params: TranslatorParams, carry: Carry, inputs: Array, use_predicted: Array
    ) -> Array:
        """Returns the inputs, with the decoder's predictions where `use_predicted` is true.

        One pass without dropout predicts word by word; the trained pass then reads all at once.
        """
        is_later = lift(jnp.arange(len(inputs)) > 0, use_predicted.T).T  # no word before the first
        xs = jnp.stack([inputs, use_predicted & is_later], axis=-1).astype(jnp.int32)
        return unroll(feeding, jax.lax.stop_gradient((params, carry)), xs)[1]

    def decode_step(params: TranslatorParams, carry: Carry, token: Array) -> tuple[Carry, Array]:
        state, ys = decoder.step(
            run_params(params, carry.memory), carry.state, params.target[token]
        )
        logits = read(params, vectors(params, carry.memory, ys)[0])
        return Carry(state, carry.memory), jax.nn.log_softmax(logits)

    return Translator(init, encode, apply, decode_step)


def _decoder(
    attention: str, embedding_size: int, hidden_size: int, dtype: Any
) -> tuple[Attention | None, Cell]:
    """Returns the attention and the cell that goes through time."""
    E, H = embedding_size, hidden_size
    if attention == "bahdanau":
        look = additive_attention(H, H, H, dtype=dtype)
        return look, attention_cell(lstm(E + H, H, dtype=dtype), look, lambda state: state.h)
    is_luong = attention == "luong"
    return general_attention(H, H, dtype=dtype) if is_luong else None, lstm(E, H, dtype=dtype)


def _split(key: Array | None, number: int) -> Sequence[Array | None]:
    return [None] * number if key is None else list(jax.random.split(key, number))
