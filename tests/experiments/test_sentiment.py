"""It trains on one's own CSV and uses what it has trained; mistakes are one line."""

import csv
import functools
import io
import json
import os
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import programs
import pytest
import quick_programs
from programs import ROOT, flags_of, starter

from experiments.common.errors import UserError
from experiments.sentiment import Config, evaluate, run
from experiments.sentiment import data as sentiment_data
from experiments.sentiment import model as sentiment_model
from experiments.sentiment import predict as sentiment_use
from experiments.sentiment.__main__ import EXPERIMENT
from experiments.sentiment.config import Actions
from experiments.sentiment.study import trainings
from seqmodels import model_files, serving

start = starter("experiments.sentiment")
execute = functools.partial(programs.execute, EXPERIMENT)
GOOD, BAD = ("love", "great", "fine"), ("hate", "awful", "poor")
OPTIONS = {
    "data": "csv",
    "csv": "own.csv",
    "text_column": "say",
    "label_column": "mood",
    "seeds": 1,
    "models": ("gru",),
    "steps": 40,
    "eval_every": 20,
    "hidden": 4,
    "embedding": 8,
    "buckets": 50,
    "max_words": 12,
    "dropout": 0,
    "embedding_dropout": 0,
    "word_dropout": 0,
    "learning_rate": "0.02",
    "batch": 16,
    "devices": "1",
    "tensorboard": False,
}


def results(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A folder with the texts of a user."""
    folder = tmp_path_factory.mktemp("sentiment")
    rng = np.random.default_rng(0)
    with (folder / "own.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["say", "mood"])
        for number in range(160):
            word = rng.choice((BAD, GOOD)[number % 2])
            name = "".join(chr(97 + letter) for letter in rng.integers(0, 26, 5))
            writer.writerow([" ".join(rng.permutation([name, word, "film"])), number % 2])
    return folder


@pytest.fixture(scope="module")
def trained(texts):
    """A run of the command itself."""
    done = start(texts, *flags_of(OPTIONS), "--run_dir=run")
    assert done.returncode == 0, done.stderr
    return texts / "run", done.stdout


@pytest.fixture
def config(texts):
    return Config().replace(**OPTIONS | {"csv": texts / "own.csv"})


def test_training_leaves_a_table_intervals_and_a_picture(trained):
    folder, table = trained
    for name in ("majority", "TF-IDF, words 1-2", "TF-IDF, characters 2-5", "gru"):
        assert f" {name} " in table
    assert "95% interval over test texts and seeds" in table
    assert (folder / "confusion.png").stat().st_size > 5_000
    records = results(folder)["results"]
    assert all(record["macro_f1"] > 0.8 for record in records)
    assert [len(record["predicted"]) for record in records] == [34]


@pytest.mark.slow
def test_a_function_call_is_the_command(trained, config, tmp_path, capsys):
    folder, _ = trained
    found = run(config, tmp_path)
    assert found == results(tmp_path)
    assert " gru " in capsys.readouterr().out
    for name in ("baselines", "results"):
        got, want = ([{**one, "seconds": 0} for one in of[name]] for of in (found, results(folder)))
        assert got == want
    assert (tmp_path / "metrics.jsonl").read_bytes() == (folder / "metrics.jsonl").read_bytes()


def test_evaluate_gives_what_training_gave(trained, capsys):
    folder, _ = trained
    records = evaluate(folder)
    for got, want in zip(records, results(folder)["results"], strict=True):
        assert got == {name: want[name] for name in ("model", "seed", "macro_f1", "accuracy")}
    shown = capsys.readouterr().out
    assert execute("--evaluate", f"--model_dir={folder}") == (0, shown, "")
    for record in records:
        assert f"{record['model']}: macro_f1 {record['macro_f1']:.3f}" in shown


def test_predict_draws_and_exports_what_serves_the_same(trained, tmp_path):
    model = f"--model_dir={trained[0]}"
    status, out, err = execute(
        model, "--predict=I love this", f"--plot={tmp_path / 'p.png'}",
        f"--export={tmp_path / 'm.seq'}",
    )  # fmt: skip
    assert (status, err) == (0, "")
    named, best, *lines = out.splitlines()
    assert named == f"model: {trained[0] / 'models/gru-0'}"
    shown = dict(line.split() for line in lines[:2])
    assert sum(map(float, shown.values())) == pytest.approx(1, abs=0.002)
    assert best == max(shown, key=lambda name: float(shown[name]))
    assert (tmp_path / "p.png").stat().st_size > 5_000
    served = serving.load(tmp_path / "m.seq")
    assert served.about["classes"] == ["0", "1"]
    assert "tokenizer.json" in served.texts
    width = int(served.inputs[0][1].split(",")[2])
    probabilities = served(np.zeros((5, 3, width), np.int32), np.array([5, 0, 2], np.int32))
    np.testing.assert_allclose(np.sum(probabilities, axis=1), 1, rtol=1e-5)


def test_served_probabilities_are_those_that_are_predicted(predictor, tmp_path, capsys):
    sentiment_use.export(predictor, tmp_path / "m.seq")
    rows = [sentiment_model.encode(predictor, text)[1] for text in ("love film", "an awful film")]
    features = np.zeros((3, 2, predictor.features.width), np.int32)
    for number, row in enumerate(rows):
        features[: len(row), number] = row
    got = serving.load(tmp_path / "m.seq")(features, np.array([2, 3], np.int32))
    np.testing.assert_allclose(got, sentiment_model.predict(predictor, rows), rtol=1e-5)
    assert "exported: " in capsys.readouterr().out


def test_predict_reads_standard_input(trained, monkeypatch):
    model = f"--model_dir={trained[0]}"

    def reading(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        return execute(model, "--predict=-")

    assert reading(b"I love this\n") == execute(model, "--predict=I love this")
    status, out, err = reading(b"\xff\xfe")
    assert (status, out) == (1, "")
    assert err.startswith("sentiment: error: predict: got bytes that are not UTF-8")


@pytest.fixture(scope="module")
def predictor(trained):
    return sentiment_model.restore(model_files.load(trained[0] / "models/gru-0", "sentiment"))


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
    with pytest.raises(UserError, match=message):
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


OF_CONFIG = {
    "csv without file": ({"data": "csv"}, "csv: got None with data csv, expected both data csv"),
    "rating": ({"data": "imdb", "target": "rating"}, "target: got rating with imdb"),
    "near": ({"data": "tweet"}, "did you mean tweets?"),
    "ngrams": ({"ngrams": (2, 3, 4)}, "ngrams: got 2,3,4, expected one or two sizes such as 3,4"),
    "ngram": ({"ngrams": (0, 3)}, "ngrams: got 0, expected at least 1"),
    "dropout": ({"dropout": 1.0}, "dropout: got 1.0, expected at least 0 and at most 0.99"),
    "hidden": ({"hidden": 0}, "hidden: got 0, expected at least 1 and at most 65,536"),
    "no model": ({"models": ()}, "models: got nothing, expected one or more of bag, rnn"),
    "rate": ({"learning_rate": "gru:1", "models": ("rnn",)}, "expected a value for rnn"),
    "seed": ({"split_seed": -1}, "split_seed: got -1, expected at least 0"),
    "empty": ({"vectors_from": " "}, "vectors_from: got ' ', expected a name"),
    "batch": ({"batch": 0}, "batch: got 0, expected at least 1"),
}


@pytest.mark.parametrize("case", OF_CONFIG)
def test_a_configuration_and_a_flag_give_the_same_line(case, tmp_path):
    values, text = OF_CONFIG[case]
    with pytest.raises(ValueError) as made:  # noqa: PT011
        Config().replace(**values)
    assert text in str(made.value)
    line = f"sentiment: error: {made.value}\n"
    assert execute(*flags_of(values), f"--run_dir={tmp_path / 'run'}") == (2, "", line)
    assert not (tmp_path / "run").exists()


def test_a_csv_file_without_its_data_option():
    with pytest.raises(ValueError, match="with data tweets, expected both data csv and a csv file"):
        Config(csv="own.csv")
    assert execute("--csv=own.csv")[0] == 2


def test_a_picture_of_nothing():
    with pytest.raises(ValueError, match="plot: got it without predict, expected both"):
        Actions(plot="p.png")
    assert execute("--plot=p.png") == (
        2, "", "sentiment: error: plot: got it without predict, expected both\n"
    )  # fmt: skip


MISTAKES = {
    "no file": (["--data=csv", "--csv=none.csv"], "expected a file that exists"),
    "column": (["--data=csv", "--csv=own.csv"], "text_column: got 'text', expected one of the col"),
    "no run": (["--predict=x", "--model_dir=."], "expected the folder of a run"),
    "vectors": (
        [*flags_of(OPTIONS | {"vectors_from": "imbd"})],
        "vectors_from: got 'imbd', expected none, tweets, rotten_tomatoes, imdb, csv, or a",
    ),
    "few vectors": (
        [*flags_of(OPTIONS | {"vectors_from": "one.txt", "buckets": 0, "embedding": 400})],
        "vectors_from: ",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(texts, monkeypatch, tmp_path, mistake):
    monkeypatch.chdir(texts)
    (texts / "one.txt").write_text("love\n", encoding="utf-8")
    arguments, message = MISTAKES[mistake]
    status, out, err = execute(*arguments, f"--run_dir={tmp_path / 'run'}")
    assert (status, out) == (1, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_rating_of_ones_own(config, tmp_path, capsys):
    """Ratings are the number of a word; the mean rating explains nothing of them."""
    rows = [
        f"{'love ' * (n % 5)}{'abcdefgh'[n % 8]}{'klmnopqrstu'[n % 11]},{n % 5}" for n in range(80)
    ]
    (tmp_path / "own.csv").write_text("\n".join(["say,mood", *rows]) + "\n")
    rating = config.replace(
        csv=tmp_path / "own.csv", target="rating", models=("bilstm",), baselines=("words",)
    )
    found = run(rating, tmp_path / "run")
    assert found["baselines"][0]["model"] == "mean rating"
    assert found["results"][0]["rmse"] < found["baselines"][0]["rmse"]
    (again,) = evaluate(tmp_path / "run")
    assert again["rmse"] == pytest.approx(found["results"][0]["rmse"])
    status, out, err = execute("--predict=love love", f"--model_dir={tmp_path / 'run'}")
    assert (status, err) == (0, "")
    assert out.splitlines()[1].startswith("rating ")
    assert "RMSE" in capsys.readouterr().out


def test_a_reader_that_has_gone_is_no_error(trained):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "experiments.sentiment", "--predict=fine", "--model_dir=run"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command,
        cwd=trained[0].parent,
        env=environment,
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=240,
    )
    os.close(write)
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr == b""


def test_vectors_from_own_texts(config, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "raw.txt"
    raw.write_text("a lovely film\nan awful film\n" * 20, encoding="utf-8")
    config = config.replace(
        models=("bag", "rnn"),
        steps=4,
        baselines=("words",),
        buckets=0,
        embedding=3,
        vectors_from="raw.txt",
        watch=("gates",),
    )
    run(config, tmp_path / "run")
    for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        assert ("gates/h_saturated" in record) == (record["model"] == "rnn")  # a bag has no cell
    assert " bag " in capsys.readouterr().out
    model = tmp_path / "run/models/rnn-0"
    status, out, err = execute(f"--model_dir={model}", "--predict=an awful film")
    assert (status, err) == (0, "")
    assert out.splitlines()[1] in ("0", "1")  # awful is known from the raw texts alone
    raw.write_text("something else", encoding="utf-8")
    with pytest.raises(UserError, match="vectors_from"):
        run(config, tmp_path / "run")


def test_two_processes_read_the_rows_of_one(config):
    """In every dispatch, each of one step, of the first epoch and of the next."""
    config = config.replace(models=("gru", "bilstm"))
    found = trainings(config, sentiment_data.load(config))
    assert [training.name for training in found] == ["gru", "bilstm"]
    for training in found:
        assert training.fit.steps_per_dispatch == 1
        for seed in (0, 3):
            whole, first, second = (
                training.batches(seed, *place) for place in ((0, 1), (0, 2), (1, 2))
            )
            assert whole.per_epoch > 5
            for cursor in range(2 * whole.per_epoch):
                parts = [batches.at(cursor) for batches in (first, second)]
                for axis, want, *got in zip(
                    whole.batch_axes, whole.at(cursor), *parts, strict=True
                ):
                    assert [array.shape[axis] for array in got] == [8, 8]
                    np.testing.assert_array_equal(np.concatenate(got, axis), want)


@pytest.mark.slow
def test_two_processes_train_as_one_does(config, texts, tmp_path):
    """The parameters differ by the order of float32 sums alone."""
    options = OPTIONS | {"models": ("gru",), "steps": 6, "eval_every": 6, "baselines": ("words",)}
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "experiments.sentiment", *flags_of(options)]
    hosts = [f"--coordinator_address=127.0.0.1:{port}", "--num_processes=2"]
    environment = quick_programs.environment() | {"PYTHONPATH": str(ROOT)}
    both = [
        subprocess.Popen(
            [*command, *hosts, f"--process_id={number}", f"--run_dir={tmp_path / 'two'}"],
            cwd=texts, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for number in range(2)
    ]  # fmt: skip
    for number, process in enumerate(both):
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        assert bool(out) is (number == 0)  # one of them speaks
    changed = {name: options[name] for name in ("models", "steps", "eval_every", "baselines")}
    found = run(config.replace(**changed), tmp_path / "one")
    models = [
        sentiment_model.restore(
            model_files.load(tmp_path / name / "models/gru-0", "sentiment")
        ).params
        for name in ("two", "one")
    ]
    jax.tree.map(
        lambda two, one: np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-5), *models
    )
    (two,), (one,) = results(tmp_path / "two")["results"], found["results"]
    assert two["predicted"] == one["predicted"]
    assert {name: two[name] for name in ("parameters", "steps", "best_step")} == {
        name: one[name] for name in ("parameters", "steps", "best_step")
    }
    assert results(tmp_path / "two")["devices"].startswith("2 x")
