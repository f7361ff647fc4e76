"""Handwritten digits in a row, with captions such as "four seven two"."""

import itertools
from collections.abc import Sequence

import numpy as np

from seqmodels.data.captions import Scenes, split_combinations
from seqmodels.tasks import digits

SIZE = 8
WORDS = {
    "en": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "de": ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"),
}


def scenes(language: str = "en", pictures: int = 3) -> Scenes:
    """Returns scenes of handwritten digits side by side, in any order.

    Combinations of digits are held out, in any order. Images of digits are held out too, by the
    fixed split of scikit-learn's images in `digits.load_splits`.

    Args:
      language: "en" or "de".
      pictures: number of digits in a scene, from 2 to 4.

    Returns:
      `Scenes` of images (8, 8 * pictures, 1).

    Raises:
      ValueError: if there is no such language, or number of digits.
      ModuleNotFoundError: if scikit-learn is not installed.
    """
    if language not in WORDS:
        raise ValueError(f"language: got {language!r}, expected one of {', '.join(WORDS)}")
    if not 2 <= pictures <= 4:
        raise ValueError(f"pictures: got {pictures}, expected 2 to 4")
    words = WORDS[language]
    images = {
        split: [
            (255 * x[y == digit]).astype(np.uint8).reshape(-1, SIZE, SIZE, 1) for digit in range(10)
        ]
        for split, (x, y) in digits.load_splits().items()
    }
    all_combinations = np.array(
        list(itertools.combinations_with_replacement(range(10), pictures)), np.int32
    )

    def draw(split: str, items: Sequence[int], rng: np.random.Generator) -> tuple[np.ndarray, str]:
        order = [int(items[place]) for place in rng.permutation(pictures)]
        chosen = [images[split][item] for item in order]
        tiles = [tiles[rng.integers(len(tiles))] for tiles in chosen]
        return np.concatenate(tiles, axis=1), " ".join(words[item] for item in order)

    # Each digit is at each place of some training scene, so all words are equally frequent.
    captions = tuple(" ".join([word] * pictures) for word in words)
    return Scenes(split_combinations(all_combinations), draw, captions, (SIZE, SIZE * pictures, 1))
