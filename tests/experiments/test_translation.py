"""The translation study, on made-up pairs: loss, search, figures, run, and one-line mistakes."""

import functools
import io
import json
import types

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs import starter

from experiments import translation
from experiments.common import app
from experiments.common.sections import SavingConfig, TrainingConfig
from experiments.translation import data as texts
from experiments.translation import model as models
from experiments.translation import predict, study
from experiments.translation.__main__ import EXPERIMENT
from experiments.translation.baselines import baselines
from experiments.translation.config import PROGRAM
from experiments.translation.metrics import scores_by_part
from experiments.translation.translate import make_translate
from seqmodels import model_files, serving
from seqmodels.data import subwords
from seqmodels.data.phrase_splits import Splits
from seqmodels.data.sentence_pairs import Pair
from seqmodels.storage.text import printable

WORDS = {"red": "rot", "green": "grün", "blue": "blau", "old": "alt", "new": "neu", "big": "groß"}
SMALL = (
    "--hidden=6", "--embedding=4", "--vocabulary=280", "--max_tokens=24", "--beam=2", "--batch=8",
    "--steps=2", "--eval_every=2", "--seeds=1", "--devices=1", "--notensorboard",
)  # fmt: skip


def made_up():
    pairs = [
        Pair(f"{a} {b} {c} here", f"{WORDS[c]} {WORDS[b]} {WORDS[a]} hier")
        for a in WORDS for b in WORDS for c in WORDS
    ]  # fmt: skip
    return Splits(pairs[:180], pairs[180:190], pairs[190:200], pairs[200:])


@functools.cache
def tokenizers():
    return texts.train_tokenizers(made_up(), 300)


@functools.cache
def drawn():
    config = models.ModelConfig(
        attention="luong",
        source_size=tokenizers().source.get_vocab_size(),
        target_size=tokenizers().target.get_vocab_size(),
        hidden_size=8,
        embedding_size=6,
        dropout=0.0,
        max_tokens=12,
    )
    model = models.build(config)
    params = jax.tree.map(lambda a: 4 * a, jax.jit(model.init)(jax.random.key(0)))
    return models.TrainedTranslator(config, model, params, tokenizers())


def batches(process=0, num_processes=1, *, share=0.5, max_tokens=20):
    data = texts.encode(made_up(), tokenizers(), max_tokens)
    return texts.training_batches(
        data, 0, process, num_processes, batch=16, scheduled_sampling=share, steps=10
    )


def write_pairs(path):
    """Writes 120 pairs whose sources are far enough from each other to be split."""
    rng = np.random.default_rng(0)
    syllables = [first + second for first in "bdfgklmn" for second in "aeiou"]
    words = ["".join(rng.choice(syllables, 2)) for _ in range(200)]
    sources = [" ".join(rng.choice(words, rng.integers(3, 5))) for _ in range(120)]
    lines = [f"{text}\t{' '.join(reversed(text.split()))}\n" for text in sources]
    path.write_text("".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("translation")
    write_pairs(folder / "pairs.tsv")
    config = translation.Config(
        attention=("luong", "none"),
        hidden=6,
        embedding=4,
        vocabulary=280,
        max_tokens=24,
        beam=2,
        scheduled_sampling=0.2,
        pairs_file=folder / "pairs.tsv",
        training=TrainingConfig(seeds=1, steps=4, batch=8, eval_every=2, devices="1"),
        saving=SavingConfig(tensorboard=False),
    )
    return folder / "run", config, translation.run(config, folder / "run")


def test_batches_hold_tokens_with_an_end_and_the_share_of_sampling():
    found = batches()
    batch = found.at(4)
    last = batch.pairs.targets[batch.pairs.target_lengths - 1, np.arange(16)]
    assert np.all(last[batch.pairs.weights > 0] == subwords.EOS)
    assert np.all(batch.predicted == np.float32(0.2))
    assert np.all(found.at(1_000).predicted == 0.5)
    with pytest.raises(ValueError, match="max_tokens: got 2, expected at least 5"):
        batches(max_tokens=2)


def test_two_processes_read_the_rows_of_one():
    whole, first, second = batches(), batches(0, 2), batches(1, 2)
    assert whole.per_epoch == 12
    for cursor in range(whole.per_epoch):
        parts = [one.at(cursor) for one in (first, second)]
        columns = zip(
            jax.tree.leaves(whole.batch_axes),
            jax.tree.leaves(whole.at(cursor)),
            *map(jax.tree.leaves, parts),
            strict=True,
        )
        for axis, want, *got in columns:
            assert [array.shape[axis] for array in got] == [8, 8]
            np.testing.assert_array_equal(np.concatenate(got, axis), want)


def test_the_study_gives_each_process_its_share(trained):
    _, config, _ = trained
    splits = texts.load(config)
    data = texts.encode(splits, texts.train_tokenizers(splits, 280), 24)
    for training in study.trainings(config, data):
        whole = training.batches(0, 0, 1)
        for cursor in range(whole.per_epoch):
            rows = [training.batches(0, n, 2).at(cursor).pairs.rows for n in range(2)]
            np.testing.assert_array_equal(np.concatenate(rows), whole.at(cursor).pairs.rows)


def test_the_loss_against_a_loop():
    one, batch = drawn(), batches().at(0)
    smoothing = 0.2
    loss = models.make_loss(one.model, smoothing, False)(one.params, batch, jax.random.key(0), ())
    pairs = batch.pairs
    carry = one.model.encode(one.params, pairs.sources, pairs.source_lengths)
    decode_step = jax.jit(one.model.decode_step)
    total = nll = 0.0
    token = jnp.full(16, subwords.BOS)
    for t in range(len(pairs.targets)):
        carry, log_probs = decode_step(one.params, carry, token)
        token = pairs.targets[t]
        for row in np.flatnonzero(t < pairs.target_lengths):
            p = np.asarray(log_probs[row], np.float64)
            smoothed = np.full(len(p), smoothing / len(p))
            smoothed[token[row]] += 1 - smoothing
            total -= smoothed @ p
            nll -= p[token[row]]
    cases.assert_close(loss.total, np.float64(total), 1e-5)
    cases.assert_close(loss.metrics["nll"], np.float64(nll), 1e-5)
    assert loss.weight == pairs.target_lengths.sum()


def test_scheduled_sampling_at_a_share_of_zero_is_teacher_forcing():
    one = drawn()
    losses = [
        jax.jit(models.make_loss(one.model, 0.1, sampling))(
            one.params, batches(share=share).at(9), jax.random.key(0), ()
        )
        for sampling, share in ((False, 0.0), (True, 0.0), (True, 0.9))
    ]
    cases.assert_close(losses[0].total, losses[1].total)
    assert abs(float(losses[2].total - losses[0].total)) > 1e-3


def test_a_translation_does_not_depend_on_its_company():
    one = drawn()
    sources = ["red", "new green blue", "", "old " * 40, "\U0001f680 سلم", "red"]
    translate = make_translate(one.model, one.tokenizers, 12, width=3, length_penalty=0.6)
    together = translate(one.params, sources)
    assert [len(found) for found in together] == [3] * len(sources)
    for source, want in zip(sources, together, strict=True):
        alone = translate(one.params, [source])[0]
        assert [found.text for found in alone] == [found.text for found in want]
        scores = [np.array([found.score for found in beam]) for beam in (alone, want)]
        cases.assert_close(*scores, 1e-5)


def test_the_picture_shows_the_weights_of_the_translation():
    one = drawn()
    found = models.translations(one, ["red new old"])[0][0]
    weights, source, target = predict.attention_of(one, "red new old", found.tokens)
    assert weights.shape == (len(target), len(source))
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert "".join(source[:-1]) == " red new old"
    assert source[-1] == target[-1] == "(end)"


def test_a_saved_model_translates_alike(tmp_path):
    one = drawn()
    about = one.config._asdict()
    model_files.save(tmp_path / "m", PROGRAM, about, one.params, one.tokenizers.texts())
    again = models.restore(model_files.load(tmp_path / "m", PROGRAM))
    assert again.config == one.config
    jax.tree.map(np.testing.assert_array_equal, again.params, one.params)
    beams = [models.translations(found, ["red new"])[0] for found in (one, again)]
    assert [found.text for found in beams[0]] == [found.text for found in beams[1]]
    model_files.save(tmp_path / "m", PROGRAM, about, one.params)
    with pytest.raises(ValueError, match="was saved by another version"):
        models.restore(model_files.load(tmp_path / "m", PROGRAM))


def test_perfect_and_copied_translations():
    splits = made_up()
    known = {pair.source: pair.target for part in splits for pair in part}
    figures = scores_by_part(splits, lambda sources: [known[text] for text in sources])
    assert figures["components_bleu"] == pytest.approx(100)
    assert figures["sources_chrf"] == pytest.approx(100)
    copied = baselines(splits)[0]
    assert copied["model"] == "copy the source"
    assert copied["components_bleu"] < 10


def test_training_and_evaluation_agree(trained, capsys):
    folder, _, results = trained
    assert results == json.loads((folder / "results.json").read_text())
    assert results["flags"]["pairs_file_sha256"]
    assert [record["model"] for record in results["results"]] == ["luong", "none"]
    assert results["results"][0]["best_step"] in (2, 4)
    assert (folder / "attention.png").stat().st_size > 5_000
    records = translation.evaluate(folder)
    for got, want in zip(records, results["results"], strict=True):
        assert {"components_bleu", "sources_chrf"} <= got.keys()
        assert got == {name: want[name] for name in got}
    table = capsys.readouterr().out
    for name in ("copy the source", "nearest sentence", "luong", "none"):
        assert f" {name} " in table


def test_predict_draws_and_exports_the_same_search(trained, tmp_path, capsys, monkeypatch):
    folder, config, _ = trained
    model_dir, text = folder / "models/luong-0", texts.load(config).train[0].source
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(f"{text}\n".encode())))
    command = ["--predict=-", f"--model_dir={model_dir}", f"--plot={tmp_path / 'a.png'}"]
    assert app.execute(EXPERIMENT, [*command, f"--export={tmp_path / 'm.seq'}"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert (tmp_path / "a.png").stat().st_size > 5_000
    trained_translator = models.restore(model_files.load(model_dir, PROGRAM))
    want = models.translations(trained_translator, [text])[0]
    named, *lines = shown.out.splitlines()
    assert named == f"model: {model_dir}"
    assert lines[0] == f"{want[0].score:8.2f}  {printable(want[0].text)}  <- best"
    assert lines[1] == f"{want[1].score:8.2f}  {printable(want[1].text)}"
    served = serving.load(tmp_path / "m.seq")
    assert set(served.texts) == {"source.json", "target.json"}
    ids = texts.tokens(subwords.from_text(served.texts["source.json"]), [text])[0]
    padded = np.zeros((served.about["max_tokens"], 1), np.int32)
    padded[: len(ids), 0] = ids
    tokens, lengths, scores = served(padded, np.array([len(ids)], np.int32))
    for number, found in enumerate(want):
        kept = np.asarray(tokens)[0, number, : int(lengths[0, number])]
        assert [token for token in kept if token != subwords.EOS] == found.tokens.tolist()
        assert float(scores[0, number]) == pytest.approx(found.score, rel=1e-5)


def test_long_texts_are_cut_or_refused(trained, tmp_path, capsys):
    picture = f"--picture={tmp_path / 'a.png'}"
    command = [f"--model_dir={trained[0]}/models/luong-0", picture]
    assert app.execute(EXPERIMENT, [*command, "--predict=" + "long " * 20]) == 0
    shown = capsys.readouterr()
    assert "tokens, cut after 24" in shown.err
    assert f"attention: {tmp_path / 'a.png'}" in shown.out
    assert app.execute(EXPERIMENT, [*command, "--predict=" + "a " * 60, "--too_long=refuse"]) == 1
    assert "expected at most 24 (or too_long cut)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--predict="], "predict: got an empty text, expected one or more words"),
        (["--predict=hello"], "model_dir: got nothing, and there is no finished run below runs/"),
        (["--predict=hello", "--model_dir=."], "expected the folder of a run"),
        (["--attention=lunog"], "did you mean luong?"),
        (["--hidden=7"], "hidden: got 7, expected an even number"),
        (["--dropout=nan"], "dropout: got nan, expected at least 0 and at most 0.99"),
        (["--length_penalty=inf"], "length_penalty: got inf, expected a finite number"),
        (["--vocabulary=9"], "vocabulary: got 9, expected at least 260"),
        (["--learning_rate=none:0.1"], "learning_rate: got none, expected a value for luong"),
        (["--too_long=keep"], "too_long: got 'keep', expected one of cut, refuse"),
        (["--picture="], "picture: got '', expected a name"),
        (["--plot=p.png"], "plot: got it without predict, expected both"),
        (["--pairs_file=missing.tsv"], "missing.tsv', expected a file that exists"),
        (["--pairs_file=three.tsv"], "split: got 3 pairs of different sources"),
        (["--pairs_file=broken.tsv"], "line 2: got 'alone', expected a source, a tab"),
        (["--pairs_file=pairs.tsv", "--max_tokens=2"], "max_tokens: got 2, expected at least"),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, arguments, line):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "pairs.tsv")
    (tmp_path / "three.tsv").write_text("a b\tc\nd e\tf\ng h\ti\n")
    (tmp_path / "broken.tsv").write_text("a b\tc\nalone\n")
    assert app.execute(EXPERIMENT, ["--devices=1", *arguments]) in (1, 2)
    shown = capsys.readouterr()
    assert shown.err.startswith("translation: error: ")
    assert line in shown.err
    assert shown.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_model_without_attention_cannot_be_plotted(trained, tmp_path, capsys):
    command = [f"--model_dir={trained[0]}/models/none-0", "--predict=bade", "--plot=a.png"]
    assert app.execute(EXPERIMENT, command) == 1
    assert "plot: got a model without attention" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_trains_and_translates(trained, tmp_path):
    start = starter("experiments.translation")
    pairs_file = f"--pairs_file={trained[0].parent / 'pairs.tsv'}"
    done = start(tmp_path, *SMALL, pairs_file, "--run_dir=run")
    assert done.returncode == 0, done.stderr
    assert " nearest sentence " in done.stdout
    done = start(tmp_path, "--model_dir=run", "--predict=bade", "--picture=p.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert "  <- best" in done.stdout
    assert (tmp_path / "p.png").exists()
