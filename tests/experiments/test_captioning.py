"""Captioning: a table, a sheet of pictures, the user's own picture, and a file to serve."""

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

from experiments.captioning import Config, evaluate, run
from experiments.captioning import data as captioning_data
from experiments.captioning.__main__ import EXPERIMENT
from experiments.captioning.baselines import nearest, scores
from experiments.captioning.config import DecodingConfig
from experiments.captioning.model import make_decoder, restore
from experiments.captioning.study import trainings
from experiments.common import app
from experiments.common.identity import identity
from experiments.common.sections import SavingConfig, TrainingConfig
from seqmodels import model_files, serving
from seqmodels.data import vocabulary
from seqmodels.data.captions import CaptionedImages

TINY = Config(
    hidden=8,
    features=8,
    embedding=4,
    channels=(2, 2),
    decoding=DecodingConfig(decode="beam", beam=3),
    training=TrainingConfig(
        seeds=1, steps=4, eval_every=2, batch=8, learning_rate="0.002", devices="1"
    ),
    saving=SavingConfig(tensorboard=False),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder, results, standard output) of a run in folder/run; folder/mine.png is a picture."""
    folder = tmp_path_factory.mktemp("captioning")
    Image.new("RGBA", (50, 20), (0, 0, 0, 0)).save(folder / "mine.png")
    (folder / "words.png").write_text("words")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        results = run(TINY, folder / "run")
    return folder, results, out.getvalue()


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory):
    """A folder of twelve different pictures in two colors, and captions.csv."""
    folder = tmp_path_factory.mktemp("own")
    rows = ["file,caption"]
    for number in range(12):
        color = ("red", "blue")[number % 2]
        image = Image.new("RGB", (9, 9), color)
        image.putpixel((0, 0), (number, number, number))
        image.save(folder / f"{number}.png")
        rows.append(f"{number}.png,all {color}")
    (folder / "captions.csv").write_text("\n".join(rows))
    return folder


def of_folder(folder):
    values = {"images_dir": folder, "captions_file": folder / "captions.csv"}
    return TINY.replace(data="folder", **values)


def execute(folder, *arguments):
    return app.execute(EXPERIMENT, [f"--model_dir={folder}", *arguments])


def test_a_run_leaves_a_table_and_a_sheet(trained):
    folder, results, table = trained
    assert "nearest picture" in table
    assert json.loads((folder / "run/results.json").read_text()) == results
    (record,) = results["results"]
    for name in ("unseen", "seen"):
        assert 0 <= record[f"{name}_exact"] <= 1
    frequent, nearest_picture = results["baselines"]
    assert frequent["unseen_exact"] < nearest_picture["seen_exact"] < 1
    assert nearest_picture["unseen_exact"] == 0
    with Image.open(folder / "run/contact_sheet.png") as sheet:
        assert len(np.unique(np.asarray(sheet.convert("RGB")).reshape(-1, 3), axis=0)) > 50
    assert (folder / "run/models/lstm-0/vocabulary.json").exists()


@pytest.mark.parametrize("how", ["greedy", "sample", "beam"])
def test_a_users_own_picture(trained, capsys, how):
    folder, _, _ = trained
    mine, plot = folder / "mine.png", folder / f"{how}.png"
    use = [f"--predict={mine}", f"--plot={plot}", f"--decode={how}", "--beam=3"]
    assert execute(folder / "run", *use) == 0
    named, first, *others, last = capsys.readouterr().out.splitlines()
    assert named == f"model: {folder / 'run/models/lstm-0'}"
    assert first.startswith(f"{mine}: ")
    assert "(probability 0." in first
    assert len(others) >= 2
    chances = [float(line.split()[0]) for line in others]
    assert chances == sorted(chances, reverse=True)
    assert last == f"plot: {plot}"
    assert plot.stat().st_size > 5_000


def test_models_are_evaluated_again(trained, capsys):
    folder, results, _ = trained
    (record,) = results["results"]
    (as_trained,) = evaluate(folder / "run")
    for name, value in as_trained.items():
        assert value == pytest.approx(record[name])
    shown = capsys.readouterr().out
    assert shown.startswith(f"run: {folder / 'run'}\nlstm, seed 0, beam: ")
    assert f"unseen_exact {record['unseen_exact']:.4g}" in shown
    assert f"unseen_chrf {record['unseen_chrf']:.4g}" in shown
    assert execute(folder / "run", "--evaluate", "--decode=beam", "--beam=3") == 0
    assert capsys.readouterr().out == shown


def test_evaluate_decodes_as_the_command_says(trained, capsys):
    folder, results, _ = trained
    (record,) = results["results"]
    (greedy,) = evaluate(folder / "run", Config())
    (beam_of_one,) = evaluate(folder / "run", TINY.replace(beam=1))
    assert beam_of_one == greedy
    assert greedy["unseen_chrf"] != record["unseen_chrf"]
    assert capsys.readouterr().out.count("seed 0, greedy: ") == 1


@pytest.mark.parametrize("how", ["greedy", "sample", "beam"])
def test_what_is_exported_decodes_as_the_model(trained, how):
    folder, _, _ = trained
    file = folder / f"{how}.seq"
    assert execute(folder / "run", f"--export={file}", f"--decode={how}", "--beam=3") == 0
    served = serving.load(file)
    model = restore(model_files.load(folder / "run/models/lstm-0", "captioning"))
    decode = make_decoder(model.model, model.config.steps, DecodingConfig(decode=how, beam=3))
    images = np.random.default_rng(0).integers(0, 256, (3, *model.config.image_shape), np.uint8)
    seeds = [np.uint32(5)] if how == "sample" else []
    found = served(images, *seeds)
    expected = decode(model.params, images, jax.random.key(5))
    np.testing.assert_array_equal(found["tokens"], expected.tokens)
    np.testing.assert_allclose(found["scores"], expected.scores, rtol=1e-5)
    words = vocabulary.from_str(served.texts["vocabulary.json"])
    assert words.words == model.vocabulary.words


def test_a_users_own_folder(own_folder, tmp_path, capsys):
    run(of_folder(own_folder), tmp_path / "own")
    assert execute(tmp_path / "own", f"--predict={own_folder / '3.png'}") == 0
    assert f"{own_folder / '3.png'}: " in capsys.readouterr().out


def test_pictures_that_are_named_decide_the_run(own_folder, tmp_path):
    for file in own_folder.glob("*.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = of_folder(tmp_path)
    before = identity(config)
    assert before["captions_file_sha256"]
    (tmp_path / "not named.png").write_bytes(b"")
    assert identity(config) == before
    Image.new("RGB", (9, 9), "green").save(tmp_path / "5.png")
    after = identity(config)
    assert {name for name in after if after[name] != before[name]} == {"images_sha256"}


@pytest.mark.parametrize("kind", ["digits", "folder"])
def test_processes_share_the_rows(own_folder, kind):
    config = TINY.replace(cells=("rnn",)) if kind == "digits" else of_folder(own_folder)
    (training,) = trainings(config, captioning_data.load(config))
    per_epoch = training.batches(0, 0, 1).per_epoch
    assert_shares_make_the_whole(functools.partial(training.batches, 3), range(per_epoch))


@pytest.mark.slow
def test_the_command_trains_and_predicts(own_folder):
    start = starter("experiments.captioning")
    done = start(
        own_folder, "--data=folder", "--images_dir=.", "--captions_file=captions.csv", "--steps=2",
        "--eval_every=2", "--seeds=1", "--devices=1", "--hidden=4", "--channels=2", "--batch=8",
        "--features=4", "--embedding=4", "--run_dir=run",
    )  # fmt: skip
    assert (done.returncode, " lstm " in done.stdout) == (0, True), done.stderr
    done = start(own_folder, "--predict=3.png", "--model_dir=run")
    assert (done.returncode, done.stderr) == (0, "")
    named, caption = done.stdout.splitlines()[:2]
    assert named.startswith("model: ")
    assert caption.startswith(f"{own_folder / '3.png'}: ")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--data=folder"], 2, "images_dir: got nothing with data folder, expected a path"),
        (["--data=folder", "--images_dir=."], 2, "captions_file: got nothing with data folder"),
        (["--images_dir=pictures"], 2, "with data digits, expected data folder"),
        (["--data=folder", "--images_dir=.", "--captions_file=x.csv"], 1, "captions_file: "),
        (["--data=words"], 2, "expected one of digits, emoji, folder"),
        (["--data=emoji", "--pictures=4"], 1, "pictures: got 4, expected 2 or 3"),
        (["--decode=beem"], 2, "did you mean beam?"),
        (["--temperature=0"], 2, "temperature: got 0.0, expected above 0"),
        (["--channels=0"], 2, "channels: got 0, expected at least 1"),
        (["--patch=3"], 1, "patch: got 3, expected a divisor of 8"),
        (["--plot=x.png"], 2, "plot: got it without predict, expected both"),
        (["--predict=mine.png", "--model_dir=."], 1, "expected the folder of a run"),
        (["--predict=mine.png"], 1, "model_dir: got nothing"),
        (["--predict=words.png", "--model_dir=run"], 1, "is no image that can be read"),
    ],
)
def test_mistakes_are_one_line(trained, monkeypatch, capsys, arguments, status, message):
    monkeypatch.chdir(trained[0])
    assert app.execute(EXPERIMENT, ["--devices=1", "--run_dir=other", *arguments]) == status
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert shown.startswith("captioning: error: ")
    assert message in shown


def test_scores_by_hand():
    found = scores(["one two", "two two"], ["one two", "two one"])
    assert found["exact"] == 0.5
    # Of four words three are right (one "two" too many), of two pairs of words one.
    assert found["bleu"] == pytest.approx(100 * (3 / 4 * 1 / 2) ** 0.5)
    assert scores(["a b"], ["a b"]) == pytest.approx({"exact": 1, "chrf": 100, "bleu": 100})


def test_the_nearest_picture():
    images = np.array([0, 100, 200], np.uint8).reshape(3, 1, 1, 1)
    train = CaptionedImages(images, ("black", "gray", "white"))
    asked = np.array([49, 51, 255], np.uint8).reshape(3, 1, 1, 1)
    assert nearest(train, asked) == ["black", "gray", "white"]


def test_tested_pictures_were_not_searched_nor_trained_on():
    data = captioning_data.scenes("emoji", "en", 2)
    known = {image.tobytes() for image in data.train.images}
    for test in (data.validation, *data.tests.values()):
        assert not known & {image.tobytes() for image in test.images}
    unseen = set(data.tests["unseen"].captions)
    assert not unseen & (set(data.train.captions) | set(data.validation.captions))
    assert len(unseen) > 900
