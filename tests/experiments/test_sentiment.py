"""The command trains on one's own CSV and uses what it has trained; mistakes are one line."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from programs import ROOT, starter

from experiments.common import app
from experiments.sentiment import data as sentiment_data
from experiments.sentiment import model as sentiment_model
from experiments.sentiment import predict as sentiment_use
from seqmodels import model_files, serving

start = starter("experiments.sentiment")
GOOD, BAD = ("love", "great", "fine"), ("hate", "awful", "poor")
FLAGS = (
    "--data=csv", "--csv=own.csv", "--text_column=say", "--label_column=mood", "--seeds=1",
    "--models=gru,bilstm", "--steps=40", "--eval_every=20", "--hidden=4", "--embedding=8",
    "--buckets=50", "--max_words=12", "--dropout=0", "--embedding_dropout=0", "--word_dropout=0",
    "--learning_rate=0.02", "--batch=16", "--devices=1", "--tensorboard=false", "--run_dir=run",
)  # fmt: skip


def use(folder, *arguments):
    return start(folder, "--model_dir=run", *arguments)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sentiment")
    rng = np.random.default_rng(0)
    with (folder / "own.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["say", "mood"])
        for number in range(160):
            word = rng.choice((BAD, GOOD)[number % 2])
            name = "".join(chr(97 + letter) for letter in rng.integers(0, 26, 5))
            writer.writerow([" ".join(rng.permutation([name, word, "film"])), number % 2])
    done = start(folder, *FLAGS)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_training_leaves_a_table_intervals_and_a_picture(trained):
    folder, table = trained
    for name in ("majority", "TF-IDF, words 1-2", "TF-IDF, characters 2-5", "gru", "bilstm"):
        assert f" {name} " in table
    assert "95 % interval over test texts and seeds" in table
    assert (folder / "run/confusion.png").stat().st_size > 5_000
    results = json.loads((folder / "run/results.json").read_text())
    assert all(record["macro_f1"] > 0.8 for record in results["results"])
    assert [len(record["predicted"]) for record in results["results"]] == [32, 32]


def test_evaluate_gives_what_training_gave(trained):
    folder, _ = trained
    done = use(folder, "--evaluate")
    results = json.loads((folder / "run/results.json").read_text())
    for record in results["results"]:
        assert f"{record['model']}: macro_f1 {record['macro_f1']:.3f}" in done.stdout


def test_predict_draws_and_exports_what_serves_the_same(trained):
    folder, _ = trained
    done = use(folder, "--predict=I love this", "--plot=p.png", "--export=m.seq")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    shown = dict(line.split() for line in done.stdout.splitlines()[1:3])
    assert sum(map(float, shown.values())) == pytest.approx(1, abs=0.002)
    assert done.stdout.splitlines()[0] == max(shown, key=lambda name: float(shown[name]))
    assert (folder / "p.png").stat().st_size > 5_000
    served = serving.load(folder / "m.seq")
    assert served.about["classes"] == ["0", "1"]
    assert "tokenizer.json" in served.texts
    width = int(served.inputs[0][1].split(",")[2])
    probabilities = served(np.zeros((5, 3, width), np.int32), np.array([5, 0, 2], np.int32))
    np.testing.assert_allclose(np.sum(probabilities, axis=1), 1, rtol=1e-5)


@pytest.fixture(scope="module")
def predictor(trained):
    return sentiment_model.restore(model_files.load(trained[0] / "run/models/gru-0", "sentiment"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (13 * "love ", "got 13 words, expected at most 12; the rest was left out"),
        ("\u05e9\u05dc\u05d5\u05dd \U0001f621", "no word of it was seen in training"),
    ],
)
def test_texts_with_a_warning(predictor, capsys, text, message):
    sentiment_use.show(predictor, text, "truncate", None)
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out.splitlines()[0] in ("0", "1")


@pytest.mark.parametrize(
    ("text", "plot", "message"),
    [
        ("", None, "predict: got '', expected a text with a word in it"),
        (" \n", None, "expected a text with a word in it"),
        (13 * "a ", None, "got 13 words, expected at most 12"),
        ("love", "no/x.png", "plot: no/x.png cannot be written"),
    ],
)
def test_texts_that_are_refused(predictor, text, plot, message):
    with pytest.raises(app.UserError, match=message):
        sentiment_use.show(predictor, text, "refuse", plot)


def test_what_is_truncated_is_as_the_short_text(predictor, capsys):
    for text in (12 * "love ", 12 * "love " + "hate"):
        sentiment_use.show(predictor, text, "truncate", None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == lines[3:]


def test_many_texts_are_predicted_as_one_by_one(predictor):
    texts = ["love film", "", "hate " * 30, "an awful film of nothing"] * 80
    many = sentiment_use.answers(predictor, texts)
    assert many.tolist() == [sentiment_use.answers(predictor, [text])[0] for text in texts[:4]] * 80


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": "csv", "csv": "none.csv"}, "csv: got 'none.csv', expected a file that is there"),
        ({"data": "csv"}, "expected both --data=csv and --csv=FILE"),
        ({"csv": "own.csv"}, "expected both --data=csv and --csv=FILE"),
        ({"data": "imdb", "target": "rating"}, "target: got rating with imdb"),
    ],
)
def test_flags_that_do_not_go_together(given, message):
    source = sentiment_data.Source("tweets", "classes", None, "text", "label", 0, None)
    with pytest.raises(ValueError, match=message):
        sentiment_data.check(source._replace(**given))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data=csv", "--csv=own.csv"], "text_column: got 'text', expected one of the columns"),
        (["--predict=x", "--model_dir=."], "expected the folder of a run"),
        (["--data=tweet"], "did you mean tweets?"),
    ],
)
def test_mistakes_are_one_line(trained, arguments, message):
    done = start(trained[0], *arguments)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_rating_of_ones_own(tmp_path):
    """Ratings are the number of a word; the mean rating explains nothing of them."""
    rows = [
        f"{'love ' * (n % 5)}{'abcdefgh'[n % 8]}{'klmnopqrstu'[n % 11]},{n % 5}" for n in range(80)
    ]
    (tmp_path / "own.csv").write_text("\n".join(["say,mood", *rows]) + "\n")
    done = start(tmp_path, *FLAGS, "--target=rating", "--models=gru", "--baselines=words")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["baselines"][0]["model"] == "mean rating"
    assert results["results"][0]["rmse"] < results["baselines"][0]["rmse"]
    assert use(tmp_path, "--predict=love love").stdout.startswith("rating ")


def test_a_reader_that_has_gone_is_no_error(trained):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "experiments.sentiment", "--predict=fine", "--model_dir=run"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=trained[0], env=environment, stdout=write, stderr=subprocess.PIPE, timeout=240
    )
    os.close(write)
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr == b""


def test_vectors_from_own_texts(trained, tmp_path):
    shutil.copy(trained[0] / "own.csv", tmp_path)
    (tmp_path / "raw.txt").write_text("a lovely film\nan awful film\n" * 20, encoding="utf-8")
    command = [*FLAGS, "--models=bag,rnn", "--baselines=words", "--buckets=0", "--embedding=3"]
    done = start(tmp_path, *command, "--vectors_from=raw.txt")
    assert done.returncode == 0, done.stderr
    assert " bag " in done.stdout
    shown = start(tmp_path, "--model_dir=run/models/rnn-0", "--predict=an awful film")
    assert shown.stdout.splitlines()[0] in ("0", "1")  # awful is known from the raw texts alone
    (tmp_path / "raw.txt").write_text("something else", encoding="utf-8")
    other = start(tmp_path, *command, "--vectors_from=raw.txt")
    assert other.returncode != 0
    assert "vectors_from" in other.stderr


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("imbd", "vectors_from: got 'imbd', expected none, tweets, rotten_tomatoes, imdb, or a"),
        ("one.txt", "vectors_from: "),
    ],
)
def test_vectors_that_cannot_be_made(trained, tmp_path, given, line):
    shutil.copy(trained[0] / "own.csv", tmp_path)
    (tmp_path / "one.txt").write_text("love\n", encoding="utf-8")
    done = start(tmp_path, *FLAGS, "--buckets=0", "--embedding=400", f"--vectors_from={given}")
    assert done.returncode == 1
    assert line in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
