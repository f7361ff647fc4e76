"""Decoding of sequences from a next-token step: greedy, sampling, beam search.

All three need only one function of the model:

    step(carry, token) -> (carry, log_probs)

`token` (B,) int32 is the last token, and `log_probs` (B, V) are those of the next token. `carry` is
any pytree whose leaves begin with the axis B: the state of a cell, and further inputs such as the
encoded source. Rows must not depend on each other; beam search calls the step with B * width rows.

A sequence ends with the token `eos`, which counts as its last one, or without it after `max_steps`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqmodels.types import Array

SMALL_TEMPERATURE = 1e-3

DecodeStep = Callable[[Any, Array], tuple[Any, Array]]


class Decoded(NamedTuple):
    """Decoded sequences; with a beam, every field has the beam's axis after B, the best first.

    Attributes:
      tokens: int32 (B, [width,] max_steps), without bos; the pad after the end.
      lengths: int32 (B, [width]), tokens of each, eos included.
      scores: (B, [width]), the sum of the model's log-probabilities of these tokens, at least in
        float32. If the beam is wider than the number of sequences, the rest have length 0 and score
        minus infinity.
    """

    tokens: Array
    lengths: Array
    scores: Array


def greedy(
    step: DecodeStep, carry: Any, bos: int | Array, eos: int, max_steps: int, *, pad: int = 0
) -> Decoded:
    """Decodes with the most probable token at every step.

    Args:
      step: `step(carry, token) -> (carry, log_probs)`, see the head of this module.
      carry: carry of the first step, a pytree with at least one leaf (B, ...).
      bos: the token before the first; one for all rows, or (B,).
      eos: the token that ends a sequence; -1 for none.
      max_steps: L, the largest number of tokens.
      pad: the token after the end.

    Returns:
      `Decoded` with tokens (B, L).

    Raises:
      ValueError: if `carry` has no batch axis, or `max_steps` is not positive.

    Examples:
      >>> log_probs = jnp.log(jnp.array([0.1, 0.2, 0.7]))  # the same at every step; token 1 is eos
      >>> step = lambda carry, token: (carry, jnp.broadcast_to(log_probs, (token.shape[0], 3)))
      >>> greedy(step, jnp.zeros(2), bos=0, eos=1, max_steps=4).tokens.tolist()
      [[2, 2, 2, 2], [2, 2, 2, 2]]
    """

    def choose(t: Array, log_probs: Array) -> Array:
        del t
        return jnp.argmax(log_probs, axis=-1)

    return _decode(step, carry, choose, _Ends(bos, eos, max_steps, pad))


def sample(
    step: DecodeStep,
    carry: Any,
    bos: int | Array,
    eos: int,
    max_steps: int,
    *,
    key: Array,
    temperature: float | Array = 1.0,
    top_k: int | None = None,
    pad: int = 0,
) -> Decoded:
    """Decodes by drawing every token from softmax(log_probs / temperature).

    Args:
      step: as in `greedy`; so are `carry`, `bos`, `eos`, `max_steps` and `pad`.
      carry: see `greedy`.
      bos: see `greedy`.
      eos: see `greedy`.
      max_steps: see `greedy`.
      key: PRNG key. For several samples per row, `jax.vmap` over keys.
      temperature: a number, or (B,) for each row; below 1 probable tokens become more probable.
      top_k: only the top_k most probable tokens are drawn; None for all. (Fan, Lewis, Dauphin 2018,
        arXiv 1805.04833.)
      pad: see `greedy`.

    Returns:
      `Decoded` with tokens (B, L); scores are under the model, not under the temperature.

    Raises:
      ValueError: as `greedy`, and if `temperature` or `top_k` is not positive. The value of a
        traced temperature is not checked.

    Examples:
      >>> step = lambda carry, token: (carry, jnp.zeros((token.shape[0], 3)))
      >>> found = sample(step, jnp.zeros(2), bos=0, eos=1, max_steps=4, key=jax.random.key(0))
      >>> found.tokens.shape, found.lengths.shape
      ((2, 4), (2,))
    """
    temperature = _checked_temperature(temperature)
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k: got {top_k}, expected at least 1")

    def choose(t: Array, log_probs: Array) -> Array:
        if top_k is not None:
            kept, tokens = jax.lax.top_k(log_probs, min(top_k, log_probs.shape[-1]))
        else:
            kept, tokens = log_probs, None
        drawn = jax.random.categorical(jax.random.fold_in(key, t), _tempered(kept, temperature))
        if tokens is None:
            return drawn
        return jnp.take_along_axis(tokens, drawn[:, None], axis=1)[:, 0]

    return _decode(step, carry, choose, _Ends(bos, eos, max_steps, pad))


def _checked_temperature(temperature: Any) -> Any:
    """Returns a temperature as a float, (B, 1) or a traced value.

    Raises ValueError unless all numbers whose values are known are positive and finite.
    """
    if isinstance(temperature, jax.core.Tracer):
        return temperature[:, None] if temperature.ndim == 1 else temperature
    array = np.asarray(temperature)
    is_real = jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)
    if not is_real or not array.size or not np.all((array > 0) & np.isfinite(array)):
        raise ValueError(f"temperature: got {temperature}, expected more than 0")
    if array.ndim == 0:
        return float(array)
    return jnp.asarray(array if array.ndim > 1 else array[:, None], jnp.float32)


def _tempered(log_probs: Array, temperature: Any) -> Array:
    """Returns the logits log_probs / temperature, less their largest where it is very small."""
    if not isinstance(temperature, float) or temperature >= SMALL_TEMPERATURE:
        return log_probs / temperature
    # Otherwise all quotients are minus infinity, and token 0 is drawn.
    largest = jnp.max(log_probs, axis=-1, keepdims=True)
    return (log_probs - largest) / max(temperature, float(jnp.finfo(log_probs.dtype).tiny))


class _Ends(NamedTuple):
    """The token before the first, the last token, the most tokens, and the token after the end."""

    bos: int | Array
    eos: int
    max_steps: int
    pad: int


def _decode(
    step: DecodeStep, carry: Any, choose: Callable[[Array, Array], Array], ends: _Ends
) -> Decoded:
    """Decodes one sequence per row, with `choose(t, log_probs) -> tokens (B,)`."""
    bos, eos, max_steps, pad = ends
    carry, token, dtype = _first(step, carry, bos, max_steps)
    B = token.shape[0]
    empty = Decoded(
        tokens=jnp.full((B, max_steps), pad, jnp.int32),
        lengths=jnp.zeros(B, jnp.int32),
        scores=jnp.zeros(B, dtype),
    )

    def goes_on(loop: tuple[Array, Any, Array, Array, Decoded]) -> Array:
        t, _, _, ended, _ = loop
        return (t < max_steps) & ~jnp.all(ended)

    def extend(loop: tuple[Array, Any, Array, Array, Decoded]) -> Any:
        t, carry, token, ended, done = loop
        carry, log_probs = step(carry, token)
        log_probs = log_probs.astype(dtype)
        token = choose(t, log_probs).astype(jnp.int32)
        gained = jnp.take_along_axis(log_probs, token[:, None], axis=1)[:, 0]
        done = Decoded(
            tokens=done.tokens.at[:, t].set(jnp.where(ended, pad, token)),
            lengths=done.lengths + ~ended,
            scores=done.scores + jnp.where(ended, 0, gained),
        )
        return t + 1, carry, token, ended | (token == eos), done

    loop = jnp.int32(0), carry, token, jnp.zeros(B, bool), empty
    *_, done = jax.lax.while_loop(goes_on, extend, loop)
    return done


def beam_search(
    step: DecodeStep,
    carry: Any,
    bos: int | Array,
    eos: int,
    max_steps: int,
    *,
    width: int,
    length_penalty: float = 0.6,
    pad: int = 0,
) -> Decoded:
    """Searches for the most probable sequences with `width` parallel prefixes.

    Among the 2 * width best continuations of the prefixes, those that end with eos and are among
    the first `width` are finished. The best `width` of the others continue, so a finished sequence
    does not displace a prefix. The search of a row ends when `width` sequences are finished, or
    after `max_steps`; then unfinished prefixes follow the finished sequences up to `width`.
    Prefixes are compared by their scores, finished sequences by score / penalty: `gnmt_penalty`.

    Width 1 is `greedy`; a width of V^L finds every sequence.

    Args:
      step: as in `greedy`; it is given B * width rows.
      carry: see `greedy`.
      bos: see `greedy`.
      eos: see `greedy`.
      max_steps: see `greedy`.
      width: prefixes kept, and sequences returned.
      length_penalty: the alpha of `gnmt_penalty`; 0 for none, more for longer sequences.
      pad: see `greedy`.

    Returns:
      `Decoded` with tokens (B, width, L), finished sequences first, by descending score / penalty.
      The scores themselves are sums of log-probabilities.

    Raises:
      ValueError: as `greedy`, and if `width` is not positive.

    Examples:
      >>> log_probs = jnp.log(jnp.array([0.1, 0.2, 0.7]))  # the same at every step; token 1 is eos
      >>> step = lambda carry, token: (carry, jnp.broadcast_to(log_probs, (token.shape[0], 3)))
      >>> found = beam_search(step, jnp.zeros(2), bos=0, eos=1, max_steps=4, width=3)
      >>> found.tokens.shape, found.scores.shape
      ((2, 3, 4), (2, 3))
    """
    if width < 1:
        raise ValueError(f"width: got {width}, expected at least 1")
    W = width
    carry, token, dtype = _first(step, carry, bos, max_steps)
    B = token.shape[0]
    carry = jax.tree.map(lambda leaf: jnp.repeat(leaf, W, axis=0), carry)
    none = Decoded(
        tokens=jnp.full((B, W, max_steps), pad, jnp.int32),
        lengths=jnp.zeros((B, W), jnp.int32),
        scores=jnp.full((B, W), -jnp.inf, dtype),
    )
    # Only one empty prefix; otherwise its copies would be found repeatedly.
    prefixes = none._replace(scores=none.scores.at[:, 0].set(0))

    def goes_on(loop: tuple[Array, Any, Array, Decoded, Decoded]) -> Array:
        t, _, _, prefixes, finished = loop
        full = jnp.all(finished.scores > -jnp.inf, axis=1)
        stuck = jnp.all(prefixes.scores == -jnp.inf, axis=1)
        return (t < max_steps) & ~jnp.all(full | stuck)

    def extend(loop: tuple[Array, Any, Array, Decoded, Decoded]) -> Any:
        t, carry, token, prefixes, finished = loop
        carry, log_probs = step(carry, token.reshape(B * W))
        V = log_probs.shape[-1]
        scores = prefixes.scores[:, :, None] + log_probs.astype(dtype).reshape(B, W, V)
        scores, places = jax.lax.top_k(scores.reshape(B, W * V), min(2 * W, W * V))
        parents, tokens = places // V, (places % V).astype(jnp.int32)
        candidates = Decoded(
            tokens=_take(prefixes.tokens, parents).at[:, :, t].set(tokens),
            lengths=jnp.full(places.shape, t + 1),
            scores=scores,
        )
        ends = tokens == eos
        # A finished row is not searched further, while others are.
        full = jnp.all(finished.scores > -jnp.inf, axis=1, keepdims=True)
        first = jnp.arange(scores.shape[1])[None] < W
        new = candidates._replace(scores=jnp.where(ends & first & ~full, scores, -jnp.inf))
        finished = _best(_joined(finished, new), W, length_penalty)
        kept_scores, kept = jax.lax.top_k(jnp.where(ends, -jnp.inf, scores), W)
        prefixes = _rows(candidates, kept)._replace(scores=kept_scores)
        rows = jnp.arange(B)[:, None] * W + jnp.take_along_axis(parents, kept, axis=1)
        carry = jax.tree.map(lambda leaf: leaf[rows.reshape(B * W)], carry)
        return t + 1, carry, jnp.take_along_axis(tokens, kept, axis=1), prefixes, finished

    token = jnp.broadcast_to(token[:, None], (B, W))
    loop = jnp.int32(0), carry, token, prefixes, none
    *_, prefixes, finished = jax.lax.while_loop(goes_on, extend, loop)
    unended = _best(prefixes, W, length_penalty)
    missing = jnp.sum(finished.scores > -jnp.inf, axis=1, keepdims=True)
    places = jnp.arange(W)[None]
    chosen = jnp.where(places < missing, places, W + places - missing)
    done = _rows(_joined(finished, unended), chosen)
    real = done.scores > -jnp.inf
    return Decoded(
        tokens=jnp.where(real[:, :, None], done.tokens, pad),
        lengths=jnp.where(real, done.lengths, 0),
        scores=done.scores,
    )


def gnmt_penalty(lengths: Array, alpha: float) -> Array:
    """Returns the length penalty that divides the score of a sequence, ((5 + n) / 6)^alpha.

    Wu et al. 2016, "Google's Neural Machine Translation System", arXiv 1609.08144, section 7.

    Args:
      lengths: n, tokens with eos.
      alpha: 0 for none; 1 nears the mean log-probability a token.

    Returns:
      An array of the shape of `lengths`, 1 for n = 1.

    Examples:
      >>> gnmt_penalty(jnp.array([1, 7]), alpha=1.0).tolist()
      [1.0, 2.0]
    """
    return ((5.0 + lengths) / 6) ** alpha  # 5.0, because 5 + 255 overflows in uint8


def _first(
    step: DecodeStep, carry: Any, bos: int | Array, max_steps: int
) -> tuple[Any, Array, jnp.dtype]:
    """Returns the carry as arrays, the token (B,) before the first, and the dtype of scores."""
    if max_steps < 1:
        raise ValueError(f"max_steps: got {max_steps}, expected at least 1")
    carry = jax.tree.map(jnp.asarray, carry)
    shapes = [leaf.shape for leaf in jax.tree.leaves(carry)]
    if not shapes or any(not shape or shape[0] != shapes[0][:1][0] for shape in shapes):
        raise ValueError(f"carry: got leaves of shapes {shapes}, expected (B, ...) in all")
    token = jnp.broadcast_to(jnp.asarray(bos, jnp.int32), shapes[0][:1])
    _, log_probs = jax.eval_shape(step, carry, token)
    if log_probs.ndim != 2 or log_probs.shape[0] != token.shape[0] or not log_probs.shape[1]:
        raise ValueError(
            f"step: got log-probabilities of shape {log_probs.shape}, expected "
            f"({token.shape[0]}, V)"
        )
    return carry, token, jnp.promote_types(log_probs.dtype, jnp.float32)


def _take(array: Array, places: Array) -> Array:
    """Returns array (B, N, ...) at places (B, M) of its second axis."""
    places = places.reshape(places.shape + (1,) * (array.ndim - 2))
    return jnp.take_along_axis(array, places, axis=1)


def _rows(decoded: Decoded, places: Array) -> Decoded:
    return Decoded(*(_take(array, places) for array in decoded))


def _joined(one: Decoded, other: Decoded) -> Decoded:
    pairs = zip(one, other, strict=True)
    return Decoded(*(jnp.concatenate(pair, axis=1) for pair in pairs))


def _best(decoded: Decoded, width: int, alpha: float) -> Decoded:
    """Returns the `width` best by score / penalty, in descending order."""
    penalty = gnmt_penalty(decoded.lengths, alpha).astype(decoded.scores.dtype)
    return _rows(decoded, jax.lax.top_k(decoded.scores / penalty, width)[1])
