"""The character language models: bits, the carried state, the study, and generated text."""

import io
import itertools
import json
import math
import types

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs import starter

import seqmodels as sm
from experiments import character_lm
from experiments.character_lm import data as texts
from experiments.character_lm import model as models
from experiments.character_lm import predict, study
from experiments.character_lm.__main__ import EXPERIMENT
from experiments.character_lm.baselines import baselines
from experiments.character_lm.config import CELLS, PROGRAM, Actions
from experiments.common import app
from experiments.common.sections import SavingConfig, TrainingConfig
from seqmodels import model_files, serving
from seqmodels.data.streams import contiguous
from seqmodels.datasets import plays
from seqmodels.datasets.plays import Plays, character_set

TEXT = "to be, or not to be: that is the question. " * 3
CHARACTERS = character_set(TEXT)
SIZE = len(CHARACTERS.known)
PLAYS = Plays(TEXT * 4, TEXT[5:60], TEXT[9:70])
CONFIG = character_lm.Config(
    cells=("rnn", "lstm"),
    hidden=6,
    embedding=5,
    length=8,
    training=TrainingConfig(
        seeds=2, steps=12, batch=4, eval_every=6, devices="1", watch=("gates", "gradients")
    ),
    saving=SavingConfig(tensorboard=False),
)


def drawn(name="lstm", precision="float32"):
    config = models.ModelConfig(name, 6, 5, CHARACTERS.known, precision)
    network = models.build(config)
    params = jax.tree.map(lambda a: 3 * a, jax.jit(network.model.init)(jax.random.key(0)))
    return models.LanguageModel(config, CHARACTERS, network, params)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("character_lm") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plays, "load", lambda data_dir: PLAYS)
        yield folder, character_lm.run(CONFIG, folder)


@pytest.mark.parametrize("name", CELLS)
def test_pieces_with_the_state_carried_are_the_whole(name):
    with jax.enable_x64(True):  # float32 steps of other lengths drift apart by 2e-5
        found = drawn(name, "float64")
        cell, params = found.network.cell, cases.to64(found.params)
        tokens = CHARACTERS.encode(TEXT)
        pieces = contiguous(tokens, 2, 8)
        state = jax.tree.map(
            lambda a: a + 7, cell.initial_state(params.cell, (2,))
        )  # is reset first
        run_piece = jax.jit(lambda *given: models.run_piece(found.network, *given))
        bits_of_pieces = []
        for n in range(pieces.per_epoch):
            state, bits = run_piece(params, state, pieces.at(n))
            bits_of_pieces.append(bits)
        steps = 8 * pieces.per_epoch
        stream = (len(tokens) - 1) // 2
        for row in range(2):
            read = tokens[row * stream : row * stream + steps + 1]
            _, ys = sm.unroll(cell, params.cell, params.embedding[read[:-1]])
            p = jax.nn.softmax(np.asarray(ys) @ params.w_out + params.b_out[None])
            want = -np.log2(np.asarray(p)[np.arange(steps), read[1:]])
            cases.assert_close(jnp.concatenate(bits_of_pieces)[:, row], want, 1e-9)


def test_bits_of_a_model_that_knows_nothing():
    found = drawn()
    params = found.params._replace(w_out=0 * found.params.w_out)
    bits = models.make_bits(found.network, CHARACTERS.encode(TEXT))(params)
    assert bits == pytest.approx(math.log2(SIZE), rel=1e-6)


def test_the_picture_shows_the_bits_of_every_character_but_the_first():
    """The oracle takes one step at a time."""
    found = drawn()
    tokens = CHARACTERS.encode(TEXT[:12])
    cell, model = found.network
    state, want = cell.initial_state(found.params.cell, ()), []
    for token, following in itertools.pairwise(tokens):
        state, y_t = cell.step(found.params.cell, state, model.embed(found.params, token))
        p = np.exp(np.asarray(model.read(found.params, y_t), np.float64))
        want.append(-np.log2(p[following] / p.sum()))
    cases.assert_close(predict.bits_by_character(found, TEXT[:12]), np.array(want), 1e-5)


def test_generated_text(tmp_path):
    one = drawn()
    model_files.save(tmp_path / "m", PROGRAM, one.config._asdict(), one.params)
    found = models.restore(model_files.load(tmp_path / "m", PROGRAM))
    generated = [
        predict.generate(found, text, 20, temperature=0.5, key=jax.random.key(seed))
        for text, seed in (("to", 0), ("to", 0), ("to", 1), ("t", 0), ("\U0001f680", 0))
    ]
    assert all(len(text) == 20 and set(text) <= set(CHARACTERS.known[1:]) for text in generated)
    assert generated[0] == generated[1] != generated[2]


def test_a_model_without_its_configuration_is_refused(tmp_path):
    one = drawn()
    model_files.save(tmp_path / "m", PROGRAM, {"cell": "lstm"}, one.params)
    with pytest.raises(ValueError, match="was saved by another version"):
        models.restore(model_files.load(tmp_path / "m", PROGRAM))


def test_baselines_get_better_with_context():
    found = baselines(texts.Data(Plays(TEXT, TEXT[5:60], TEXT[9:70]), CHARACTERS))
    assert [record["model"] for record in found][:2] == ["uniform", "unigrams"]
    assert found[0]["test_bits"] == pytest.approx(math.log2(SIZE))
    assert found[2]["test_bits"] < found[1]["test_bits"] < found[0]["test_bits"]


def test_two_processes_read_the_rows_of_one():
    data = texts.Data(PLAYS, character_set(PLAYS.train))
    for training in study.trainings(CONFIG, data):
        for seed in (0, 3):
            whole, first, second = (
                training.batches(seed, *place) for place in ((0, 1), (0, 2), (1, 2))
            )
            assert whole.per_epoch > 5
            for cursor in range(whole.per_epoch):
                parts = [batches.at(cursor) for batches in (first, second)]
                for axis, want, *got in zip(
                    whole.batch_axes, whole.at(cursor), *parts, strict=True
                ):
                    assert [array.shape[axis] for array in got] == [2, 2]
                    np.testing.assert_array_equal(np.concatenate(got, axis), want)


def test_each_seed_reads_other_streams():
    train = np.arange(400)
    begins = [
        texts.training_batches(train, seed, 0, 1, batch=4, length=8).at(0).inputs[0].tolist()
        for seed in (0, 1)
    ]
    assert begins == [[0, 99, 198, 297], [9, 108, 207, 306]]  # 1009 modulo 400 // 4


def test_training_and_evaluation_agree(trained, capsys):
    folder, results = trained
    assert results == json.loads((folder / "results.json").read_text())
    assert [record["model"] for record in results["results"]] == ["rnn", "rnn", "lstm", "lstm"]
    assert results["chosen_by"] == "validation_bits"
    for record in results["results"]:
        assert record["steps"] == 12
        assert record["test_bits"] < results["baselines"][0]["test_bits"]
    for text in (folder / "metrics.jsonl").read_text().splitlines():
        line = json.loads(text)
        assert 0 < line["gradients/at_1"] < 10
        assert ("gates/f_low" in line) == (line["model"] == "lstm")
    figures = ("model", "seed", "parameters", "validation_bits", "test_bits")
    want = [{name: record[name] for name in figures} for record in results["results"]]
    assert character_lm.evaluate(folder) == want
    table = capsys.readouterr().out
    for name in ("uniform", "unigrams", "rnn", "lstm"):
        assert f" {name} " in table


def test_predict_plots_and_exports_the_same_model(trained, tmp_path, capsys, monkeypatch):
    folder, _ = trained
    picture, served_file = tmp_path / "bits.png", tmp_path / "m.seq"
    command = ["--predict=-", "--characters=15", f"--model_dir={folder / 'models/lstm-0'}"]
    command += [f"--plot={picture}", f"--export={served_file}"]
    given = types.SimpleNamespace(buffer=io.BytesIO(b"to be\n"))
    monkeypatch.setattr("sys.stdin", given)
    assert app.execute(EXPERIMENT, command) == 0
    lines = capsys.readouterr()
    assert lines.err == ""
    named, _, text = lines.out.partition("\n")
    assert named == f"model: {folder / 'models/lstm-0'}"
    assert text.startswith("to be")
    assert len(text.split("plot: ")[0]) == len("to be") + 15 + 1
    assert picture.stat().st_size > 5_000
    found = models.restore(model_files.load(folder / "models/lstm-0", PROGRAM))
    served = serving.load(served_file)
    assert served.about["characters"] == found.config.characters
    state = [np.tile(np.float32(leaf), (2, 1)) for leaf in served.about["initial_state"]]
    tokens = found.characters.encode("to be")
    for token in tokens[:-1]:
        log_probs, *state = served(np.array([token, 0], np.int32), *state)
    bits = -float(log_probs[0, tokens[-1]]) / math.log(2)
    assert bits == pytest.approx(predict.bits_by_character(found, "to be")[-1], rel=1e-5)


def test_unknown_characters_are_named(capsys):
    predict.show(drawn(), "\U0001f680", Actions(predict="\U0001f680", characters=3))
    shown = capsys.readouterr()
    assert shown.err == "predict: not in the plays: '\\U0001f680'\n"
    assert len(shown.out) == 5


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--hidden=0"], "hidden: got 0, expected at least 1"),
        (["--cells=lstn"], "cells: got 'lstn', expected one of rnn, gru, lstm; did you mean lstm?"),
        (["--learning_rate=rnn:0.1"], "learning_rate: got rnn, expected a value for lstm"),
        (["--learning_rate=foo:1"], "learning_rate: got 'foo', expected one of rnn, gru, lstm"),
        (["--temperature=0"], "temperature: got 0.0, expected above 0"),
        (["--data_dir="], "data_dir: got '', expected a name"),
        (["--plot=p.png"], "plot: got it without predict, expected both"),
        (["--predict="], "predict: got an empty text, expected one or more characters"),
        (["--predict=x", "--model_dir=."], "expected the folder of a run"),
        (["--predict=x"], "model_dir: got nothing, and there is no finished run below runs/"),
        (["--length=500", "--run_dir=r"], "length: got 500, expected at most"),
        (["--batch=2000", "--run_dir=r"], "batch_size: got 2000, expected at most"),
    ],
)
def test_mistakes_are_one_line(trained, tmp_path, monkeypatch, capsys, arguments, line):
    monkeypatch.chdir(tmp_path)
    assert app.execute(EXPERIMENT, ["--devices=1", *arguments]) in (1, 2)
    shown = capsys.readouterr()
    assert shown.err.startswith("character_lm: error: ")
    assert line in shown.err
    assert shown.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_command_continues_a_text(trained):
    folder, _ = trained
    done = starter("experiments.character_lm")(
        folder.parent, "--predict=to be", "--characters=9", "--model_dir=run"
    )
    assert (done.returncode, done.stderr) == (0, "")
    named, _, text = done.stdout.partition("\n")
    assert named.startswith(f"model: {folder}/models/")
    assert text.startswith("to be")
    assert len(text) == len("to be") + 9 + 1
