"""Image classification: train, evaluate, predict, draw, export, and one line for a mistake."""

import contextlib
import functools
import io
import json

import jax
import numpy as np
import pytest
from batch_checks import assert_shares_make_the_whole
from PIL import Image
from programs import starter

from experiments.common import app
from experiments.common.sections import SavingConfig, TrainingConfig
from experiments.image_classification import Config, evaluate, run
from experiments.image_classification.__main__ import EXPERIMENT
from experiments.image_classification.baselines import scores
from experiments.image_classification.data import load
from experiments.image_classification.model import ModelConfig, build
from experiments.image_classification.study import trainings
from seqmodels import serving
from seqmodels.analysis.classification import confusion_matrix
from seqmodels.data import image_files
from seqmodels.datasets import digit_images
from seqmodels.datasets.digit_images import Images

TINY = Config(
    models=("cnn", "rnn"),
    hidden=16,
    channels=(4,),
    training=TrainingConfig(
        seeds=2,
        steps=20,
        eval_every=10,
        batch=32,
        learning_rate="0.002",
        devices="2",
        watch=("gates",),
    ),
    saving=SavingConfig(tensorboard=False),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder, results, standard output) of a run in folder/run; folder/mine.jpg is a digit."""
    folder = tmp_path_factory.mktemp("trained")
    images = digit_images.load("digits")["test"].images
    picture = Image.fromarray((255 - 255 * images[0, :, :, 0]).astype(np.uint8))
    picture.resize((80, 80), Image.Resampling.NEAREST).convert("RGB").save(folder / "mine.jpg")
    (folder / "text.png").write_text("hello")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        results = run(TINY, folder / "run")
    return folder, results, out.getvalue()


def execute(folder, *arguments):
    return app.execute(EXPERIMENT, [f"--model_dir={folder}", *arguments])


def test_a_run_leaves_a_table_pictures_and_models(trained):
    folder, results, table = trained
    assert results["complete"]
    assert json.loads((folder / "run/results.json").read_text()) == results
    assert [(one["model"], one["seed"]) for one in results["results"]] == [
        ("cnn", 0),
        ("cnn", 1),
        ("rnn-rows", 0),
        ("rnn-rows", 1),
    ]
    lines = map(json.loads, (folder / "run/metrics.jsonl").read_text().splitlines())
    assert all(("gates/h_saturated" in line) == (line["model"] != "cnn") for line in lines)
    for one in results["results"]:
        counts = np.array(one["confusion"])
        assert counts.sum() == 360
        assert np.trace(counts) / 360 == pytest.approx(one["test_accuracy"])
    baselines = {one["model"]: one["test_accuracy"] for one in results["baselines"]}
    assert min(baselines.values()) > 0.95
    for name in (*baselines, "cnn", "rnn-rows"):
        assert name in table
    for name in ("confusion.png", "test_images.png"):
        with Image.open(folder / "run" / name) as picture:
            assert min(picture.size) > 300


def test_evaluate_finds_what_was_measured(trained, capsys):
    folder, results, _ = trained
    records = evaluate(folder / "run")
    named, *lines = capsys.readouterr().out.splitlines()
    assert named == f"run: {folder / 'run'}"
    assert execute(folder / "run", "--evaluate") == 0
    assert capsys.readouterr().out.splitlines() == [named, *lines]
    assert len(lines) == 6
    for line, found, one in zip(lines, records, results["results"], strict=False):
        for name in ("model", "seed", "test_accuracy", "test_loss"):
            assert found[name] == pytest.approx(one[name], abs=1e-6), name
        assert line.startswith(f"{one['model']}, seed {one['seed']}: ")
        assert f" {100 * one['test_accuracy']:.1f}% of 360 test images" in line


def test_predict_and_draw_a_users_image(trained, capsys):
    folder, _, _ = trained
    mine, plot = folder / "mine.jpg", folder / "bars.png"
    assert execute(folder / "run/models/cnn-1", f"--predict={mine}", f"--plot={plot}") == 0
    named, first, *lines = capsys.readouterr().out.splitlines()
    assert named == f"model: {folder / 'run/models/cnn-1'}"
    probabilities = [float(line.split()[1]) for line in lines[:10]]
    assert sum(probabilities) == pytest.approx(1, abs=1e-3)
    assert first == f"{mine}: {np.argmax(probabilities)} (by cnn, trained on digits)"
    assert lines[10:] == [f"plot: {plot}"]
    assert plot.stat().st_size > 5_000


@pytest.mark.parametrize("name", ["cnn-0", "rnn-rows-1"])
def test_what_is_exported_gives_the_probabilities_of_predict(trained, capsys, name):
    folder, _, _ = trained
    mine, file = folder / "mine.jpg", folder / f"{name}.seq"
    assert execute(folder / "run/models" / name, f"--predict={mine}", f"--export={file}") == 0
    shown = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines()[2:12]]
    served = serving.load(file)
    assert served.inputs == (("images", "B, 8, 8, 1", "float32"),)
    image = image_files.read_digit(mine, 8, served.about["box"])
    for count in (1, 3):
        found = np.asarray(served(np.repeat(image[None], count, axis=0)))
        np.testing.assert_allclose(found, [shown] * count, atol=6e-5)
    assert served.about["classes"] == list("0123456789")


def test_processes_share_the_rows():
    config = TINY.replace(batch=64, reading=("rows", "pixels"))
    found = trainings(config, load(config))
    assert [one.name for one in found] == ["cnn", "rnn-rows", "rnn-pixels"]
    per_epoch = found[0].batches(0, 0, 1).per_epoch
    assert per_epoch == 1257 // 64
    for one in found:
        assert_shares_make_the_whole(functools.partial(one.batches, 3), range(per_epoch))


def test_the_command_trains_and_predicts(trained, tmp_path):
    folder, _, _ = trained
    start = starter("experiments.image_classification")
    done = start(
        tmp_path, "--models=cnn", "--channels=2", "--hidden=4", "--steps=2", "--eval_every=2",
        "--seeds=1", "--devices=1", "--run_dir=run",
    )  # fmt: skip
    assert (done.returncode, " cnn " in done.stdout) == (0, True), done.stderr
    done = start(tmp_path, f"--predict={folder / 'mine.jpg'}", "--model_dir=run")
    assert (done.returncode, done.stderr) == (0, "")
    assert "(by cnn, trained on digits)" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--data=mnis"], 2, "did you mean mnist?"),
        (["--models=cnn,lstn"], 2, "did you mean lstm?"),
        (["--reading=columns"], 2, "expected one of rows, pixels"),
        (["--channels=0"], 2, "channels: got 0, expected at least 1"),
        (["--channels=a"], 2, "channels: got 'a', expected whole numbers"),
        (["--pooling=max"], 2, "expected one of last, mean"),
        (["--learning_rate=cnn:1e-3"], 2, "learning_rate: got cnn, expected a value for rnn"),
        (["--plot=bars.png"], 2, "plot: got it without predict, expected both"),
        (["--channels=4,4,4,4"], 1, "image_shape: got 8x8, expected at least 16x16"),
        (["--batch=2000"], 1, "batch_size: got 2000, expected at most the 1257 rows"),
        (["--predict=text.png"], 1, "text.png: is no image that can be read"),
        (
            ["--predict=mine.jpg", "--plot=none/x.png"],
            1,
            "none/x.png cannot be written: No such file",
        ),
        (["--export=none/x.seq"], 1, "none/x.seq cannot be written: No such file"),
    ],
)
def test_mistakes_are_one_line(trained, monkeypatch, capsys, arguments, status, message):
    monkeypatch.chdir(trained[0])
    usual = ["--models=cnn,rnn", "--devices=1", "--run_dir=other", "--model_dir=run"]
    assert app.execute(EXPERIMENT, [*usual, *arguments]) == status
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert shown.startswith("image_classification: error: ")
    assert message in shown


def test_a_model_of_another_experiment(trained, tmp_path, capsys):
    model = trained[0] / "run/models/cnn-0/model.json"
    (tmp_path / "model.json").write_text(
        model.read_text().replace("image_classification", "captioning")
    )
    assert execute(tmp_path, "--predict=mine.jpg") == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "is of kind captioning, expected image_classification" in shown


def test_scores_by_hand():
    images = Images(np.zeros((3, 1, 1, 1), np.float32), np.array([0, 1, 1], np.int32))
    found = np.array([[0.5, 0.5], [0.75, 0.25], [0.0, 1.0]], np.float32)
    got = scores(found, images)
    assert got["accuracy"] == pytest.approx(2 / 3)
    assert got["loss"] == pytest.approx((np.log(2) + np.log(4)) / 3)
    counts = confusion_matrix(images.labels, np.array([0, 0, 1]), 10)
    assert counts[:2, :2].tolist() == [[1, 0], [1, 1]]
    assert counts.sum() == 3


def test_the_cnn_and_the_readers_see_the_same_images():
    common = {"data": "digits", "hidden": 4, "channels": (2,), "pooling": "mean", "dropout": 0.5}
    for model, reading in [("cnn", ""), ("gru", "rows"), ("lstm", "pixels")]:
        config = ModelConfig(model=model, reading=reading, **common)
        classifier = build(config)
        params = classifier.init(jax.random.key(0))
        logits = classifier.apply(params, np.zeros((3, 8, 8, 1), np.float32))
        assert logits.shape == (3, 10)
        assert config.name == ("cnn" if model == "cnn" else f"{model}-{reading}")
