"""What the translation experiment is made of: batches, loss, translations of texts, scores."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer

from seqmodels.data import phrase_splits, subwords
from seqmodels.data.batches import Batches
from seqmodels.data.paired_buckets import paired_buckets
from seqmodels.data.phrase_splits import Splits
from seqmodels.data.sentence_pairs import Pair
from seqmodels.model_files import SavedModel, restore
from seqmodels.models import decoding
from seqmodels.models.translator import Translator, translator
from seqmodels.training.parallel import processes
from seqmodels.training.steps import Loss
from seqmodels.types import Array, Params

SHARES = {"validation": 0.04, "components": 0.07, "sources": 0.07}
# Shapes of training batches, each compiled once for a model; more would spare little padding.
SOURCE_BOUNDARIES, TARGET_BOUNDARIES = 2, 3
ROWS = 64  # that are translated at once
DISTANCES = {"far": (-1.0, 0.6), "middle": (0.6, 0.8), "near": (0.8, 2.0)}  # by cosine


class Tokenizers(NamedTuple):
    """Those of the two languages, trained on the training split."""

    source: Tokenizer
    target: Tokenizer

    def texts(self) -> dict[str, str]:
        """Returns them as the texts of a saved model."""
        return {f"{name}.json": one.to_str() for name, one in self._asdict().items()}


class Batch(NamedTuple):
    """pairs: a `PairBatch`. own: float32 (B,), the share of inputs that the decoder chooses."""

    pairs: Any
    own: np.ndarray


class Translation(NamedTuple):
    """text: a translation. score: sum of its log-probabilities. tokens: without BOS and EOS."""

    text: str
    score: float
    tokens: np.ndarray


class Built(NamedTuple):
    """A model ready for use.

    config: of `build_model`. model: a `Translator`. params: its parameters. tokenizers: its own.
    """

    config: dict[str, Any]
    model: Translator
    params: Params
    tokenizers: Tokenizers


def split(pairs: Sequence[Pair], seed: int) -> Splits:
    """Returns the splits of the study, drawn by a seed."""
    return phrase_splits.split(pairs, seed=seed, **SHARES)


def train_tokenizers(splits: Splits, vocabulary_size: int) -> Tokenizers:
    """Returns the tokenizers of both languages, of the training split alone."""
    texts = zip(*splits.train, strict=True)
    return Tokenizers(
        *(subwords.train([_spaced(t) for t in each], vocabulary_size) for each in texts)
    )


def build_model(config: Mapping[str, Any]) -> Translator:
    """Returns the model of a configuration, as it stands in `model.json`."""
    names = ("attention", "hidden_size", "embedding_size", "dropout")
    sizes = config["source_size"], config["target_size"]
    return translator(*sizes, **{name: config[name] for name in names})


def load(found: SavedModel) -> Built:
    """Returns a saved model; ValueError where its files do not fit each other."""
    model = build_model(found.config)
    params = restore(found, model.init)
    names = (f"{name}.json" for name in Tokenizers._fields)
    own = Tokenizers(*(subwords.from_text(found.texts[name]) for name in names))
    return Built(found.config, model, params, own)


def tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> list[np.ndarray]:
    """Returns the tokens of texts, each with the EOS that the models read and write at the end."""
    spaced = [_spaced(text) for text in texts]
    return [np.append(ids, np.int32(subwords.EOS)) for ids in subwords.encode(tokenizer, spaced)]


def _spaced(text: str) -> str:
    """Returns a text in which the first word has a space before it, and so the tokens of others."""
    return f" {text}" if text else text


def training_batches(
    splits: Splits,
    tokenizers: Tokenizers,
    *,
    batch: int,
    seed: int,
    max_tokens: int,
    own: float,
    steps: int,
) -> Batches:
    """Returns batches of the training split, without the few pairs that are too long.

    Args:
      splits: the data.
      tokenizers: of both languages.
      batch: pairs of a batch over all processes.
      seed: of the orders.
      max_tokens: the most tokens of a source or target.
      own: the share of scheduled sampling at the end of the training; it grows linearly from 0.
      steps: of the training.

    Returns:
      `Batches` of `Batch`.
    """
    sides = [
        tokens(one, texts)
        for one, texts in zip(tokenizers, zip(*splits.train, strict=True), strict=True)
    ]
    kept = [pair for pair in zip(*sides, strict=True) if max(map(len, pair)) <= max_tokens]
    if not kept:
        raise ValueError(f"max_tokens: got {max_tokens}, which no training pair is as short as")
    sources, targets = zip(*kept, strict=True)
    pairs = paired_buckets(
        sources,
        targets,
        batch_size=batch,
        seed=seed,
        source_boundaries=SOURCE_BOUNDARIES,
        target_boundaries=TARGET_BOUNDARIES,
        process=processes.process_index(),
        num_processes=processes.process_count(),
    )

    def at(cursor: int) -> Batch:
        rows = pairs.at(cursor)
        share = own * min(cursor / steps, 1)
        return Batch(rows, np.full(rows.weights.shape, share, np.float32))

    return pairs._replace(at=at, batch_axes=Batch(pairs.batch_axes, 0))  # type: ignore[arg-type]


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
        key_encode, key_apply, key_own = jax.random.split(key, 3)
        encoded = model.encode(params, pairs.sources, pairs.source_lengths, key_encode)
        inputs = shifted(pairs.targets)
        own = None
        if sampling:
            own = jax.random.uniform(key_own, inputs.shape) < batch.own[None]
        logits, _ = model.apply(params, encoded, inputs, key_apply, own)
        total = jax.nn.logsumexp(logits, axis=-1)
        right = jnp.take_along_axis(logits, pairs.targets[..., None], axis=-1)[..., 0]
        nll = total - right
        losses = (1 - smoothing) * nll + smoothing * (total - jnp.mean(logits, axis=-1))
        valid = jnp.arange(len(inputs))[:, None] < pairs.target_lengths[None]
        count = jnp.sum(valid).astype(losses.dtype)
        return Loss(jnp.sum(losses * valid), count, {"nll": jnp.sum(nll * valid)}, carry)

    return loss


def shifted(targets: Array) -> Array:
    """Returns what the decoder reads to write `targets` (T, B): BOS, and all but the last."""
    first = jnp.full((1, *targets.shape[1:]), subwords.BOS, targets.dtype)
    return jnp.concatenate([first, targets[:-1]])


def make_translate(
    model: Translator,
    tokenizers: Tokenizers,
    max_tokens: int,
    *,
    width: int = 1,
    length_penalty: float = 0.0,
) -> Callable[[Params, Sequence[str]], list[list[Translation]]]:
    """Returns the function from texts to translations.

    Args:
      model: the translator.
      tokenizers: of both languages.
      max_tokens: sources are cut after so many tokens; translations have at most half as many
        again.
      width: of the beam; 1 is greedy.
      length_penalty: of `decoding.beam_search`.

    Returns:
      `translate(params, texts)`: for each text its translations, the best first.
    """
    longest = max_tokens + max_tokens // 2

    @jax.jit
    def decode(params: Params, sources: Array, lengths: Array) -> decoding.Decoded:
        def step(carry: Any, token: Array) -> tuple[Any, Array]:
            return model.decode_step(params, carry, token)

        carry = model.encode(params, sources, lengths)
        ends = subwords.BOS, subwords.EOS, longest
        if width == 1:
            found = decoding.greedy(step, carry, *ends)
            return jax.tree.map(lambda a: a[:, None], found)
        return decoding.beam_search(step, carry, *ends, width=width, length_penalty=length_penalty)

    def translate(params: Params, texts: Sequence[str]) -> list[list[Translation]]:
        sources = [_cut(row, max_tokens) for row in tokens(tokenizers.source, texts)]
        rows = min(ROWS, len(texts))
        # Those of a length together, since a batch is decoded until its longest ends.
        order = sorted(range(len(texts)), key=lambda number: len(sources[number]))
        results: list[list[Translation]] = [[] for _ in texts]
        for start in range(0, len(order), rows):
            part = order[start : start + rows]
            padded = np.zeros((max_tokens, rows), np.int32)
            for column, number in enumerate(part):
                padded[: len(sources[number]), column] = sources[number]
            lengths = np.array([len(sources[n]) for n in part] + [0] * (rows - len(part)), np.int32)
            found = jax.tree.map(np.asarray, decode(params, padded, lengths))
            for row, number in enumerate(part):
                for ids, length, score in zip(*(leaf[row] for leaf in found), strict=True):
                    kept = ids[:length]
                    kept = kept[:-1] if len(kept) and kept[-1] == subwords.EOS else kept
                    text = " ".join(subwords.decode(tokenizers.target, kept).split())
                    if np.isfinite(score):
                        results[number].append(Translation(text, float(score), kept))
        return results

    return translate


def _cut(row: np.ndarray, max_tokens: int) -> np.ndarray:
    return row if len(row) <= max_tokens else np.append(row[: max_tokens - 1], row[-1])


def attention_of(
    built: Built, text: str, target: np.ndarray
) -> tuple[np.ndarray, list[str], list[str]]:
    """Returns (weights (T, S), source tokens, target tokens) of a translation, its end included."""
    source = _cut(tokens(built.tokenizers.source, [text])[0], built.config["max_tokens"])
    target = np.append(target, np.int32(subwords.EOS))
    carry = built.model.encode(built.params, source[:, None], np.array([len(source)]))
    _, weights = built.model.apply(built.params, carry, shifted(jnp.asarray(target)[:, None]))
    labels = [
        [subwords.decode(one, [token]) if token != subwords.EOS else "(end)" for token in row]
        for one, row in zip(built.tokenizers, (source, target), strict=True)
    ]
    return np.asarray(weights)[:, 0], labels[0], labels[1]


def scores(hypotheses: Sequence[str], pairs: Sequence[Pair]) -> dict[str, float]:
    """Returns sacrebleu's BLEU (Post 2018, arXiv 1804.08771) and chrF (Popovic 2015), 0 to 100."""
    import sacrebleu

    references = [[pair.target for pair in pairs]]
    return {
        "bleu": sacrebleu.corpus_bleu(list(hypotheses), references).score,
        "chrf": sacrebleu.corpus_chrf(list(hypotheses), references).score,
    }


def test_scores(splits: Splits, translate: Callable[[list[str]], list[str]]) -> dict[str, float]:
    """Returns the figures of the table, such as components_bleu.

    Args:
      splits: the data.
      translate: from sources to one translation each.

    Returns:
      bleu and chrf of the component split, of the source split, and of its parts by the cosine to
      the nearest training source: far (< .6), middle (.6 to .8), near.
    """
    _, cosines = phrase_splits.nearest(
        [pair.source for pair in splits.train], [pair.source for pair in splits.sources]
    )
    held = [*splits.components, *splits.sources]
    found = translate([pair.source for pair in held])
    number = len(splits.components)
    parts: dict[str, Sequence[int]] = {
        "components": range(number),
        "sources": range(number, len(held)),
    }
    for name, (low, high) in DISTANCES.items():
        inside = np.flatnonzero((low <= cosines) & (cosines < high))
        parts[name] = [number + int(row) for row in inside]
    figures: dict[str, float] = {}
    for name, rows in parts.items():
        if rows:
            of_part = scores([found[row] for row in rows], [held[row] for row in rows])
            figures |= {f"{name}_{metric}": value for metric, value in of_part.items()}
    return figures


def baselines(splits: Splits) -> list[dict[str, Any]]:
    """Returns the figures of copying the source, and of the nearest training sentence."""
    known = [pair.source for pair in splits.train]

    def nearest(texts: list[str]) -> list[str]:
        return [splits.train[n].target for n in phrase_splits.nearest(known, texts)[0]]

    return [
        {"model": "copy the source", **test_scores(splits, list)},
        {"model": "nearest sentence", **test_scores(splits, nearest)},
    ]
