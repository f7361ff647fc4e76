"""Captioning from the command line: a table, a sheet of pictures, and one's own picture."""

import json

import numpy as np
import pytest
from PIL import Image
from programs import starter

from experiments.captioning import data as captioning_data
from experiments.captioning import report as captioning_report
from seqmodels.data.captions import CaptionedImages

start = starter("experiments.captioning")
QUICK = ("--steps=4", "--eval_every=2", "--batch=8", "--seeds=1", "--devices=1", "--hidden=8",
         "--features=8", "--embedding=4", "--channels=2,2")  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioning")
    done = start(folder, *QUICK, "--decode=beam", "--beam=3", "--run_dir=run")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_a_run_leaves_a_table_and_a_sheet(run):
    folder, told = run
    assert "nearest picture" in told
    results = json.loads((folder / "run" / "results.json").read_text())
    (record,) = results["results"]
    for name in ("unseen", "seen"):
        assert 0 <= record[f"{name}_exact"] <= 1
    frequent, nearest = results["baselines"]
    assert frequent["unseen_exact"] < nearest["seen_exact"] < 1
    assert nearest["unseen_exact"] == 0
    with Image.open(folder / "run" / "contact_sheet.png") as sheet:
        assert len(np.unique(np.asarray(sheet.convert("RGB")).reshape(-1, 3), axis=0)) > 50
    model = folder / "run" / "models" / "lstm-0"
    assert (model / "vocabulary.json").exists()


def test_ones_own_picture(run):
    folder, _ = run
    Image.new("RGBA", (50, 20), (0, 0, 0, 0)).save(folder / "mine.png")
    for how in ("greedy", "sample", "beam"):
        done = start(folder, "--predict=mine.png", "--model_dir=run", f"--decode={how}", "--beam=3")
        assert done.returncode == 0, done.stderr
        first, *others = done.stdout.splitlines()
        assert first.startswith("mine.png: ")
        assert "(probability 0." in first
        assert len(others) >= 2
        chances = [float(line.split()[0]) for line in others]
        assert chances == sorted(chances, reverse=True)


def test_models_are_evaluated_again(run):
    folder, _ = run
    record = json.loads((folder / "run" / "results.json").read_text())["results"][0]
    done = start(folder, "--evaluate", "--model_dir=run", "--decode=beam", "--beam=3")
    assert done.returncode == 0, done.stderr
    assert f"unseen_exact {record['unseen_exact']:.4g}" in done.stdout
    assert f"unseen_chrf {record['unseen_chrf']:.4g}" in done.stdout


def test_ones_own_folder(tmp_path):
    rows = ["file,caption"]
    for number in range(12):
        colour = ("red", "blue")[number % 2]
        Image.new("RGB", (9, 9), colour).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,all {colour}")
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    done = start(tmp_path, *QUICK, "--data=folder", "--images_dir=.",
                 "--captions_file=captions.csv", "--run_dir=own")  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = start(tmp_path, "--predict=3.png", "--model_dir=own")
    assert done.stdout.startswith("3.png: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data=folder"], "images_dir: got nothing, expected with --data=folder"),
        (["--data=words"], "expected one of digits, emoji, folder"),
        (["--data=emoji", "--pictures=4"], "pictures: got 4, expected 2 or 3"),
        (["--decode=beem"], "did you mean beam?"),
        (["--predict=none.png"], "model_dir: got nothing"),
    ],
)
def test_mistakes_get_one_line(tmp_path, arguments, message):
    done = start(tmp_path, *arguments)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_picture_that_is_none(run):
    folder, _ = run
    (folder / "words.png").write_text("words")
    done = start(folder, "--predict=words.png", "--model_dir=run")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "is no image that can be read" in done.stderr


def test_scores_by_hand():
    found = captioning_report.scores(["one two", "two two"], ["one two", "two one"])
    assert found["exact"] == 0.5
    # Of four words three are right (one "two" too many), of two pairs of words one.
    assert found["bleu"] == pytest.approx(100 * (3 / 4 * 1 / 2) ** 0.5)
    assert captioning_report.scores(["a b"], ["a b"]) == pytest.approx(
        {"exact": 1, "chrf": 100, "bleu": 100}
    )


def test_the_nearest_picture():
    images = np.array([0, 100, 200], np.uint8).reshape(3, 1, 1, 1)
    train = CaptionedImages(images, ("black", "grey", "white"))
    asked = np.array([49, 51, 255], np.uint8).reshape(3, 1, 1, 1)
    assert captioning_report.nearest(train, asked) == ["black", "grey", "white"]


def test_what_is_tested_was_not_searched_nor_trained_on():
    data = captioning_data.scenes("emoji", "en", 2)
    known = {image.tobytes() for image in data.train.images}
    for test in (data.validation, *data.tests.values()):
        assert not known & {image.tobytes() for image in test.images}
    unseen = set(data.tests["unseen"].captions)
    assert not unseen & (set(data.train.captions) | set(data.validation.captions))
    assert len(unseen) > 900
