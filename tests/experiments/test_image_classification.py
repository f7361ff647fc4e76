"""Image classification as a user runs it: train, evaluate, predict, and one line for mistakes."""

import json

import jax
import numpy as np
import pytest
from PIL import Image
from programs import starter

from experiments.image_classification.model import Config, build
from experiments.image_classification.training import scores
from seqmodels.analysis.classification import confusion_matrix
from seqmodels.datasets import digit_images
from seqmodels.datasets.digit_images import Images

TINY = [
    "--models=cnn,rnn",
    "--seeds=2",
    "--hidden=16",
    "--channels=4",
    "--steps=20",
    "--eval_every=10",
    "--batch=32",
    "--devices=2",
    "--tensorboard=false",
]


def run(folder, *arguments, status=0):
    done = starter("experiments.image_classification")(folder, *arguments)
    assert done.returncode == status, done.stderr
    return done


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return folder, run(folder, *TINY, "--run_dir=run")


def test_a_run_leaves_a_table_pictures_and_models(trained):
    folder, done = trained
    results = json.loads((folder / "run/results.json").read_text())
    assert results["complete"]
    assert [(one["model"], one["seed"]) for one in results["results"]] == [
        ("cnn", 0),
        ("cnn", 1),
        ("rnn-rows", 0),
        ("rnn-rows", 1),
    ]
    for one in results["results"]:
        counts = np.array(one["confusion"])
        assert counts.sum() == 360
        assert np.trace(counts) / 360 == pytest.approx(one["test_accuracy"])
    baselines = {one["model"]: one["test_accuracy"] for one in results["baselines"]}
    assert min(baselines.values()) > 0.95
    for name in (*baselines, "cnn", "rnn-rows"):
        assert name in done.stdout
    for name in ("confusion.png", "test_images.png"):
        with Image.open(folder / "run" / name) as picture:
            assert min(picture.size) > 300


def test_evaluate_finds_what_was_measured(trained):
    folder, _ = trained
    lines = run(folder, "--evaluate", "--model_dir=run").stdout.splitlines()
    results = json.loads((folder / "run/results.json").read_text())["results"]
    assert len(lines) == 6
    for line, one in zip(lines, results, strict=False):
        assert line.startswith(f"{one['model']}, seed {one['seed']}: ")
        assert f" {100 * one['test_accuracy']:.1f} % of 360 test images" in line


def test_predict_a_users_image(trained):
    folder, _ = trained
    images = digit_images.load("digits")["test"].images
    picture = Image.fromarray((255 - 255 * images[0, :, :, 0]).astype(np.uint8))
    picture.resize((80, 80), Image.Resampling.NEAREST).convert("RGB").save(folder / "mine.jpg")
    lines = run(folder, "--predict=mine.jpg", "--model_dir=run/models/cnn-1").stdout.splitlines()
    probabilities = [float(line.split()[1]) for line in lines[1:]]
    assert len(probabilities) == 10
    assert sum(probabilities) == pytest.approx(1, abs=1e-3)
    assert lines[0] == f"mine.jpg: {np.argmax(probabilities)} (by cnn, trained on digits)"
    (folder / "text.png").write_text("hello")
    wrong = run(folder, "--predict=text.png", "--model_dir=run", status=1)
    assert wrong.stderr == (
        "image_classification: error: image: text.png: is no image that can be read\n"
    )


def test_a_model_of_another_task(trained, tmp_path):
    folder, _ = trained
    model = folder / "run/models/cnn-0/model.json"
    (tmp_path / "model.json").write_text(
        model.read_text().replace("image_classification", "captioning")
    )
    wrong = run(folder, "--predict=mine.jpg", f"--model_dir={tmp_path}", status=1)
    assert wrong.stderr.count("\n") == 1
    assert "is of kind captioning, expected image_classification" in wrong.stderr


@pytest.mark.parametrize(
    ("argument", "status", "message"),
    [
        ("--data=mnis", 2, "did you mean mnist?"),
        ("--models=cnn,lstn", 2, "did you mean lstm?"),
        ("--reading=columns", 2, "expected one of rows, pixels"),
        ("--channels=0", 2, "expected numbers of feature maps such as 16,32"),
        ("--pooling=max", 2, "expected one of last, mean"),
        ("--learning_rate=cnn:1e-3", 1, "learning_rate: got for cnn, expected for rnn too"),
        ("--channels=4,4,4,4", 1, "image_shape: got 8x8, expected at least 16x16"),
        ("--batch=2000", 1, "batch_size: got 2000, expected at most the 1257 rows"),
    ],
)
def test_mistakes(argument, status, message, tmp_path):
    done = run(tmp_path, *TINY, argument, status=status)
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("image_classification: error: ")
    assert message in done.stderr


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
        config = Config(model=model, reading=reading, **common)
        classifier = build(config)
        params = classifier.init(jax.random.key(0))
        logits = classifier.apply(params, np.zeros((3, 8, 8, 1), np.float32))
        assert logits.shape == (3, 10)
        assert config.name == ("cnn" if model == "cnn" else f"{model}-{reading}")
