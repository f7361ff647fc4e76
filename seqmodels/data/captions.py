"""Pictures with captions as batches: composed scenes, or the user's pictures."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from seqmodels.data.batches import Batches, take_rows
from seqmodels.data.shuffling import make_share, random_order, whole_number
from seqmodels.data.tables import read_table
from seqmodels.data.vocabulary import Vocabulary

SPLITS = ("train", "validation", "test")
COLUMNS = ("file", "caption")
_SEEDS_OF_SCENES = 2**63  # above all seeds of a training


class CaptionedImages(NamedTuple):
    """images: uint8 (N, height, width, channels). captions: N texts, lower case."""

    images: np.ndarray
    captions: tuple[str, ...]


class CaptionBatch(NamedTuple):
    """images: uint8 (B, height, width, channels). tokens: int32 (T, B), BOS to EOS. lengths: (B,).

    A length counts BOS and EOS.
    """

    images: np.ndarray
    tokens: np.ndarray
    lengths: np.ndarray


BATCH_AXES = CaptionBatch(0, 1, 0)  # type: ignore[arg-type]


class Scenes(NamedTuple):
    """Scenes that are drawn on demand, from combinations of items.

    Attributes:
      combinations: for each of `SPLITS` int32 (N, items): numbers of items in ascending order. No
        combination is in two splits.
      draw: `draw(split, items, rng) -> (image, caption)` of one combination: uint8 (height, width,
        channels); order, place and size are drawn.
      captions: every caption that a training scene can have.
      image_shape: (height, width, channels).
    """

    combinations: Mapping[str, np.ndarray]
    draw: Callable[[str, Sequence[int], np.random.Generator], tuple[np.ndarray, str]]
    captions: tuple[str, ...]
    image_shape: tuple[int, int, int]


def split_combinations(
    combinations: np.ndarray, validation: float = 0.1, test: float = 0.2, most: int = 400
) -> dict[str, np.ndarray]:
    """Returns three fixed splits of combinations, before any picture is drawn.

    Args:
      combinations: int (N, items), all different.
      validation: share of the validation split.
      test: share of the test split.
      most: the largest number of combinations in a held-out split.

    Returns:
      For each of `SPLITS` an array (n, items).
    """
    order = random_order(len(combinations), seed=0, epoch=0)
    num_test = min(round(test * len(order)), most)
    num_validation = min(round(validation * len(order)), most)
    held_out = num_test + num_validation
    return {
        "train": combinations[order[held_out:]],
        "validation": combinations[order[num_test:held_out]],
        "test": combinations[order[:num_test]],
    }


def draw_scenes(
    scenes: Scenes,
    split: str,
    number: int,
    *,
    pictures_of: str | None = None,
    series: int = 0,
) -> CaptionedImages:
    """Draws a fixed set of scenes.

    Args:
      scenes: `Scenes`.
      split: a split of the combinations; each is drawn about equally often.
      number: N, how many scenes.
      pictures_of: the split whose pictures of items are used; None for the same.
      series: a number; another one gives other scenes of the same combinations.

    Returns:
      `CaptionedImages`, always the same for the same arguments.
    """
    combinations = scenes.combinations[split]
    seed = _SEEDS_OF_SCENES + len(SPLITS) * series + SPLITS.index(split)
    order = random_order(len(combinations), seed, epoch=0)
    pairs = [
        scenes.draw(pictures_of or split, combinations[order[n % len(order)]], _random(seed, n))
        for n in range(number)
    ]
    images, captions = zip(*pairs, strict=True)
    return CaptionedImages(np.stack(images), captions)


def scene_batches(
    scenes: Scenes,
    vocabulary: Vocabulary,
    batch_size: int,
    *,
    seed: int,
    process: int = 0,
    num_processes: int = 1,
) -> Batches:
    """Returns batches of training scenes, each drawn anew.

    Args:
      scenes: `Scenes`.
      vocabulary: numbers of the words.
      batch_size: B, over all processes.
      seed: determines all scenes, from 0 to 2^63 - 1.
      process: the number of this process.
      num_processes: how many processes draw a share of each batch.

    Returns:
      `Batches` of `CaptionBatch`; an epoch has as many scenes as there are combinations.

    Raises:
      ValueError: if a number is out of range.
    """
    share = make_share(batch_size, process, num_processes)
    seed = whole_number("seed", seed, 0, _SEEDS_OF_SCENES - 1)
    combinations = scenes.combinations["train"]
    longest = max(len(caption.split()) for caption in scenes.captions) + 2

    def at(cursor: int) -> CaptionBatch:
        first = whole_number("cursor", cursor, 0) * batch_size
        pairs = []
        for row in share.of(np.arange(first, first + batch_size)):
            rng = _random(seed, row)
            items = combinations[rng.integers(len(combinations))]
            pairs.append(scenes.draw("train", items, rng))
        images, captions = zip(*pairs, strict=True)
        tokens, lengths = vocabulary.encode(captions)
        # The same size in all batches, so that they can be stacked and are compiled once.
        tokens = np.pad(tokens, ((0, longest - len(tokens)), (0, 0)))
        return CaptionBatch(np.stack(images), tokens, lengths)

    return Batches(at, max(len(combinations) // batch_size, 1), batch_size, BATCH_AXES)


def captioned_batches(
    captioned: CaptionedImages,
    vocabulary: Vocabulary,
    batch_size: int,
    *,
    seed: int,
    process: int = 0,
    num_processes: int = 1,
) -> Batches:
    """Returns batches of a fixed set of pictures, in a new random order for every epoch.

    A batch may be larger than the set; it then continues with rows of the next epoch.

    Args:
      captioned: N pictures and captions, at least one.
      vocabulary: as in `scene_batches`; so are the other arguments.
      batch_size: see `scene_batches`.
      seed: see `scene_batches`.
      process: see `scene_batches`.
      num_processes: see `scene_batches`.

    Returns:
      `Batches` of `CaptionBatch`.
    """
    share = make_share(batch_size, process, num_processes)
    seed = whole_number("seed", seed, 0, _SEEDS_OF_SCENES - 1)
    N = len(captioned.images)
    whole = CaptionBatch(captioned.images, *vocabulary.encode(captioned.captions))

    def at(cursor: int) -> CaptionBatch:
        first = whole_number("cursor", cursor, 0) * batch_size
        places = np.arange(first, first + batch_size)
        epochs = range(places[0] // N, places[-1] // N + 1)
        order = np.concatenate([random_order(N, seed, epoch) for epoch in epochs])
        return take_rows(whole, BATCH_AXES, order[share.of(places) - epochs[0] * N])

    return Batches(at, max(N // batch_size, 1), batch_size, BATCH_AXES)


def read_captions(captions_file: str | os.PathLike[str]) -> tuple[list[str], list[str]]:
    """Reads a table of captions.

    Args:
      captions_file: a table (`tables.read_table`) with the columns `file` and `caption`.

    Returns:
      (files, captions) of its rows, captions in lower case with single spaces.

    Raises:
      ValueError: in one line, if the file cannot be read, or a column, a file or a caption is
        missing.
    """
    try:
        table = read_table(captions_file, "captions_file")
    except OSError as error:
        raise ValueError(f"captions_file: {captions_file}: {error.strerror}") from None
    if not set(COLUMNS) <= set(table.columns):
        raise ValueError(
            f"captions_file: {table.path}: got columns {', '.join(table.columns)}, expected "
            f"{' and '.join(COLUMNS)}"
        )
    files, captions = ([" ".join(cell.split()) for cell in table.column(name)] for name in COLUMNS)
    for row, pair in enumerate(zip(files, captions, strict=True)):
        if not all(pair):
            raise ValueError(
                f"captions_file: {table.path}: line {table.line(row)}: expected a file and a "
                "caption"
            )
    return files, [caption.lower() for caption in captions]


def _random(seed: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))
