"""One to many: what is in the picture? A CNN whose features start a recurrent decoder of words.

Scenes are held out by what is in them: the pairs (or triples) of pictures that are tested were
never seen together in training, in whatever order.

python -m experiments.captioning
python -m experiments.captioning --flagfile=experiments/captioning/flagfiles/emoji.flags
python -m experiments.captioning --evaluate --decode=beam --beam=8
python -m experiments.captioning --predict=MY_PICTURE.png
python -m experiments.captioning --data=folder --images_dir=PICTURES --captions_file=CAPTIONS.csv
"""

import functools
import hashlib
import pathlib
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.captioning import data as captioning_data
from experiments.captioning import report as captioning_report
from experiments.captioning.data import Data
from experiments.captioning.model import (
    CELLS,
    DECODERS,
    Config,
    Decoding,
    build,
    caption,
    exact_match,
    make_decoder,
    make_loss,
    restore,
    save,
)
from experiments.common import app, runner, saved_models, training_flags
from seqmodels.data import image_folder
from seqmodels.datasets.emoji_scenes import LANGUAGES
from seqmodels.types import Params

PROGRAM = "captioning"
OF_DATA = ("data", "language", "pictures", "images_dir", "captions_file")
OF_DECODING = ("decode", "beam", "length_penalty", "temperature", "top_k")
NAMES = (*OF_DATA, "cells", "hidden", "features", "embedding", "channels", "patch", *OF_DECODING)


def define_flags() -> None:
    """Defines the flags of this entry point."""
    flags.DEFINE_string(
        "data",
        "digits",
        "Pictures: digits side by side (no download), scenes of emoji (pip install "
        "'seqmodels[captions]'), or a folder of your own.",
    )
    flags.DEFINE_string("language", "en", "Of the captions of scenes: en or de.")
    flags.DEFINE_integer(
        "pictures",
        None,
        "Pictures of a scene: 2 or 3 emoji, 2 to 4 digits; by default 2 emoji, 3 digits.",
        lower_bound=2,
        upper_bound=4,
    )
    flags.DEFINE_string("images_dir", None, "Your own folder of images, for --data=folder.")
    flags.DEFINE_string(
        "captions_file",
        None,
        "CSV or TSV with the columns file and caption, for --data=folder. A tenth of the pictures "
        "each is held out for validation and test.",
    )
    flags.DEFINE_list("cells", ["lstm"], f"Cells of the decoder, of {', '.join(CELLS)}.")
    for name, default, told in (
        ("hidden", 128, "Hidden units of the decoder."),
        ("features", 128, "Size of the encoder's features."),
        ("embedding", 64, "Size of an embedded word."),
        ("patch", 1, "Squares of so many pixels a side are read as one; cheaper."),
    ):
        flags.DEFINE_integer(name, default, told, lower_bound=1, upper_bound=65_536)
    flags.DEFINE_list("channels", ["32", "64"], "Feature maps of the convolutions, in order.")
    flags.DEFINE_string("decode", "greedy", f"How captions are found: {', '.join(DECODERS)}.")
    flags.DEFINE_integer("beam", 4, "Width of the beam.", lower_bound=1, upper_bound=1_024)
    flags.DEFINE_float(
        "length_penalty",
        0.0,
        "A beam's scores are divided by ((5 + words) / 6) to this power.",
        lower_bound=0.0,
        upper_bound=10.0,
    )
    flags.DEFINE_float("temperature", 1.0, "Of sampling; below 1 the probable words are more so.")
    flags.DEFINE_integer(
        "top_k", None, "Samples are of the so many most probable words.", lower_bound=1
    )
    flags.DEFINE_string(
        "predict",
        None,
        "A picture of yours: of any mode and size; it is laid on white, made grey where the model "
        "knows grey pictures, and scaled to the size that the model knows.",
    )
    runner.define(
        seeds=3, steps=1000, batch=64, learning_rate="0.002", eval_every=250, clip_norm=1.0
    )
    saved_models.define()
    app.checked(app.known_name(captioning_data.KINDS), "data")
    app.checked(app.known_name(LANGUAGES), "language")
    app.checked(app.known_name(DECODERS), "decode")
    app.checked(app.not_empty, "predict", "images_dir", "captions_file")
    app.checked(lambda value: app.names(value, CELLS), "cells")
    app.checked(_channels, "channels")
    app.checked(lambda value: app.positive(str(value)), "temperature")
    app.checked(lambda value: app.per_name(value, CELLS, app.positive), "learning_rate")


def _channels(values: list[str]) -> tuple[int, ...]:
    if not values or not all(value.isdecimal() and 0 < int(value) <= 4096 for value in values):
        raise ValueError(
            f"got {','.join(values)!r}, expected numbers of feature maps such as 32,64"
        )
    return tuple(map(int, values))


def main() -> int:
    """Trains, evaluates or predicts, as the flags say. Returns the exit status."""
    values = flags.FLAGS
    if values.predict is not None:
        return _predict(values.predict)
    if values.evaluate:
        return _evaluate()
    if values.data != "folder" and values.pictures is None:
        app.set_flag("pictures", captioning_data.PICTURES[values.data])
    if values.data == "folder":
        for name in ("images_dir", "captions_file"):
            given = values[name].value
            if given is None:
                raise app.UserError(f"{name}: got nothing, expected with --data=folder")
            app.set_flag(name, str(pathlib.Path(given).resolve()))
    return runner.run(PROGRAM, NAMES, _study, _report, _digests)


def _digests() -> dict[str, str]:
    name = flags.FLAGS.captions_file
    if flags.FLAGS.data != "folder" or name is None:
        return {}
    return {"captions_sha256": hashlib.sha256(pathlib.Path(name).read_bytes()).hexdigest()}


@functools.lru_cache(maxsize=1)
def _data(
    kind: str, language: str, pictures: int, images_dir: str | None, captions_file: str | None
) -> Data:
    if kind == "folder":
        return captioning_data.folder(images_dir or "", captions_file or "")
    return captioning_data.scenes(kind, language, pictures)


def _decoding() -> Decoding:
    values = flags.FLAGS
    return Decoding(
        values.decode, values.beam, values.length_penalty, values.temperature, values.top_k
    )


def _study() -> runner.Study:
    values = flags.FLAGS
    data = _data(*(values[name].value for name in OF_DATA))
    rates = app.per_name(values.learning_rate, CELLS, app.positive)
    trainings = [_training(cell, app.value_for("learning_rate", rates, cell), data)
                 for cell in values.cells]  # fmt: skip
    return runner.Study(trainings, functools.partial(captioning_report.baselines, data))


def _training(cell: str, rate: float, data: Data) -> runner.Training:
    values = flags.FLAGS
    config = Config(
        cell=cell,
        image_shape=data.image_shape,
        vocabulary_size=len(data.vocabulary.words),
        hidden=values.hidden,
        features=values.features,
        embedding=values.embedding,
        channels=_channels(values.channels),
        patch=values.patch,
        steps=data.steps,
    )
    model = build(config)
    greedy = make_decoder(model, config.steps, Decoding())
    decode = make_decoder(model, config.steps, _decoding())
    about = {"data": {name: values[name].value for name in OF_DATA}}

    def evaluate(params: Params) -> dict[str, float]:
        found = caption(greedy, data.vocabulary, params, data.validation.images)
        return {"validation_exact": exact_match(found, data.validation.captions)}

    def finish(seed: int, params: Params, folder: pathlib.Path) -> dict[str, Any]:
        save(folder, PROGRAM, config, params, data.vocabulary, {**about, "seed": seed})
        return _tested(decode, data, params)

    return runner.Training(
        name=cell,
        init=model.init,
        loss=make_loss(model),
        batches=lambda seed: data.batches(
            seed, values.batch, jax.process_index(), jax.process_count()
        ),
        evaluate=evaluate,
        finish=finish,
        optimizer=training_flags.optimizer_settings(rate),
        fit=training_flags.fit_settings()._replace(best="validation_exact", best_mode="max"),
    )


def _tested(decode: Any, data: Data, params: Params) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name, test in data.tests.items():
        found = caption(decode, data.vocabulary, params, test.images)
        if name == "unseen":
            figures["captions"] = found[: captioning_report.SHOWN]
        found_scores = captioning_report.scores(found, test.captions)
        figures |= {f"{name}_{figure}": value for figure, value in found_scores.items()}
    return figures


def _report(results: dict[str, Any], folder: pathlib.Path) -> None:
    captioning_report.show(results)
    data = _data(*(flags.FLAGS[name].value for name in OF_DATA))
    best = max(results["results"], key=lambda record: record["validation_exact"])
    path = folder / captioning_report.SHEET
    captioning_report.contact_sheet(
        path,
        data.tests["unseen"],
        best["captions"],
        f"{best['model']}, seed {best['seed']}: combinations that were never trained on",
    )
    print(f"{path}: test pictures with their captions")


def _evaluate() -> int:
    """Prints what every model of a run makes of the test pictures, with this --decode."""
    found: dict[str, list[float]] = {}
    for name, seed, model in saved_models.every(PROGRAM):
        try:
            data = _data(*(model.config["data"][each] for each in OF_DATA))
            config, captioner, params, _ = restore(model)
        except (ValueError, OSError, ModuleNotFoundError) as error:
            raise app.UserError(str(error)) from None
        decode = make_decoder(captioner, config.steps, _decoding())
        figures = _tested(decode, data, params)
        del figures["captions"]
        shown = ", ".join(f"{figure} {value:.4g}" for figure, value in figures.items())
        print(f"{name}, seed {seed}, {flags.FLAGS.decode}: {shown}")
        found.setdefault(name, []).append(figures["unseen_exact"])
    for name, values in found.items():
        print(f"{name}, mean: {100 * np.mean(values):.1f} % exact, unseen")
    return 0


def _predict(path: str) -> int:
    """Prints the caption of the user's picture, its probability, and the beam's alternatives."""
    try:
        config, model, params, words = restore(saved_models.best(PROGRAM))
        image = image_folder.read_image(path, config.image_shape)
    except (ValueError, ModuleNotFoundError) as error:
        raise app.UserError(str(error)) from None
    best = make_decoder(model, config.steps, _decoding())(params, image[None], jax.random.key(0))
    beam = make_decoder(model, config.steps, _decoding()._replace(method="beam"))
    others = beam(params, image[None], jax.random.key(0))
    tokens, score = (np.asarray(a).reshape(-1, *a.shape[best.lengths.ndim :])[0] for a in
                     (best.tokens, best.scores))  # fmt: skip
    told = words.decode(tokens)
    print(f"{path}: {told} (probability {np.exp(score):.3f})")
    for tokens, score in zip(np.asarray(others.tokens[0]), others.scores[0], strict=True):
        if np.isfinite(score) and words.decode(tokens) != told:
            print(f"  {np.exp(score):.3f}  {words.decode(tokens)}")
    return 0
