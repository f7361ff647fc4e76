"""The data of the captioning study: training, validation and test pictures."""

import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from experiments.captioning.config import PICTURES, Config
from seqmodels.data import captions, hashed_splits, image_folder, vocabulary
from seqmodels.data.batches import Batches
from seqmodels.data.captions import CaptionedImages
from seqmodels.data.vocabulary import Vocabulary
from seqmodels.datasets import emoji_scenes, number_images
from seqmodels.storage import reading

LEAST_PICTURES = 10  # fewest pictures of a folder
HELD_OUT = {"validation": 0.1, "test": 0.1}
SIDE = 64  # pixels that pictures of a folder are brought to
VALIDATION, TEST = 354, 1416  # scenes; four of each held-out pair of emoji
TRAINING_SAMPLE = 1239  # scenes that the baselines search and that stand for what was seen


class Data(NamedTuple):
    """A data set of the study.

    Attributes:
      batches: `batches(seed, batch_size, process, num_processes) -> Batches`.
      train: a sample of the training pictures, or all.
      validation: chooses the best parameters.
      tests: "unseen": combinations (or pictures of a folder) that are never trained on; "seen":
        new scenes of combinations that are; a folder has none.
      vocabulary: the vocabulary of the training captions.
      image_shape: (height, width, channels).
      steps: the longest caption that is decoded, eos included.
    """

    batches: Callable[[int, int, int, int], Batches]
    train: CaptionedImages
    validation: CaptionedImages
    tests: dict[str, CaptionedImages]
    vocabulary: Vocabulary
    image_shape: tuple[int, int, int]
    steps: int


def load(config: Config) -> Data:
    """Returns the data of a configuration.

    Raises:
      ValueError, OSError or ModuleNotFoundError: for data that are not available.
    """
    if config.images_dir is not None and config.captions_file is not None:
        return folder(config.images_dir, config.captions_file)
    return scenes(config.data, config.language, config.pictures or PICTURES[config.data])


def scenes(kind: str, language: str, pictures: int) -> Data:
    """Returns the data of composed scenes.

    Args:
      kind: "digits" or "emoji".
      language: the language of the captions.
      pictures: the pictures of a scene.

    Raises:
      ValueError: for a number of pictures that is not supported.
      ModuleNotFoundError: if a drawing package is not installed.
    """
    make = number_images.scenes if kind == "digits" else emoji_scenes.scenes
    found = make(language, pictures)
    words = vocabulary.build(found.captions)
    # Other scenes than those that the baselines search, of digits that were never trained on.
    seen = captions.draw_scenes(found, "train", TEST, pictures_of="test", series=1)

    def batches(seed: int, batch_size: int, process: int, num_processes: int) -> Batches:
        return captions.scene_batches(
            found, words, batch_size, seed=seed, process=process, num_processes=num_processes
        )

    return Data(
        batches=batches,
        train=captions.draw_scenes(found, "train", 2 * TRAINING_SAMPLE),
        validation=captions.draw_scenes(found, "validation", VALIDATION),
        tests={"unseen": captions.draw_scenes(found, "test", TEST), "seen": seen},
        vocabulary=words,
        image_shape=found.image_shape,
        steps=_longest(found.captions),
    )


def folder(images_dir: str, captions_file: str) -> Data:
    """Returns the data of a user's own folder; validation and test have about a tenth each.

    Raises:
      ValueError: for unreadable files, or too few pictures.
    """
    captioned, files = image_folder.load(images_dir, captions_file, SIDE)
    # By content, so that copies of a picture are in one part.
    contents = [reading.digest(pathlib.Path(images_dir) / file, keep=False) for file in files]
    if len(set(contents)) < LEAST_PICTURES:
        raise ValueError(
            f"captions_file: got {len(set(contents))} different pictures, expected at least "
            f"{LEAST_PICTURES}"
        )
    parts = hashed_splits.assign(contents, HELD_OUT, seed=0)

    def part(name: str) -> CaptionedImages:
        rows = np.flatnonzero([parts[content] == name for content in contents])
        return CaptionedImages(
            captioned.images[rows], tuple(captioned.captions[row] for row in rows)
        )

    train, validation, test = (part(name) for name in (hashed_splits.TRAIN, *HELD_OUT))
    words = vocabulary.build(train.captions)

    def batches(seed: int, batch_size: int, process: int, num_processes: int) -> Batches:
        return captions.captioned_batches(
            train, words, batch_size, seed=seed, process=process, num_processes=num_processes
        )

    return Data(
        batches=batches,
        train=train,
        validation=validation,
        tests={"unseen": test},
        vocabulary=words,
        image_shape=(SIDE, SIDE, 3),
        steps=_longest(train.captions),
    )


def _longest(texts: tuple[str, ...] | list[str]) -> int:
    return max(len(text.split()) for text in texts) + 1
