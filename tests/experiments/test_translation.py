"""The parts of the translation experiment, on made-up pairs, and its one-line answers."""

import functools

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs import starter

from experiments.translation import model as work
from seqmodels import model_files
from seqmodels.data import subwords
from seqmodels.data.phrase_splits import Splits
from seqmodels.data.sentence_pairs import Pair

WORDS = {"red": "rot", "green": "grün", "blue": "blau", "old": "alt", "new": "neu", "big": "groß"}


def made_up():
    pairs = [
        Pair(f"{a} {b} {c} here", f"{WORDS[c]} {WORDS[b]} {WORDS[a]} hier")
        for a in WORDS for b in WORDS for c in WORDS
    ]  # fmt: skip
    return Splits(pairs[:180], pairs[180:190], pairs[190:200], pairs[200:])


@functools.cache
def built():
    splits = made_up()
    tokenizers = work.train_tokenizers(splits, 300)
    config = {
        "attention": "luong",
        "source_size": tokenizers.source.get_vocab_size(),
        "target_size": tokenizers.target.get_vocab_size(),
        "hidden_size": 8,
        "embedding_size": 6,
        "dropout": 0.0,
        "max_tokens": 12,
    }
    model = work.build_model(config)
    params = jax.tree.map(lambda a: 4 * a, model.init(jax.random.key(0)))
    return work.Built(config, model, params, tokenizers)


def batches(**changes):
    given = {"batch": 16, "seed": 0, "max_tokens": 20, "own": 0.5, "steps": 10} | changes
    return work.training_batches(made_up(), built().tokenizers, **given)


def test_batches_hold_tokens_with_an_end_and_the_share_of_sampling():
    found = batches()
    batch = found.at(4)
    last = batch.pairs.targets[batch.pairs.target_lengths - 1, np.arange(16)]
    assert np.all(last[batch.pairs.weights > 0] == subwords.EOS)
    assert np.all(batch.own == np.float32(0.2))
    assert np.all(found.at(1_000).own == 0.5)
    with pytest.raises(ValueError, match="max_tokens: got 2, which no training pair"):
        batches(max_tokens=2)


def test_the_loss_against_a_loop():
    one, batch = built(), batches().at(0)
    smoothing = 0.2
    loss = work.make_loss(one.model, smoothing, False)(one.params, batch, jax.random.key(0), ())
    pairs = batch.pairs
    carry = one.model.encode(one.params, pairs.sources, pairs.source_lengths)
    total = nll = 0.0
    token = jnp.full(16, subwords.BOS)
    for t in range(len(pairs.targets)):
        carry, log_probs = one.model.decode_step(one.params, carry, token)
        token = pairs.targets[t]
        for row in np.flatnonzero(t < pairs.target_lengths):
            p = np.asarray(log_probs[row], np.float64)
            wanted = np.full(len(p), smoothing / len(p))
            wanted[token[row]] += 1 - smoothing
            total -= wanted @ p
            nll -= p[token[row]]
    cases.assert_close(loss.total, np.float64(total), 1e-5)
    cases.assert_close(loss.metrics["nll"], np.float64(nll), 1e-5)
    assert loss.weight == pairs.target_lengths.sum()


def test_scheduled_sampling_at_a_share_of_zero_is_teacher_forcing():
    one = built()
    pair = [
        work.make_loss(one.model, 0.1, sampling)(one.params, batches(own=own).at(9), key, ())
        for key in [jax.random.key(0)]
        for sampling, own in ((False, 0.0), (True, 0.0), (True, 0.9))
    ]
    cases.assert_close(pair[0].total, pair[1].total)
    assert abs(float(pair[2].total - pair[0].total)) > 1e-3


def test_a_translation_does_not_depend_on_its_company():
    one = built()
    texts = ["red", "new green blue", "", "old " * 40, "\U0001f680 سلم", "red"]
    translate = work.make_translate(one.model, one.tokenizers, 12, width=3, length_penalty=0.6)
    together = translate(one.params, texts)
    assert [len(each) for each in together] == [3] * len(texts)
    for text, want in zip(texts, together, strict=True):
        alone = translate(one.params, [text])[0]
        assert [a.text for a in alone] == [a.text for a in want]
        cases.assert_close(np.array([a.score for a in alone]), np.array([a.score for a in want]), 1e-5)  # fmt: skip # noqa: E501


def test_what_is_drawn_are_the_weights_of_the_translation():
    one = built()
    found = work.make_translate(one.model, one.tokenizers, 12)(one.params, ["red new old"])[0][0]
    weights, source, target = work.attention_of(one, "red new old", found.tokens)
    assert weights.shape == (len(target), len(source))
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert "".join(source[:-1]) == " red new old"
    assert source[-1] == target[-1] == "(end)"


def test_a_saved_model_translates_alike(tmp_path):
    one = built()
    model_files.save(tmp_path / "m", "translation", one.config, one.params, one.tokenizers.texts())
    again = work.load(model_files.load(tmp_path / "m", "translation"))
    for built_one in (one, again):
        translate = work.make_translate(built_one.model, built_one.tokenizers, 12)
        assert translate(built_one.params, ["red new"])[0][0].text == (
            work.make_translate(one.model, one.tokenizers, 12)(one.params, ["red new"])[0][0].text
        )
    jax.tree.map(np.testing.assert_array_equal, again.params, one.params)


def test_perfect_and_copied_translations():
    splits = made_up()
    known = {pair.source: pair.target for part in splits for pair in part}
    figures = work.test_scores(splits, lambda texts: [known[text] for text in texts])
    assert figures["components_bleu"] == pytest.approx(100)
    assert figures["sources_chrf"] == pytest.approx(100)
    copied = work.baselines(splits)[0]
    assert copied["model"] == "copy the source"
    assert copied["components_bleu"] < 10


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--predict="], "predict: got an empty text, expected one or more words"),
        (["--predict=hello"], "model_dir: got nothing, and there is no finished run below runs/"),
        (["--attention=lunog"], "did you mean luong?"),
        (["--hidden=7"], "--hidden=7: got 7, expected an even number"),
        (["--pairs_file=missing.tsv"], "No such file"),
    ],
)
def test_one_clear_line(tmp_path, arguments, line):
    done = starter("experiments.translation")(tmp_path, *arguments)
    assert done.returncode in (1, 2)
    assert line in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
